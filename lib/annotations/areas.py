"""Areas of objects: the file's, or our own where it has none or one that cannot be."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as coco_mask

from fpt.annotations.ids import Entry, entry_name
from fpt.annotations.numbers import plain_number
from fpt.annotations.report import DatasetReport

FAR = 4.0
"""A file's area that is so many times larger or smaller than that of its mask is another thing's."""
_FEW_PIXELS = 100.0


def read_areas(
    entries: list[Entry],
    boxes_xywh: np.ndarray,
    shapes: dict[str, np.ndarray],
    has_mask: np.ndarray,
    sizes_hw: np.ndarray,
    report: DatasetReport,
) -> np.ndarray:
    """float64 [N], in pixels: the file's areas; where one is missing or far off, that of the mask, else of the box.

    Beside a box alone an area is far off that is larger, or less than a line from side to side has.

    Args:
        entries: annotations, in the order of the objects.
        boxes_xywh: float64 [N, 4].
        shapes: arrays of their masks, by their names in PackedAnnotations.
        has_mask: bool [N], whether they have one.
        sizes_hw: int64 [N, 2], sizes of their images.
        report: receives the areas that are far off.
    """
    numbers = [plain_number(entry.get("area")) for entry in entries]
    given = np.array([np.nan if number is None else float(number) for number in numbers], dtype=np.float64)
    is_missing = ~((given > 0) & (given < np.inf))
    estimates = _estimate(boxes_xywh, shapes, sizes_hw)
    suspects = is_missing | _are_far(given, estimates)  # outlines that cross themselves have other areas than masks
    for i in np.flatnonzero(suspects).tolist():
        estimates[i] = _mask_area(i, shapes, sizes_hw[i].tolist()) or estimates[i]
    longer_side = boxes_xywh[:, 2:].max(axis=1, initial=0)
    is_possible = ~has_mask & (given >= longer_side) & (given <= estimates)  # slanting ones fill little of their box
    is_far = ~is_missing & ~is_possible & _are_far(given, estimates)
    far = [
        f"{entry_name(entries[i], 'annotation', i)}: {given[i]:g}, not {estimates[i]:g}"
        for i in np.flatnonzero(is_far).tolist()
    ]
    report.add_all("areas far from those of the masks or boxes", "ours are taken (for APs, APm and APl)", far)
    return np.where(is_missing | is_far, estimates, given)


def _are_far(given: np.ndarray, estimates: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratios = np.maximum(given / estimates, estimates / given)
        return np.asarray((ratios > FAR) & (np.abs(given - estimates) > _FEW_PIXELS))


def _estimate(boxes_xywh: np.ndarray, shapes: dict[str, np.ndarray], sizes_hw: np.ndarray) -> np.ndarray:
    """Areas within polygons, overlapping parts counted twice; of run lengths; else of boxes."""
    areas = boxes_xywh[:, 2] * boxes_xywh[:, 3]
    num_parts = np.diff(shapes["part_offsets"])
    has_parts = num_parts > 0
    if has_parts.any():
        parts = _polygon_areas(shapes["points"], shapes["point_offsets"])
        sums = np.concatenate(([0.0], np.cumsum(parts)))
        ends = shapes["part_offsets"]
        areas = np.where(has_parts, sums[ends[1:]] - sums[ends[:-1]], areas)
    for i in np.flatnonzero(np.diff(shapes["rle_offsets"])).tolist():
        areas[i] = _mask_area(i, shapes, sizes_hw[i].tolist())
    return areas


def _polygon_areas(points: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """float64 [P] by the shoelace formula."""
    if len(offsets) < 2:
        return np.zeros(0)
    following = np.arange(1, len(points) + 1)
    following[offsets[1:] - 1] = offsets[:-1]  # the last point of a part is followed by its first
    x, y = points[:, 0], points[:, 1]
    cross = x * y[following] - x[following] * y
    return np.asarray(np.abs(np.add.reduceat(cross, offsets[:-1])) / 2)


def _mask_area(position: int, shapes: dict[str, np.ndarray], size_hw: list[int]) -> float:
    """Pixels of an object's mask; 0 where it has none."""
    start, end = shapes["rle_offsets"][position : position + 2].tolist()
    if end > start:
        return float(coco_mask.area({"size": size_hw, "counts": shapes["rle_bytes"][start:end].tobytes()}))
    first, last = shapes["part_offsets"][position : position + 2].tolist()
    bounds = shapes["point_offsets"][first : last + 1].tolist()
    parts = [shapes["points"][i:j].ravel().tolist() for i, j in zip(bounds[:-1], bounds[1:], strict=True)]
    return float(coco_mask.area(coco_mask.merge(coco_mask.frPyObjects(parts, *size_hw)))) if parts else 0.0
