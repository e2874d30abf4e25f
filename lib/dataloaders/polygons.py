"""Packs the polygons, run lengths and key points of COCO annotations."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from fpt.dataloaders.report import DatasetReport
from fpt.structures.masks import compress_rle, has_usable_numbers

_REGION = "the box stays; where masks are trained it becomes a region that is ignored"


def offsets_of(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    """int64 [len + 1]: where each of consecutive ranges starts, and the end of the last."""
    return np.concatenate(([0], np.cumsum(np.asarray(lengths, dtype=np.int64)))).astype(np.int64)


def pack_shapes(entries: list[dict[str, Any]], sizes_hw: np.ndarray, report: DatasetReport) -> dict[str, np.ndarray]:
    """Arrays of polygons, RLE and key points of the objects, by their names in PackedAnnotations.

    Args:
        entries: annotations, in the order of the objects.
        sizes_hw: int [N, 2], size of each one's image.
        report: receives malformed shapes, which are dropped.
    """
    packer = _ShapePacker(report)
    for i, (entry, size_hw) in enumerate(zip(entries, sizes_hw.tolist(), strict=True)):
        packer.add(entry, f"annotation {entry.get('id', i)}", size_hw)
    arrays = packer.arrays()
    _report_maskless(entries, arrays, report)
    return arrays


def _report_maskless(entries: list[dict[str, Any]], arrays: dict[str, np.ndarray], report: DatasetReport) -> None:
    has_mask = (np.diff(arrays["part_offsets"]) > 0) | (np.diff(arrays["rle_offsets"]) > 0)
    if not has_mask.any():
        return
    maskless = [f"annotation {entries[i].get('id')}" for i in np.flatnonzero(~has_mask).tolist()]
    report.add_all("objects without a mask among others with one", _REGION, maskless)


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

    def add(self, entry: dict[str, Any], name: str, size_hw: Sequence[int]) -> None:
        """Append one object."""
        segmentation = entry.get("segmentation")
        num_parts, counts = 0, b""
        if isinstance(segmentation, dict):
            counts = self._check_rle(segmentation, name, size_hw)
        elif isinstance(segmentation, list):
            is_flat = bool(segmentation) and isinstance(segmentation[0], (int, float))
            num_parts = sum(self._add_part(part, name) for part in ([segmentation] if is_flat else segmentation))
        elif segmentation is not None:
            self._report.add("masks that are neither polygons nor run lengths", "dropped", name)
        self._num_parts.append(num_parts)
        self._rle_sizes.append(len(counts))
        self._rle += counts
        self._add_keypoints(entry.get("keypoints"), name)

    def _add_part(self, part: Any, name: str) -> bool:
        start = len(self._points)
        try:
            self._points.extend(part)
        except TypeError:
            del self._points[start:]
            self._report.add("polygons that are no lists of numbers", "dropped", name)
            return False
        num_numbers = len(self._points) - start
        if num_numbers >= 6 and num_numbers % 2 == 0:
            if has_usable_numbers(part):
                self._num_points.append(num_numbers // 2)
                return True
            self._report.add("polygons with NaN, infinite or huge numbers", "dropped", name)
        else:
            self._report.add(
                "polygons with an odd count of numbers or less than 3 points", "dropped", f"{name} has {num_numbers}"
            )
        del self._points[start:]
        return False

    def _check_rle(self, rle: dict[str, Any], name: str, size_hw: Sequence[int]) -> bytes:
        """Compressed counts, empty when they are wrong."""
        try:
            if list(rle["size"]) != list(size_hw):
                raise ValueError(f"size {rle['size']}, the image has {list(size_hw)}")
            return compress_rle(rle)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"no key {error}" if isinstance(error, KeyError) else str(error)
            self._report.add("run lengths (RLE) that do not fit", "dropped", f"{name}: {reason}")
            return b""

    def _add_keypoints(self, keypoints: Any, name: str) -> None:
        if not keypoints:
            self._num_keypoints.append(0)
            return
        start = len(self._keypoints)
        try:
            self._keypoints.extend(keypoints)
            is_right = len(keypoints) % 3 == 0 and bool(np.isfinite(self._keypoints[start:]).all())
        except TypeError:
            is_right = False
        if not is_right:
            del self._keypoints[start:]
            self._report.add("key points that are not x, y, visibility each", "dropped", name)
        self._num_keypoints.append((len(self._keypoints) - start) // 3)

    def arrays(self) -> dict[str, np.ndarray]:
        """The flat arrays so far."""
        return {
            "part_offsets": offsets_of(self._num_parts),
            "point_offsets": offsets_of(self._num_points),
            "points": np.asarray(self._points, dtype=np.float32).reshape(-1, 2),
            "rle_offsets": offsets_of(self._rle_sizes),
            "rle_bytes": np.frombuffer(bytes(self._rle), np.uint8),
            "keypoint_offsets": offsets_of(self._num_keypoints),
            "keypoints": np.asarray(self._keypoints, dtype=np.float32).reshape(-1, 3),
        }
