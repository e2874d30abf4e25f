"""Instance masks: polygons and run lengths (RLE) drawn into the frame of a box.

A box-frame mask is uint8 [size, size]: cell (row, column) is 1 where the centre of that part of the box belongs to
the object. It knows no scale, so one drawing serves every size the image is resized to, and memory stays bounded.
Coordinates are continuous: pixel (row, column) covers [column, column + 1) x [row, row + 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

MAX_COORDINATE = 2.0**20
"""Polygons that reach further out, in pixels, are damage: COCO's drawing walks along their edges, or crashes."""
_FRAME_REACH = 100
"""Parts of a polygon that lie so many box sides outside of its box are moved nearer: they cost time, unseen."""


def rasterize_polygons(polygons: Sequence[np.ndarray], box_xyxy: np.ndarray, size: int) -> np.ndarray:
    """Draw the union of polygons in the frame of a box.

    COCO's own drawing is used: against one nine times as fine its mean IoU on photos is 0.997 at 44 us an object;
    filling with ``cv2.fillPoly`` also sets every cell that the outline touches (0.976 at 21 us).

    Args:
        polygons: float [P_k, 2] each, P_k >= 3: x, y in the same pixels as the box.
        box_xyxy: float [4], with positive width and height.
        size: cells a side of the result.

    Returns:
        uint8 [size, size], 0 or 1.
    """
    x1, y1, x2, y2 = (float(value) for value in box_xyxy)
    if not polygons:
        return np.zeros((size, size), np.uint8)
    scale = np.array([size / (x2 - x1), size / (y2 - y1)])
    origin = np.array([x1, y1])
    reach = _FRAME_REACH * size
    framed = [((np.asarray(points, np.float64) - origin) * scale).clip(-reach, reach).ravel() for points in polygons]
    runs = coco_mask.frPyObjects(framed, size, size)
    return np.ascontiguousarray(coco_mask.decode(coco_mask.merge(runs)))


def rasterize_rle(rle: dict[str, Any], box_xyxy: np.ndarray, size: int) -> np.ndarray:
    """Sample a run-length mask in the frame of a box: each cell takes the pixel under its centre.

    The runs are looked up: a map of the whole image for each object takes up to a hundred times as long.

    Args:
        rle: compressed RLE {"size": [h, w], "counts": bytes or str} of the whole image.
        box_xyxy: float [4] in that image's pixels.
        size: cells a side of the result.

    Returns:
        uint8 [size, size], 0 or 1; 0 where the box reaches out of the image.
    """
    h, w = (int(side) for side in rle["size"])
    counts = rle["counts"].encode("ascii") if isinstance(rle["counts"], str) else rle["counts"]
    ends = np.cumsum(_decode_counts(counts))
    x1, y1, x2, y2 = (float(value) for value in box_xyxy)
    centres = (np.arange(size) + 0.5) / size
    columns = np.floor(x1 + centres * (x2 - x1)).astype(np.int64)
    rows = np.floor(y1 + centres * (y2 - y1)).astype(np.int64)
    places = rows.clip(0, h - 1)[:, None] + h * columns.clip(0, w - 1)[None]
    framed = np.searchsorted(ends, places, side="right") % 2  # runs of 0 and 1 take turns
    inside = ((rows >= 0) & (rows < h))[:, None] & ((columns >= 0) & (columns < w))[None]
    return np.where(inside, framed, 0).astype(np.uint8)


def compress_rle(rle: dict[str, Any]) -> bytes:
    """Compressed counts of an RLE whose counts are a list of numbers, a string or bytes.

    Raises:
        ValueError: the runs are malformed, negative, or do not add up to h x w pixels.
    """
    h, w = (int(value) for value in rle["size"])
    counts = rle["counts"]
    if isinstance(counts, list):
        runs = np.asarray(counts, dtype=np.float64)
    else:
        counts = counts.encode("ascii") if isinstance(counts, str) else counts
        if not isinstance(counts, bytes):
            raise ValueError("counts are no compressed run lengths")
        runs = _decode_counts(counts)
    if runs.ndim != 1 or not np.isfinite(runs).all() or (runs < 0).any() or (runs != np.floor(runs)).any():
        raise ValueError("run lengths are not whole numbers from 0")
    if runs.sum() != h * w:
        raise ValueError(f"runs cover {int(runs.sum())} pixels, not {h} x {w}")
    if isinstance(counts, bytes):
        return counts
    return bytes(coco_mask.frPyObjects({"size": [h, w], "counts": [int(run) for run in counts]}, h, w)["counts"])


def usable_segmentation(segmentation: Any, size_hw: Sequence[int]) -> list[list[float]] | dict[str, Any] | None:
    """A COCO annotation's mask as the evaluators can read it: polygons of 3 points or more, or an RLE that fits.

    Args:
        segmentation: as the file has it; a single polygon may stand without its outer list.
        size_hw: of the image.

    Returns:
        The polygons that are well formed, the RLE, or None where nothing is left.
    """
    try:
        if isinstance(segmentation, dict):
            compress_rle(segmentation)
            return segmentation if list(segmentation["size"]) == list(size_hw) else None
        is_flat = bool(segmentation) and isinstance(segmentation[0], (int, float))
        polygons = [part for part in ([segmentation] if is_flat else segmentation) if _is_polygon(part)]
    except (KeyError, TypeError, ValueError):
        return None
    return polygons or None


def _is_polygon(part: Any) -> bool:
    return isinstance(part, list) and len(part) >= 6 and len(part) % 2 == 0 and has_usable_numbers(part)


def has_usable_numbers(points: Sequence[float]) -> bool:
    """Whether the numbers of a polygon are finite and at most MAX_COORDINATE either way.

    Raises:
        TypeError: some are no numbers.
    """
    total = sum(points)
    is_finite = bool(total - total == 0)  # neither NaN nor infinite
    return is_finite and max(points) <= MAX_COORDINATE and min(points) >= -MAX_COORDINATE


def _decode_counts(counts: bytes) -> np.ndarray:
    """Run lengths of COCO's compressed string: 5 bits a character, 0x20 = goes on, from the 4th run on differences."""
    codes = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if codes.size == 0 or (codes < 0).any() or (codes > 63).any() or codes[-1] & 0x20:
        raise ValueError("counts are no compressed run lengths")
    is_last = (codes & 0x20) == 0
    ends = np.flatnonzero(is_last)
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > 10:
        raise ValueError("counts are no compressed run lengths")
    shifts = 5 * (np.arange(codes.size) - np.repeat(starts, lengths))
    runs = np.add.reduceat((codes & 0x1F) << shifts, starts)
    is_negative = (codes[ends] & 0x10) != 0
    runs = np.where(is_negative, runs - (np.int64(1) << (5 * lengths)), runs)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
