"""Targets and losses of the RPN (Ren et al. 2015, normalised as in Detectron)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fpt.modeling.picture_weights import picture_weights
from fpt.modeling.rpn.matcher import IGNORED, NEGATIVE, Match, match_boxes
from fpt.modeling.rpn.sampler import sample_balanced
from fpt.structures.boxes import BoxCoder, covered_share, pairwise_iou


@dataclass(frozen=True)
class AnchorSampling:
    """Which anchors the RPN learns from.

    Args:
        positive_iou: IoU from which an anchor is positive; the best anchors of each object are so too.
        negative_iou: IoU below which an anchor is negative.
        num_samples: anchors drawn a picture.
        positive_fraction: largest share of positives among them.
        straddle_threshold: anchors that reach out of the picture by more pixels are left out; negative = none is.
        crowd_threshold: an anchor of which a crowd box covers more than this share is no negative.
    """

    positive_iou: float = 0.7
    negative_iou: float = 0.3
    num_samples: int = 256
    positive_fraction: float = 0.5
    straddle_threshold: float = 0.0
    crowd_threshold: float = 0.7


def match_anchors(
    anchors: Tensor, boxes: Tensor, crowd_boxes: Tensor, *, size_hw: tuple[int, int], sampling: AnchorSampling
) -> Match:
    """Label the anchors [A, 4] of one picture by its objects [N, 4] and crowd boxes [K, 4], all in input pixels."""
    index = torch.arange(anchors.shape[0], device=anchors.device)
    if sampling.straddle_threshold >= 0:
        index = _inside(anchors, size_hw, sampling.straddle_threshold).nonzero()[:, 0]
    chosen = anchors[index]
    match = match_boxes(
        pairwise_iou(boxes, chosen), positive=sampling.positive_iou, negative=sampling.negative_iou, keeps_best=True
    )
    is_crowd = covered_share(chosen, crowd_boxes) > sampling.crowd_threshold
    label = match.label.masked_fill(is_crowd & (match.label == NEGATIVE), IGNORED)
    return Match(
        index=match.index.new_zeros(anchors.shape[0]).index_copy_(0, index, match.index),
        label=label.new_full((anchors.shape[0],), IGNORED).index_copy_(0, index, label),
        iou=match.iou.new_zeros(anchors.shape[0]).index_copy_(0, index, match.iou),
    )


def _inside(anchors: Tensor, size_hw: tuple[int, int], threshold: float) -> Tensor:
    h, w = size_hw
    return (
        (anchors[:, 0] >= -threshold)
        & (anchors[:, 1] >= -threshold)
        & (anchors[:, 2] < w + threshold)
        & (anchors[:, 3] < h + threshold)
    )


def rpn_losses(
    logits: Tensor,
    offsets: Tensor,
    anchors: Tensor,
    *,
    boxes: Sequence[Tensor],
    crowd_boxes: Sequence[Tensor],
    sizes_hw: Sequence[tuple[int, int]],
    sampling: AnchorSampling,
    box_coder: BoxCoder,
) -> dict[str, Tensor]:
    """Losses of one batch.

    Args:
        logits: float32 [N, A], anchors of all levels.
        offsets: float32 [N, A, 4].
        anchors: float32 [A, 4].
        boxes, crowd_boxes: [K, 4] for each picture.
        sizes_hw: of each picture without padding.

    Returns:
        ``loss_rpn_cls``: binary cross entropy, mean over the sampled anchors of each picture. ``loss_rpn_bbox``: smooth
        L1 (beta 1/9) of the positive ones, summed, over the number of all sampled ones of the picture. Both are means
        over the pictures.
    """
    positives, negatives, regression = [], [], []
    for image, (image_boxes, image_crowd, size) in enumerate(zip(boxes, crowd_boxes, sizes_hw, strict=True)):
        match = match_anchors(anchors, image_boxes, image_crowd, size_hw=size, sampling=sampling)
        positive, negative = sample_balanced(
            match.label, num_samples=sampling.num_samples, positive_fraction=sampling.positive_fraction
        )
        regression.append(box_coder.encode(image_boxes[match.index[positive]], anchors[positive]))
        positives.append(positive + image * anchors.shape[0])
        negatives.append(negative + image * anchors.shape[0])
    sampled = torch.cat(positives + negatives)
    counts = [p.numel() + n.numel() for p, n in zip(positives, negatives, strict=True)]
    weights = torch.cat(
        [
            picture_weights([index.numel() for index in part], counts=counts, device=logits.device)
            for part in (positives, negatives)
        ]
    )
    positive = torch.cat(positives)
    num_positive = positive.numel()
    objectness = (torch.arange(sampled.numel(), device=logits.device) < num_positive).to(logits.dtype)
    loss_cls = F.binary_cross_entropy_with_logits(logits.flatten()[sampled], objectness, weights, reduction="sum")
    predicted = offsets.reshape(-1, 4)[positive]
    distance = F.smooth_l1_loss(predicted, torch.cat(regression), beta=1 / 9, reduction="none").sum(dim=1)
    return {"loss_rpn_cls": loss_cls, "loss_rpn_bbox": (distance * weights[:num_positive]).sum()}
