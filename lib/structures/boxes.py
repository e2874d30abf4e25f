"""Boxes: float tensors [N, 4] of x0, y0, x1, y1 in continuous pixel coordinates (width = x1 - x0)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import batched_nms

MAX_LOG_SCALE = math.log(1000.0 / 16)
"""Largest dw, dh that a decoded box may grow by, as in Detectron."""

_FIRST_CANDIDATES = 10  # boxes that are looked at for each one that is wanted


def box_area(boxes: Tensor) -> Tensor:
    """[N, 4] -> [N] square pixels."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def pairwise_intersection(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """[N, 4], [M, 4] -> [N, M] square pixels that each pair shares."""
    ax0, ay0, ax1, ay1 = boxes_a[:, :, None].unbind(1)
    bx0, by0, bx1, by1 = boxes_b[:, :, None].transpose(0, 2).unbind(1)
    width = (torch.minimum(ax1, bx1) - torch.maximum(ax0, bx0)).clamp_(min=0)
    height = (torch.minimum(ay1, by1) - torch.maximum(ay0, by0)).clamp_(min=0)
    return width.mul_(height)


def pairwise_iou(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """[N, 4], [M, 4] -> [N, M] intersection over union; 0 where both boxes are empty."""
    intersection = pairwise_intersection(boxes_a, boxes_b)
    union = box_area(boxes_a)[:, None] + box_area(boxes_b)[None] - intersection
    return intersection / union.clamp_(min=torch.finfo(union.dtype).tiny)


def covered_share(boxes: Tensor, regions: Tensor) -> Tensor:
    """[N, 4], [K, 4] -> [N] largest share of each box's area that one region covers; 0 without regions."""
    if regions.shape[0] == 0:
        return boxes.new_zeros(boxes.shape[0])
    area = box_area(boxes).clamp(min=torch.finfo(boxes.dtype).tiny)
    return (pairwise_intersection(boxes, regions) / area[:, None]).amax(dim=1)


def clip_boxes(boxes: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Move the corners of boxes [..., 4] into an image of ``size_hw`` pixels."""
    h, w = size_hw
    x, y = boxes[..., 0::2].clamp(0, w), boxes[..., 1::2].clamp(0, h)
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], dim=-1)


def is_longer_than(boxes: Tensor, min_size: float) -> Tensor:
    """[..., 4] -> bool [...]: both sides are positive and at least ``min_size`` pixels."""
    shorter = (boxes[..., 2:] - boxes[..., :2]).amin(dim=-1)
    return (shorter >= min_size) & (shorter > 0)


def scale_inclusive(boxes: np.ndarray, ratio: np.ndarray | float) -> np.ndarray:
    """Boxes float [N, 4] in other pixels, as programs scale them that count the last column and row as corners.

    They keep x1 - 1 and y1 - 1, scale those, and count one pixel more again: Detectron's width = x1 - x0 + 1.

    Args:
        boxes: corners in continuous coordinates.
        ratio: new pixels an old one, one for all or of x, y, x, y.
    """
    last = np.array([0, 0, 1, 1], dtype=boxes.dtype)
    corners = boxes - last
    corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2])
    scaled: np.ndarray = corners * ratio + last
    return scaled


@dataclass(frozen=True)
class BoxCoder:
    """Boxes as offsets from reference boxes (Girshick et al. 2014): dx, dy, dw, dh times a weight each.

    Attributes:
        weights: of dx, dy, dw, dh.
    """

    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)

    def encode(self, boxes: Tensor, reference: Tensor) -> Tensor:
        """Offsets [N, 4] that ``decode`` turns back into ``boxes`` [N, 4] from ``reference`` [N, 4]."""
        size, reference_size = boxes[:, 2:] - boxes[:, :2], reference[:, 2:] - reference[:, :2]
        centre, reference_centre = boxes[:, :2] + size / 2, reference[:, :2] + reference_size / 2
        offsets = torch.cat([(centre - reference_centre) / reference_size, torch.log(size / reference_size)], dim=1)
        return offsets * offsets.new_tensor(self.weights)

    def decode(self, offsets: Tensor, reference: Tensor) -> Tensor:
        """Boxes [..., 4] in float32 from offsets [..., 4] and reference boxes that broadcast to them."""
        offsets = offsets.float() / offsets.new_tensor(self.weights, dtype=torch.float32)
        size = reference[..., 2:] - reference[..., :2]
        centre = reference[..., :2] + size / 2 + offsets[..., :2] * size
        half = offsets[..., 2:].clamp(max=MAX_LOG_SCALE).exp() * size / 2
        return torch.cat([centre - half, centre + half], dim=-1)


def best_after_nms(boxes: Tensor, scores: Tensor, groups: Tensor, *, iou_threshold: float, max_kept: int) -> Tensor:
    """Non-maximum suppression within groups: indices of the best boxes that are left, best first.

    A box can only be removed by one of a higher score. So the best few decide among themselves, and the others are
    looked at where fewer than `max_kept` of these are left.

    Args:
        boxes: float32 [N, 4].
        scores: float32 [N].
        groups: int64 [N], for example classes.
        iou_threshold: a box that overlaps a better one of its group by more is removed.
        max_kept: indices that are wanted at most.

    Returns:
        int64 [K], K <= max_kept.
    """
    order = scores.argsort(descending=True, stable=True)
    count = _FIRST_CANDIDATES * max_kept
    while True:
        some = order[:count]
        kept = batched_nms(boxes[some], scores[some], groups[some], iou_threshold)[:max_kept]
        if len(kept) == max_kept or count >= len(order):
            return some[kept]
        count *= _FIRST_CANDIDATES
