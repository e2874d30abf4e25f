"""Matching of boxes with objects by IoU."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

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
    label = torch.full((num_boxes,), IGNORED, dtype=torch.int8, device=iou.device)
    label[best < negative] = NEGATIVE
    label[best >= positive] = POSITIVE
    if keeps_best and num_boxes > 0:
        best_of_object = iou.amax(dim=1, keepdim=True)
        label[((iou == best_of_object) & (best_of_object > 0)).any(dim=0)] = POSITIVE
    return Match(index, label, best)
