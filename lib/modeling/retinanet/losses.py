"""RetinaNet's losses (Lin et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from fpt.modeling.matcher import IGNORED, POSITIVE
from fpt.modeling.sampling import AnchorSampling, image_weights, match_anchors
from fpt.structures.boxes import BoxCoder


@dataclass(frozen=True)
class RetinaNetLosses:
    """How the losses are counted.

    Attributes:
        sampling: which anchors are positive and negative; all of them count.
        alpha, gamma: of the focal loss.
        box_weight: factor of the box loss.
        box_beta: distance at which smooth L1 becomes linear; 0 = L1.
        over_batch: sums are divided by the objects' anchors of the whole batch, not image by image.
    """

    sampling: AnchorSampling
    alpha: float = 0.25
    gamma: float = 2.0
    box_weight: float = 1.0
    box_beta: float = 0.11
    over_batch: bool = False

    def __call__(
        self,
        logits: Tensor,
        offsets: Tensor,
        anchors: Tensor,
        *,
        targets: Sequence[dict[str, Tensor]],
        sizes_hw: Sequence[tuple[int, int]],
        box_coder: BoxCoder,
    ) -> dict[str, Tensor]:
        """Losses of one batch.

        Args:
            logits: float32 [N, A, K] of K classes.
            offsets: float32 [N, A, 4].
            anchors: float32 [A, 4].
            targets: ``boxes`` [M, 4], ``labels`` [M] from 1 and ``crowd_boxes`` of each image.
            sizes_hw: of each image without padding.
            box_coder: of the offsets.

        Returns:
            ``loss_cls``: focal loss of all anchors but the ignored ones. ``loss_bbox``: smooth L1 of the positive ones.
            Both are divided by the number of positive anchors, at least 1, and are means over the images.
        """
        matches = [
            match_anchors(anchors, target["boxes"], target["crowd_boxes"], size_hw=size, sampling=self.sampling)
            for target, size in zip(targets, sizes_hw, strict=True)
        ]
        positives = [(match.label == POSITIVE).nonzero()[:, 0] for match in matches]
        counts = [index.numel() for index in positives]
        weights = image_weights([1] * len(matches), counts=counts, device=logits.device, over_batch=self.over_batch)
        cls_loss, box_loss = logits.sum() * 0, offsets.sum() * 0
        for image, (match, index, target) in enumerate(zip(matches, positives, targets, strict=True)):
            wanted = torch.zeros_like(logits[image])
            objects = match.index[index]
            wanted[index, target["labels"][objects] - 1] = 1
            counted = match.label != IGNORED
            focal = sigmoid_focal_loss(logits[image][counted], wanted[counted], alpha=self.alpha, gamma=self.gamma)
            cls_loss = cls_loss + focal.sum() * weights[image]
            regression = box_coder.encode(target["boxes"][objects], anchors[index])
            distance = F.smooth_l1_loss(offsets[image, index], regression, beta=self.box_beta, reduction="sum")
            box_loss = box_loss + distance * weights[image]
        return {"loss_cls": cls_loss, "loss_bbox": box_loss * self.box_weight}
