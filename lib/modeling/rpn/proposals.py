"""From the RPN's outputs to proposals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from fpt.structures.boxes import BoxCoder, clip_boxes, is_longer_than


@dataclass(frozen=True)
class ProposalSettings:
    """How many proposals are kept.

    Attributes:
        pre_nms_top_n: best anchors a level and image that are decoded.
        post_nms_top_n: best proposals per image after NMS.
        nms_threshold: IoU of the NMS within a level.
        min_size: shortest side in network-input pixels.
        over_batch: ``post_nms_top_n`` a batch are kept, the best of all its images, as in Detectron's training.
    """

    pre_nms_top_n: int
    post_nms_top_n: int
    nms_threshold: float
    min_size: float = 0.0
    over_batch: bool = False


@torch.no_grad()
def select_proposals(
    logits: Sequence[Tensor],
    offsets: Sequence[Tensor],
    anchors: Sequence[Tensor],
    *,
    sizes_hw: Sequence[tuple[int, int]],
    settings: ProposalSettings,
    box_coder: BoxCoder,
) -> list[tuple[Tensor, Tensor]]:
    """Decode the best anchors of each level, clip them to their image, and thin them out by NMS within each level.

    Args:
        logits: float32 [N, A_l] for each level.
        offsets: float32 [N, A_l, 4] for each level.
        anchors: float32 [A_l, 4] for each level.
        sizes_hw: of the N images without padding.

    Returns:
        For each image boxes float32 [K, 4], best first, and their logits [K]; no gradient flows into them.
    """
    boxes, scores, levels = [], [], []
    for level, (level_logits, level_offsets, level_anchors) in enumerate(zip(logits, offsets, anchors, strict=True)):
        count = min(settings.pre_nms_top_n, level_logits.shape[1])
        top, index = level_logits.topk(count, dim=1)
        chosen = level_offsets.gather(1, index[..., None].expand(-1, -1, 4))
        boxes.append(box_coder.decode(chosen, level_anchors[index]))
        scores.append(top)
        levels.append(torch.full_like(index[0], level))
    all_boxes, all_scores, all_levels = torch.cat(boxes, dim=1), torch.cat(scores, dim=1), torch.cat(levels)
    found = [
        _thin_out(clip_boxes(image_boxes, size), image_scores, all_levels, settings)
        for image_boxes, image_scores, size in zip(all_boxes, all_scores, sizes_hw, strict=True)
    ]
    return _best_of_batch(found, settings.post_nms_top_n) if settings.over_batch else found


def _best_of_batch(found: list[tuple[Tensor, Tensor]], count: int) -> list[tuple[Tensor, Tensor]]:
    scores = torch.cat([image_scores for _, image_scores in found])
    if scores.numel() <= count:
        return found
    is_kept = torch.zeros_like(scores, dtype=torch.bool)
    is_kept[scores.topk(count).indices] = True
    parts = is_kept.split([len(boxes) for boxes, _ in found])
    return [(boxes[part], own[part]) for (boxes, own), part in zip(found, parts, strict=True)]


def _thin_out(boxes: Tensor, scores: Tensor, levels: Tensor, settings: ProposalSettings) -> tuple[Tensor, Tensor]:
    is_kept = is_longer_than(boxes, settings.min_size) & torch.isfinite(scores)
    boxes, scores, levels = boxes[is_kept], scores[is_kept], levels[is_kept]
    kept = batched_nms(boxes, scores, levels, settings.nms_threshold)[: settings.post_nms_top_n]
    return boxes[kept], scores[kept]
