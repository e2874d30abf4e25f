"""Matching of boxes with objects by IoU."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fpt.structures.boxes import pairwise_iou

_PAIRS_AT_ONCE = 1 << 22
POSITIVE, NEGATIVE, IGNORED = 1, 0, -1


@dataclass(frozen=True)
class Match:
    """What each box was matched with.

    Attributes:
        index: int64 [A], the object of the highest IoU; 0 where there are no objects.
        label: int8 [A], 1 positive, 0 negative, -1 neither.
        iou: float32 [A], the highest IoU.
    """

    index: Tensor
    label: Tensor
    iou: Tensor


def match_boxes(iou: Tensor, *, positive: float, negative: float, keeps_best: bool) -> Match:
    """Label boxes by their highest IoU with an object.

    Args:
        iou: float32 [G, A] of G objects and A boxes.
        positive: IoU from which a box is positive.
        negative: IoU below which a box is negative; between the two it is neither.
        keeps_best: the boxes of the highest IoU with an object, ties included, are positive however low it is above 0.
    """
    num_objects, num_boxes = iou.shape
    if num_objects == 0:
        zeros = torch.zeros(num_boxes, device=iou.device)
        return Match(zeros.long(), zeros.to(torch.int8), zeros)
    best, index = iou.max(dim=0)
    label = _labels(best, positive, negative)
    if keeps_best and num_boxes > 0:
        label[_are_best(iou, iou.amax(dim=1, keepdim=True))] = POSITIVE
    return Match(index, label, best)


def match_many(objects: Tensor, boxes: Tensor, *, positive: float, negative: float) -> Match:
    """``match_boxes`` of objects [G, 4] and boxes [A, 4], with `keeps_best`, in memory that grows with G + A."""
    parts = boxes.split(max(1, _PAIRS_AT_ONCE // max(1, len(objects))))
    if len(parts) <= 1 or not len(objects):
        return match_boxes(pairwise_iou(objects, boxes), positive=positive, negative=negative, keeps_best=True)
    best_of_object = objects.new_zeros(len(objects), 1)
    found = []
    for part in parts:
        iou = pairwise_iou(objects, part)
        found.append(iou.max(dim=0))
        best_of_object = torch.maximum(best_of_object, iou.amax(dim=1, keepdim=True))
    best, index = (torch.cat(values) for values in zip(*found, strict=True))
    label = _labels(best, positive, negative)
    for part, own in zip(parts, label.split(len(parts[0])), strict=True):
        own[_are_best(pairwise_iou(objects, part), best_of_object)] = POSITIVE
    return Match(index, label, best)


def _labels(best: Tensor, positive: float, negative: float) -> Tensor:
    label = torch.full_like(best, IGNORED, dtype=torch.int8)
    label[best < negative] = NEGATIVE
    label[best >= positive] = POSITIVE
    return label


def _are_best(iou: Tensor, best_of_object: Tensor) -> Tensor:
    """bool [A]: boxes of the highest IoU with any object, above 0."""
    return ((iou == best_of_object) & (best_of_object > 0)).any(dim=0)
