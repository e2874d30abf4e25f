"""Masks from the frame of their boxes into the image.

A box-frame mask [M, M] holds one probability a cell of its box. Between the centres of the cells it is bilinear, and
outside of the box it is zero, as in Detectron. Only the part of the image under the box is ever computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask


def paste_masks(
    masks: np.ndarray, boxes: np.ndarray, size_hw: tuple[int, int], threshold: float = 0.5
) -> Iterator[np.ndarray]:
    """The masks in the image, one after the other, so that only one of them is in memory.

    Args:
        masks: float [D, M, M] box-frame probabilities.
        boxes: float [D, 4] xyxy in pixels of the image; an empty or infinite box gives an empty mask.
        size_hw: size of the image.
        threshold: probability from which a pixel belongs to the object.

    Yields:
        bool [H, W].
    """
    for mask, box in zip(np.asarray(masks), np.asarray(boxes), strict=True):
        image = np.zeros(size_hw, dtype=bool)
        patch, x, y = paste_patch(mask, box, size_hw)
        image[y : y + patch.shape[0], x : x + patch.shape[1]] = patch >= threshold
        yield image


def encode_masks(
    masks: np.ndarray, boxes: np.ndarray, size_hw: tuple[int, int], threshold: float = 0.5
) -> list[dict[str, Any]]:
    """As paste_masks, as compressed RLE {"size": [h, w], "counts": str}; the whole image is never filled."""
    rles = []
    for mask, box in zip(np.asarray(masks), np.asarray(boxes), strict=True):
        patch, x, y = paste_patch(mask, box, size_hw)
        rles.append(encode_patch(patch >= threshold, x, y, size_hw))
    return rles


def paste_patch(mask: np.ndarray, box: np.ndarray, size_hw: tuple[int, int]) -> tuple[np.ndarray, int, int]:
    """Probabilities under a box.

    Returns:
        float32 [h, w] at the centres of the pixels that the box touches inside the image (may be empty), and the
        x and y of its first pixel.
    """
    x1, y1, x2, y2 = (float(value) for value in box)
    if not (np.isfinite([x1, y1, x2, y2]).all() and x2 > x1 and y2 > y1):
        return np.zeros((0, 0), np.float32), 0, 0
    left, columns = _weights(x1, x2, mask.shape[1], size_hw[1])
    top, rows = _weights(y1, y2, mask.shape[0], size_hw[0])
    return rows @ np.asarray(mask, np.float32) @ columns.T, left, top


def _weights(low: float, high: float, num_cells: int, limit: int) -> tuple[int, np.ndarray]:
    """First pixel of an axis, and the share of each cell in each pixel: float32 [pixels, cells]."""
    first, last = min(max(int(np.floor(low)), 0), limit), max(min(int(np.ceil(high)), limit), 0)
    centres = np.arange(first, max(last, first)) + 0.5
    positions = (centres - low) / (high - low) * num_cells - 0.5
    return first, np.maximum(1 - np.abs(positions[:, None] - np.arange(num_cells)), 0).astype(np.float32)


def encode_patch(patch: np.ndarray, x: int, y: int, size_hw: tuple[int, int]) -> dict[str, Any]:
    """Compressed RLE of an image that shows `patch` (bool [h, w]) at column x, row y, and nothing else."""
    height, width = size_hw
    # One more empty row on either side: each run of a column then has a start and an end.
    columns = np.zeros((patch.shape[1], patch.shape[0] + 2), dtype=np.int8)
    columns[:, 1:-1] = patch.T
    edge_columns, edge_rows = np.nonzero(np.diff(columns, axis=1))
    edges = (edge_columns + x) * height + edge_rows + y
    # A run that reaches the last row goes on in the first row of the next column: drop such pairs of edges.
    is_joined = edges[1:-1:2] == edges[2::2]
    keep = np.ones(len(edges), dtype=bool)
    keep[1:-1:2][is_joined] = False
    keep[2::2][is_joined] = False
    counts = np.diff(edges[keep], prepend=0, append=height * width)
    counts = counts[:-1] if counts[-1] == 0 and len(counts) > 1 else counts
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width)
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}


def decode_mask(rle: dict[str, Any]) -> np.ndarray:
    """bool [H, W] of a compressed RLE."""
    decoded = coco_mask.decode({"size": rle["size"], "counts": rle["counts"]})
    return np.asarray(decoded.view(bool))
