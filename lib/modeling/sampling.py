"""Which anchors and RoIs the two stages learn from; torch's generator decides, so that a seed repeats the draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fpt.modeling.matcher import IGNORED, NEGATIVE, Match, match_boxes, match_many
from fpt.structures.boxes import covered_share, is_longer_than, pairwise_iou


@dataclass(frozen=True)
class AnchorSampling:
    """Which anchors the RPN learns from.

    Attributes:
        positive_iou: IoU from which an anchor is positive; the best anchors of each object are so too.
        negative_iou: IoU below which an anchor is negative.
        num_samples: anchors drawn per image.
        positive_fraction: largest share of positives among them.
        straddle_threshold: anchors that reach out of the image by more pixels are left out; negative = none is.
        crowd_threshold: an anchor of which a crowd box covers more than this share is no negative.
    """

    positive_iou: float = 0.7
    negative_iou: float = 0.3
    num_samples: int = 256
    positive_fraction: float = 0.5
    straddle_threshold: float = -1.0
    crowd_threshold: float = 0.7


@dataclass(frozen=True)
class RoISampling:
    """Rules of the sample.

    Attributes:
        num_samples: RoIs per image.
        foreground_fraction: largest share of foreground among them.
        foreground_iou: IoU with an object from which a RoI is foreground.
        background_high: IoU below which a RoI is background.
        background_low: IoU from which a RoI may be background.
        crowd_threshold: a RoI of which a crowd box covers more than this share is no background.
    """

    num_samples: int = 512
    foreground_fraction: float = 0.25
    foreground_iou: float = 0.5
    background_high: float = 0.5
    background_low: float = 0.0
    crowd_threshold: float = 0.7


@dataclass(frozen=True)
class SampledRoIs:
    """RoIs of one image, foreground first.

    Attributes:
        boxes: float32 [R, 4] in input pixels.
        labels: int64 [R], 0 = background.
        object_index: int64 [F], the object of each foreground RoI.
    """

    boxes: Tensor
    labels: Tensor
    object_index: Tensor

    @property
    def foreground_boxes(self) -> Tensor:
        """[F, 4]."""
        return self.boxes[: self.object_index.numel()]


def match_anchors(
    anchors: Tensor, boxes: Tensor, crowd_boxes: Tensor, *, size_hw: tuple[int, int], sampling: AnchorSampling
) -> Match:
    """Label the anchors [A, 4] of one image by its objects [N, 4] and crowd boxes [K, 4], all in input pixels."""
    index = torch.arange(anchors.shape[0], device=anchors.device)
    if sampling.straddle_threshold >= 0:
        index = _inside(anchors, size_hw, sampling.straddle_threshold).nonzero()[:, 0]
    chosen = anchors[index]
    match = match_many(boxes, chosen, positive=sampling.positive_iou, negative=sampling.negative_iou)
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
        & (anchors[:, 2] <= w + threshold)
        & (anchors[:, 3] <= h + threshold)
    )


@torch.no_grad()
def sample_rois(proposals: Tensor, target: dict[str, Tensor], *, sampling: RoISampling) -> SampledRoIs:
    """Draw RoIs from the proposals [K, 4] and the objects' own boxes.

    Args:
        target: ``boxes`` [N, 4], ``labels`` [N] and ``crowd_boxes`` [C, 4] of the image.
    """
    candidates = torch.cat([target["boxes"], proposals])
    candidates = candidates[is_longer_than(candidates, 0)]
    match = match_boxes(
        pairwise_iou(target["boxes"], candidates),
        positive=sampling.foreground_iou,
        negative=sampling.background_high,
        keeps_best=False,
    )
    is_crowd = covered_share(candidates, target["crowd_boxes"]) > sampling.crowd_threshold
    is_left_out = is_crowd | (match.iou < sampling.background_low)
    label = match.label.masked_fill(is_left_out & (match.label == NEGATIVE), IGNORED)
    foreground, background = sample_balanced(
        label, num_samples=sampling.num_samples, positive_fraction=sampling.foreground_fraction
    )
    object_index = match.index[foreground]
    labels = torch.cat([target["labels"][object_index], torch.zeros_like(background)])
    return SampledRoIs(candidates[torch.cat([foreground, background])], labels, object_index)


def sample_balanced(label: Tensor, *, num_samples: int, positive_fraction: float) -> tuple[Tensor, Tensor]:
    """Draw up to ``num_samples`` boxes without replacement.

    Args:
        label: [A], 1 positive, 0 negative, anything else is never drawn.
        positive_fraction: largest share of positives; negatives fill the rest as far as they go.

    Returns:
        int64 indices of the positives and of the negatives drawn.
    """
    positive, negative = (label == 1).nonzero()[:, 0], (label == 0).nonzero()[:, 0]
    positive = _draw(positive, int(num_samples * positive_fraction))
    return positive, _draw(negative, num_samples - positive.numel())


def _draw(index: Tensor, count: int) -> Tensor:
    if index.numel() <= count:
        return index
    return index[torch.randperm(index.numel(), device=index.device)[:count]]


def image_weights(
    sizes: Sequence[int], *, counts: Sequence[int] | None = None, device: torch.device, over_batch: bool = False
) -> Tensor:
    """float32 [sum(sizes)]: the weight of each sample, 1 / (count of its image x number of images).

    A loss that is weighted so is the mean over the images of each one's own loss. Splitting a batch over devices,
    processes or accumulated batches of equal size and taking the mean then gives the same loss and gradient, whatever
    each image holds.

    Args:
        sizes: samples of each image, in the order of the result.
        counts: what the loss of each image is divided by, 0 counting as 1; None = its samples.
        device: of the result.
        over_batch: 1 / (count of the batch) for all instead: the mean over its samples.
    """
    counts = sizes if counts is None else counts
    if over_batch:
        return torch.full((sum(sizes),), 1 / max(sum(counts), 1), device=device)
    parts = [
        torch.full((size,), 1 / (max(count, 1) * len(sizes)), device=device)
        for size, count in zip(sizes, counts, strict=True)
    ]
    return torch.cat(parts)
