"""Losses of the RPN (Ren et al. 2015, normalised as in Detectron)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fpt.modeling.sampling import AnchorSampling, image_weights, match_anchors, sample_balanced
from fpt.structures.boxes import BoxCoder


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
    over_batch: bool = False,
) -> dict[str, Tensor]:
    """Losses of one batch.

    Args:
        logits: float32 [N, A], anchors of all levels.
        offsets: float32 [N, A, 4].
        anchors: float32 [A, 4].
        boxes, crowd_boxes: [K, 4] for each image.
        sizes_hw: of each image without padding.
        over_batch: each anchor counts the same, whatever image it is of.

    Returns:
        ``loss_rpn_cls``: binary cross entropy, mean over the sampled anchors of each image. ``loss_rpn_bbox``: smooth
        L1 (beta 1/9) of the positive ones, summed, over the number of all sampled ones of the image. Both are means
        over the images.
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
            image_weights([index.numel() for index in part], counts=counts, device=logits.device, over_batch=over_batch)
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
