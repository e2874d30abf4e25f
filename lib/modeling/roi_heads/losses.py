"""Losses of the box and mask heads; each is zero, and still part of the graph, where there is nothing to learn from."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def box_losses(
    logits: Tensor,
    offsets: Tensor,
    *,
    labels: Tensor,
    foreground: Tensor,
    regression: Tensor,
    weights: Tensor,
    beta: float = 1.0,
) -> dict[str, Tensor]:
    """Fast R-CNN's losses.

    Args:
        logits: float32 [R, num_classes].
        offsets: float32 [R, num_classes or 1, 4].
        labels: int64 [R], 0 = background.
        foreground: int64 [F], the RoIs with an object.
        regression: float32 [F, 4], the offsets to their objects.
        weights: float32 [R], of each RoI in the sums; see ``image_weights``.
        beta: distance at which smooth L1 becomes linear.

    Returns:
        ``loss_cls``: cross entropy. ``loss_bbox``: smooth L1 of the foreground.
    """
    of_class = labels[foreground] if offsets.shape[1] > 1 else torch.zeros_like(foreground)
    distance = F.smooth_l1_loss(offsets[foreground, of_class], regression, beta=beta, reduction="none").sum(dim=1)
    entropy = F.cross_entropy(logits, labels, reduction="none")
    return {"loss_cls": (entropy * weights).sum(), "loss_bbox": (distance * weights[foreground]).sum()}


@torch.no_grad()
def mask_targets(masks: Tensor, object_boxes: Tensor, boxes: Tensor, object_index: Tensor, *, size: int) -> Tensor:
    """Masks of objects as seen in the frame of other boxes.

    Args:
        masks: uint8 [N, S, S], each object in the frame of its own box.
        object_boxes: [N, 4], those boxes.
        boxes: [F, 4], the frames that are asked for.
        object_index: int64 [F], the object in each.
        size: side of the result.

    Returns:
        float32 [F, size, size] of 0 and 1: at least half of the cell belongs to the object; 0 outside the object's box.
    """
    if boxes.shape[0] == 0:
        return boxes.new_zeros(0, size, size)
    side = masks.shape[-1]
    reference = object_boxes[object_index]
    scale = side / (reference[:, 2:] - reference[:, :2])
    low, high = (boxes[:, :2] - reference[:, :2]) * scale, (boxes[:, 2:] - reference[:, :2]) * scale
    columns = _cell_shares(low[:, 0], high[:, 0], size=size, length=side)
    rows = _cell_shares(low[:, 1], high[:, 1], size=size, length=side)
    covered = rows @ masks[object_index].to(rows.dtype) @ columns.mT
    return (covered >= 0.5).float()


def _cell_shares(low: Tensor, high: Tensor, *, size: int, length: int) -> Tensor:
    """How much of each of `size` equal cells between low and high [F] lies in each unit 0 .. length: [F, size, length].

    The shares of a cell add up to 1 where it lies inside.
    """
    edges = torch.linspace(0, 1, size + 1, device=low.device) * (high - low)[:, None] + low[:, None]
    units = torch.arange(length, device=low.device, dtype=low.dtype)
    start, stop = edges[:, :-1, None], edges[:, 1:, None]
    overlap = (torch.minimum(stop, units + 1) - torch.maximum(start, units)).clamp(min=0)
    return overlap / (stop - start).clamp(min=1e-9)


def mask_loss(logits: Tensor, *, labels: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Binary cross entropy of the mask of each RoI's class, mean over its cells.

    Args:
        logits: float32 [F, num_classes or 1, M, M].
        labels: int64 [F].
        targets: float32 [F, M, M].
        weights: float32 [F], of each RoI in the sum; see ``image_weights``.
    """
    loss = F.binary_cross_entropy_with_logits(select_class(logits, labels), targets, reduction="none")
    return (loss.mean(dim=(1, 2)) * weights).sum()


def select_class(logits: Tensor, labels: Tensor) -> Tensor:
    """[F, num_classes or 1, M, M] -> [F, M, M], the mask of each label (or the only one)."""
    of_class = labels if logits.shape[1] > 1 else torch.zeros_like(labels)
    return logits[torch.arange(labels.numel(), device=labels.device), of_class]
