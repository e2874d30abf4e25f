"""Boxes of an annotation file: read, converted, checked for the forms that cannot be right, clipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fpt.annotations.ids import Entry, add_text_number, entry_name
from fpt.annotations.numbers import number_table, plain_number, shown
from fpt.annotations.report import DatasetReport

MIN_BOX_SIDE = 0.1
"""Boxes with a shorter side, in pixels, hold nothing that could be learnt and make log(width) explode."""
CLIP_TOLERANCE = 1.0
"""Boxes that reach out of the image by at most this many pixels are clipped without a word: it is rounding."""

BOX_FORMATS = ("xywh", "xyxy", "xywh_relative", "xyxy_relative", "cxcywh", "cxcywh_relative")
"""What the four numbers of a box may be: left, top, width, height (COCO's); left, top, right, bottom; or the centre
with width and height; in pixels, or relative to the image's width and height."""

_HUGE = 1e15
"""Larger numbers, which no image has, are taken as this one: sums and products of them stay finite."""
_FEW, _MANY = 3, 20
_SHARE_OF_FEW, _SHARE_OF_MANY = 0.5, 0.2
"""Of so many boxes that are all possible as corners such a share that would reach out of its image is no accident."""


def read_boxes(entries: Sequence[Entry], report: DatasetReport) -> np.ndarray:
    """The four numbers of each ``bbox``: float64 [N, 4]; NaN where there is none.

    Boxes that are no four numbers are reported as fatal.
    """
    raw = [entry.get("bbox") for entry in entries]
    if not raw:
        return np.zeros((0, 4))
    boxes = number_table(raw, 4)
    if boxes is None:
        boxes = _read_one_by_one(raw, entries, report)
    return np.where(np.isinf(boxes), boxes, boxes.clip(-_HUGE, _HUGE))


def _read_one_by_one(raw: Sequence[Any], entries: Sequence[Entry], report: DatasetReport) -> np.ndarray:
    boxes = np.full((len(raw), 4), np.nan)
    for i, value in enumerate(raw):
        if value is None or (isinstance(value, list) and not value):
            continue
        numbers = _four_numbers(value)
        name = entry_name(entries[i], "annotation", i)
        if numbers is None:
            example = f"{name} has {shown(value)}"
            report.add("boxes that are not [x, y, width, height]", "correct them", example, is_fatal=True)
            continue
        boxes[i] = numbers
        if any(isinstance(item, str) for item in value):
            add_text_number(report, f"bbox of {name}", shown(value))
    return boxes


def _four_numbers(value: Any) -> list[float] | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    numbers = [plain_number(item) for item in value]
    return None if any(number is None for number in numbers) else [float(number) for number in numbers]  # type: ignore[arg-type]


def convert_boxes(boxes: np.ndarray, sizes_hw: np.ndarray, box_format: str) -> np.ndarray:
    """Boxes of any of BOX_FORMATS as x, y, width, height in pixels: float64 [N, 4]."""
    boxes = boxes.copy()
    if box_format.endswith("_relative"):
        boxes *= np.tile(sizes_hw[:, ::-1], (1, 2))
    if box_format.startswith("xyxy"):
        boxes[:, 2:] -= boxes[:, :2]
    elif box_format.startswith("cxcywh"):
        boxes[:, :2] -= boxes[:, 2:] / 2
    return boxes


def check_box_format(boxes: np.ndarray, sizes_hw: np.ndarray, outlines_xyxy: np.ndarray, report: DatasetReport) -> None:
    """Report as fatal boxes that cannot be x, y, width, height in pixels, with the option that converts them.

    Args:
        boxes: float64 [N, 4] as the file has them, N objects of known images.
        sizes_hw: int64 [N, 2] of their images.
        outlines_xyxy: float64 [N, 4], around the polygons; NaN where there are none.
        report: receives the fault.
    """
    is_finite = np.isfinite(boxes).all(axis=1)
    boxes, sizes_hw, outlines_xyxy = boxes[is_finite], sizes_hw[is_finite], outlines_xyxy[is_finite]
    if not len(boxes):
        return
    if boxes.min() >= 0 and boxes.max() <= 1 and sizes_hw.min() > 1 and boxes[:, 2:].max() > 0:
        _report_relative(boxes, sizes_hw, report)
    elif _are_corners(boxes, sizes_hw, outlines_xyxy):
        _report_corners(boxes, sizes_hw, outlines_xyxy, report)


def _report_relative(boxes: np.ndarray, sizes_hw: np.ndarray, report: DatasetReport) -> None:
    x, y, w, h = boxes[0].tolist()
    height, width = sizes_hw[0].tolist()
    report.add(
        "boxes whose numbers all lie between 0 and 1",
        "relative to the image's size: declare the data set with BOX_FORMAT xywh_relative (left, top, width, height), "
        "xyxy_relative (corners) or cxcywh_relative (centre, as YOLO)",
        f"{_numbers(boxes[0])} as pixels of an image of {width} x {height} would be {w:g} x {h:g} pixels; times the "
        f"size it is {w * width:.0f} x {h * height:.0f} at {x * width:.0f}, {y * height:.0f}",
        is_fatal=True,
        count=len(boxes),
    )


def _are_corners(boxes: np.ndarray, sizes_hw: np.ndarray, outlines_xyxy: np.ndarray) -> bool:
    """Whether the numbers are left, top, right, bottom: possible as these, and not as x, y, width, height."""
    limits = sizes_hw[:, ::-1].astype(np.float64)
    if not ((boxes[:, 2:] > boxes[:, :2]) & (boxes[:, 2:] <= limits + CLIP_TOLERANCE)).all():
        return False
    reaches_out = (boxes[:, :2] + boxes[:, 2:] > limits + CLIP_TOLERANCE).any(axis=1)
    has_outline = np.isfinite(outlines_xyxy).all(axis=1)
    if has_outline.any():
        own, outlines = boxes[has_outline], outlines_xyxy[has_outline]
        tolerance = 2 * CLIP_TOLERANCE + 0.05 * (outlines[:, 2:] - outlines[:, :2]).max(axis=1)
        fits_corners = np.abs(own - outlines).max(axis=1) <= tolerance
        fits_sizes = np.abs(np.hstack((own[:, :2], own[:, :2] + own[:, 2:])) - outlines).max(axis=1) <= tolerance
        return bool((fits_corners & ~fits_sizes).mean() > 0.5)
    share = reaches_out.mean()
    return bool((len(boxes) >= _FEW and share >= _SHARE_OF_FEW) or (len(boxes) >= _MANY and share >= _SHARE_OF_MANY))


def _report_corners(boxes: np.ndarray, sizes_hw: np.ndarray, outlines_xyxy: np.ndarray, report: DatasetReport) -> None:
    limits = sizes_hw[:, ::-1]
    excess = (boxes[:, :2] + boxes[:, 2:] - limits).max(axis=1)
    i = int(excess.argmax())
    x, y, w, h = boxes[i].tolist()
    shown_sum = f"{_numbers(boxes[i])}: {x:g} + {w:g} = {x + w:g} and {y:g} + {h:g} = {y + h:g}"
    size = f"the image is {limits[i, 0]} x {limits[i, 1]}"
    if excess[i] <= CLIP_TOLERANCE:
        size = f"its outline ends at {outlines_xyxy[i, 2]:g}, {outlines_xyxy[i, 3]:g}"
    report.add(
        "boxes that are corners (left, top, right, bottom), not x, y, width, height",
        "declare the data set with BOX_FORMAT xyxy; if they are x, y, width, height, clip them to their images",
        f"{shown_sum}, but {size}",
        is_fatal=True,
        count=len(boxes),
    )


def _numbers(box: np.ndarray) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box.tolist()) + "]"


