"""Packs the polygons, run lengths and key points of COCO annotations."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from fpt.annotations.ids import Entry, entry_name
from fpt.annotations.mask_forms import unfold_mask
from fpt.annotations.numbers import plain_number, shown, whole_number
from fpt.annotations.report import DatasetReport
from fpt.structures.masks import compress_rle, has_usable_numbers

FAULT_WORDS = ("polygons", "run lengths", "masks that")
"""Words in the kinds of findings about masks that cannot be used."""

_MANY_MASKLESS = 0.5
_MAX_SINGLE = float(np.finfo(np.float32).max)


def offsets_of(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    """int64 [len + 1]: where each of consecutive ranges starts, and the end of the last."""
    return np.concatenate(([0], np.cumsum(np.asarray(lengths, dtype=np.int64)))).astype(np.int64)


def pack_shapes(entries: list[Entry], sizes_hw: np.ndarray, report: DatasetReport) -> dict[str, np.ndarray]:
    """Arrays of polygons, RLE and key points of the objects, by their names in PackedAnnotations.

    Args:
        entries: annotations, in the order of the objects.
        sizes_hw: int [N, 2], size of each one's image.
        report: receives malformed shapes, which are dropped.
    """
    packer = _ShapePacker(report)
    for i, (entry, size_hw) in enumerate(zip(entries, sizes_hw.tolist(), strict=True)):
        packer.add(entry, i, size_hw)
    return packer.arrays()


def report_maskless(entries: list[Entry], has_mask: np.ndarray, report: DatasetReport) -> None:
    """Note the objects without a mask where others have one."""
    maskless = np.flatnonzero(~has_mask)
    if not has_mask.any() or not len(maskless):
        return
    action = "they train the box, not the mask, and are no fault of a mask that finds them"
    if len(maskless) > _MANY_MASKLESS * len(has_mask):
        action += "; most objects are such: consider --set MODEL.MASK_ON False"
    names = [entry_name(entries[i], "annotation", i) for i in maskless.tolist()]
    report.add_all("objects without a mask among others with one", action, names)


def outlines_of(shapes: dict[str, np.ndarray]) -> np.ndarray:
    """float64 [N, 4]: x1, y1, x2, y2 around the polygons of each object; NaN without polygons."""
    part_ends, point_ends, points = shapes["part_offsets"], shapes["point_offsets"], shapes["points"]
    bounds = np.full((len(part_ends) - 1, 4), np.nan)
    starts, stops = point_ends[part_ends[:-1]], point_ends[part_ends[1:]]
    has_points = stops > starts
    if has_points.any():
        where = starts[has_points]
        bounds[has_points, :2] = np.minimum.reduceat(points, where, axis=0)
        bounds[has_points, 2:] = np.maximum.reduceat(points, where, axis=0)
    return bounds


def box_of_segmentation(entry: Entry, size_hw: Sequence[int]) -> list[float] | None:
    """x, y, width, height around an annotation's mask; None where it has none that can be used."""
    packer = _ShapePacker(DatasetReport(source=""))
    packer.add(entry, 0, size_hw)
    shapes = packer.arrays()
    if len(shapes["rle_bytes"]):
        rle = {"size": list(size_hw), "counts": shapes["rle_bytes"].tobytes()}
        return [float(value) for value in coco_mask.toBbox(rle)]
    x1, y1, x2, y2 = outlines_of(shapes)[0].tolist()
    return None if np.isnan(x1) else [x1, y1, x2 - x1, y2 - y1]


