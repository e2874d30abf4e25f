"""The model of semantic segmentation: composes the parts, and runs them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpt.modeling.checks import check_class_maps, check_images
from fpt.modeling.normalizer import ImageNormalizer
from fpt.modeling.semantic.head import SemanticHead
from fpt.modeling.semantic.loss import PixelLoss


class SemanticSegmentor(nn.Module):
    """Images in; losses, or a class for every pixel, out.

    Args:
        normalizer: list of images of one size -> batch, unpadded.
        backbone: batch [N, 3, H, W] -> maps by name.
        neck: maps -> levels by name; ``neck.context(maps)`` gives what else the head reads.
        head: of the levels and the context.
        auxiliary_head: of the backbone's last map but one, while training; None = none.
        auxiliary_weight: of its loss.
        loss: of logits and classes.
        num_classes: C.
    """

    def __init__(
        self,
        *,
        normalizer: ImageNormalizer,
        backbone: nn.Module,
        neck: nn.Module,
        head: SemanticHead,
        auxiliary_head: SemanticHead | None,
        auxiliary_weight: float,
        loss: PixelLoss,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.normalizer = normalizer
        self.backbone = backbone
        self.neck = neck
        self.head = head
        self.auxiliary_head = auxiliary_head
        self.auxiliary_weight = auxiliary_weight
        self.loss = loss
        self.num_classes = num_classes

    def forward(
        self,
        images: Sequence[Tensor],
        targets: Sequence[dict[str, Tensor]] | None = None,
        *,
        with_scores: bool = False,
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses in training mode, maps of classes in evaluation mode.

        Args:
            images: [3, h, w] each, RGB, 0..255, uint8 or float; while training all of one size.
            targets: while training, for each image ``classes`` int [h, w], 0..C-1, or -1 where a pixel does not count.
            with_scores: give the scores in evaluation, too.

        Returns:
            Training: ``loss_sem`` and, with an auxiliary head, ``loss_aux``, weighted.
            Evaluation: for each image ``classes`` int64 [h, w], 0..C-1, and on request ``scores`` float32 [C, h, w],
            probabilities.

        Raises:
            UserError: images or targets are malformed.
        """
        check_images(images)
        if self.training:
            classes = check_class_maps(targets, images=images, num_classes=self.num_classes)
            return self._losses(images, classes)
        results: list[dict[str, Tensor]] = []
        for image in images:
            logits = self.logits(image[None])[0]
            result = {"classes": logits.argmax(dim=0)}
            if with_scores:
                result["scores"] = logits.float().softmax(dim=0)
            results.append(result)
        return results

    def logits(self, images: Tensor) -> Tensor:
        """Images [N, 3, h, w] of one size -> logits [N, C, h, w]."""
        return _resize(self.coarse_logits(images), images.shape[-2:])

    def coarse_logits(self, images: Tensor) -> Tensor:
        """Images [N, 3, h, w] of one size -> logits at the head's stride, [N, C, h', w']."""
        return self.head(self._levels(self.backbone(self.normalizer(list(images)).tensor)))

    def _levels(self, features: OrderedDict[str, Tensor]) -> list[Tensor]:
        return [*self.neck(features).values(), *self.neck.context(features)]  # type: ignore[operator]

    def _losses(self, images: Sequence[Tensor], classes: Tensor) -> dict[str, Tensor]:
        features = self.backbone(self.normalizer(images).tensor)
        size = images[0].shape[-2:]
        losses = {"loss_sem": self.loss(_resize(self.head(self._levels(features)), size), classes)}
        if self.auxiliary_head is not None:
            logits = self.auxiliary_head([list(features.values())[-2]])
            losses["loss_aux"] = self.auxiliary_weight * self.loss(_resize(logits, size), classes)
        return losses


def _resize(logits: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(logits, size=torch.Size(size), mode="bilinear", align_corners=False)