def clip_boxes(
    boxes_xywh: np.ndarray, sizes_hw: np.ndarray, name_of: Callable[[int], str], report: DatasetReport
) -> np.ndarray:
    """Boxes xyxy float64 [N, 4] inside their images; dropped ones are NaN, and reported by `name_of` their position."""
    is_finite = np.isfinite(boxes_xywh).all(axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        boxes = np.concatenate((boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]), axis=1)
    limits = np.tile(sizes_hw[:, ::-1], (1, 2)).astype(np.float64)
    clipped = boxes.clip(0, limits)
    has_area = is_finite & (boxes_xywh[:, 2:].min(axis=1, initial=np.inf) >= MIN_BOX_SIDE)
    sides = (clipped[:, 2:] - clipped[:, :2]).min(axis=1, initial=np.inf)
    is_inside = has_area & (sides >= MIN_BOX_SIDE)

    def named(selected: np.ndarray) -> list[str]:
        return [f"{name_of(i)} {np.round(boxes_xywh[i], 2).tolist()}" for i in np.flatnonzero(selected).tolist()]

    report.add_all("boxes with NaN or infinite numbers", "dropped", named(~is_finite))
    report.add_all("degenerate boxes (no width or height)", "dropped", named(is_finite & ~has_area))
    report.add_all("boxes outside their image", "dropped", named(has_area & ~is_inside))
    report.add_all(
        "boxes that reach out of their image", "clipped to it", named(is_inside & is_clipped(boxes, clipped))
    )
    clipped[~is_inside] = np.nan
    return clipped


def is_clipped(boxes: np.ndarray, clipped: np.ndarray) -> np.ndarray:
    """bool [N]: whether a box lost more than rounding by clipping."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(boxes - clipped).max(axis=1, initial=0) > CLIP_TOLERANCE)