class _ShapePacker:
    """Grows the flat arrays, object after object."""

    def __init__(self, report: DatasetReport) -> None:
        self._report = report
        self._num_parts: list[int] = []
        self._num_points: list[int] = []
        self._points = array("d")
        self._rle_sizes: list[int] = []
        self._rle = bytearray()
        self._num_keypoints: list[int] = []
        self._keypoints = array("d")

    def add(self, entry: Entry, position: int, size_hw: Sequence[int]) -> None:
        """Append one object."""
        segmentation = entry.get("segmentation")
        num_parts, counts = 0, b""
        if isinstance(segmentation, dict):
            counts = self._check_rle(segmentation, entry, position, size_hw)
        elif isinstance(segmentation, list) and _is_plain(segmentation):
            num_parts = sum(self._add_part(part, entry, position) for part in segmentation)
        elif segmentation:
            num_parts, counts = self._add_unfolded(segmentation, entry, position, size_hw)
        self._num_parts.append(num_parts)
        self._rle_sizes.append(len(counts))
        self._rle += counts
        if entry.get("keypoints"):
            self._add_keypoints(entry["keypoints"], entry, position)
        else:
            self._num_keypoints.append(0)

    def _add_unfolded(
        self, segmentation: Any, entry: Entry, position: int, size_hw: Sequence[int]
    ) -> tuple[int, bytes]:
        """Append a mask that is not written in COCO's way; returns its number of polygons and its run lengths."""
        is_flat = isinstance(segmentation, list) and not isinstance(segmentation[0], (list, dict))
        mask = unfold_mask([segmentation] if is_flat else segmentation)
        if not (mask.polygons or mask.rles):
            example = f"{entry_name(entry, 'annotation', position)} has {shown(segmentation)}"
            self._report.add("masks that are neither polygons nor run lengths", "dropped", example)
        num_parts = sum(self._add_part(part, entry, position) for part in mask.polygons)
        rles = [counts for rle in mask.rles if (counts := self._check_rle(rle, entry, position, size_hw))]
        if len(rles) > 1 or (rles and num_parts):
            rles = [_union([{"size": list(size_hw), "counts": counts} for counts in rles])]
        if mask.form and (num_parts or rles):
            name = entry_name(entry, "annotation", position)
            self._report.add(f"segmentations in another form ({mask.form})", "read as meant", name, is_harmless=True)
        return num_parts, rles[0] if rles else b""

    def _add_part(self, part: Any, entry: Entry, position: int) -> bool:
        start = len(self._points)
        try:
            self._points.extend(part)
        except (TypeError, OverflowError):
            del self._points[start:]
            kind = "polygons that are no lists of numbers"
            self._report.add(kind, "dropped", f"{entry_name(entry, 'annotation', position)} has {shown(part)}")
            return False
        num_numbers = len(self._points) - start
        if num_numbers >= 6 and num_numbers % 2 == 0:
            if has_usable_numbers(part):
                self._num_points.append(num_numbers // 2)
                return True
            name = entry_name(entry, "annotation", position)
            self._report.add("polygons with NaN, infinite or huge numbers", "dropped", name)
        else:
            hint = " (a box?)" if num_numbers == 4 else ""
            self._report.add(
                "polygons with an odd count of numbers or less than 3 points",
                "dropped",
                f"{entry_name(entry, 'annotation', position)} has {num_numbers}{hint}",
            )
        del self._points[start:]
        return False

    def _check_rle(self, rle: dict[str, Any], entry: Entry, position: int, size_hw: Sequence[int]) -> bytes:
        """Compressed counts, empty when they are wrong."""
        try:
            size = [whole_number(side) for side in rle["size"]]
            if size != list(size_hw):
                raise ValueError(f"size {shown(rle['size'])}, the image has {list(size_hw)} (height, width)")
            return compress_rle({"size": size, "counts": rle["counts"]})
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            reason = f"no key {error}" if isinstance(error, KeyError) else str(error)
            name = entry_name(entry, "annotation", position)
            self._report.add("run lengths (RLE) that do not fit", "dropped", f"{name}: {reason}")
            return b""

    def _add_keypoints(self, keypoints: Any, entry: Entry, position: int) -> None:
        numbers = _keypoint_numbers(keypoints)
        if numbers is None:
            name = entry_name(entry, "annotation", position)
            self._report.add("key points that are not x, y, visibility each", "dropped", name)
            numbers = []
        self._keypoints.extend(numbers)
        self._num_keypoints.append(len(numbers) // 3)

    def arrays(self) -> dict[str, np.ndarray]:
        """The flat arrays so far."""
        return {
            "part_offsets": offsets_of(self._num_parts),
            "point_offsets": offsets_of(self._num_points),
            "points": np.asarray(self._points, dtype=np.float64).reshape(-1, 2),
            "rle_offsets": offsets_of(self._rle_sizes),
            "rle_bytes": np.frombuffer(bytes(self._rle), np.uint8),
            "keypoint_offsets": offsets_of(self._num_keypoints),
            "keypoints": np.asarray(self._keypoints, dtype=np.float32).reshape(-1, 3),
        }


def _is_plain(segmentation: list[Any]) -> bool:
    """Whether a list is written in COCO's way: each part a list of numbers, or anything that is no polygon at all."""
    return all(
        isinstance(part, list) and len(part) != 2 and not (part and isinstance(part[0], (list, dict, str)))
        for part in segmentation
    )


def _keypoint_numbers(keypoints: Any) -> list[float] | None:
    """x, y, visibility, x, y, ... as finite numbers; None for anything else."""
    if not isinstance(keypoints, list):
        return None
    if all(isinstance(point, list) and len(point) == 3 for point in keypoints):
        keypoints = [number for point in keypoints for number in point]
    numbers = [plain_number(value) for value in keypoints]
    if len(numbers) % 3 or any(number is None or not abs(number) <= _MAX_SINGLE for number in numbers):
        return None
    return [float(number) for number in numbers]  # type: ignore[arg-type]


def _union(rles: list[dict[str, Any]]) -> bytes:
    return bytes(coco_mask.merge(rles)["counts"])
