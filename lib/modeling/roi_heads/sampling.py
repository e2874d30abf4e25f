"""Which RoIs the heads learn from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fpt.modeling.rpn.matcher import IGNORED, NEGATIVE, match_boxes
from fpt.modeling.rpn.sampler import sample_balanced
from fpt.structures.boxes import covered_share, is_longer_than, pairwise_iou


@dataclass(frozen=True)
class RoISampling:
    """Rules of the sample.

    Args:
        num_samples: RoIs a picture.
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
    """RoIs of one picture, foreground first.

    Args:
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


@torch.no_grad()
def sample_rois(proposals: Tensor, target: dict[str, Tensor], *, sampling: RoISampling) -> SampledRoIs:
    """Draw RoIs from the proposals [K, 4] and the objects' own boxes.

    Args:
        target: ``boxes`` [N, 4], ``labels`` [N] and ``crowd_boxes`` [C, 4] of the picture.
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
