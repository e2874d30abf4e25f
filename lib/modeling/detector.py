"""Two-stage detector: compose the parts, and run them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from torch import Tensor, nn

from fpt.modeling.checks import check_images, check_targets
from fpt.modeling.normalizer import ImageNormalizer
from fpt.modeling.roi_heads.roi_heads import RoIHeads
from fpt.modeling.rpn.rpn import RegionProposalNetwork
from fpt.structures.image_list import ImageList, padded_size
from fpt.utils.errors import UserError


class GeneralizedRCNN(nn.Module):
    """Faster and Mask R-CNN on any backbone and neck.

    Args:
        normalizer: list of images -> padded batch.
        backbone: batch [N, 3, H, W] -> maps by name.
        neck: ``neck(maps, sizes_hw=, padded_hw=)`` -> maps by name, all of ``neck.out_channels``.
        rpn: maps -> proposals.
        roi_heads: maps and proposals -> losses or detections.
        num_classes: background included.
        has_inclusive_corners: boxes of the images were scaled with the corners that belong to them; see
            ``scale_inclusive``.
    """

    def __init__(
        self,
        *,
        normalizer: ImageNormalizer,
        backbone: nn.Module,
        neck: nn.Module,
        rpn: RegionProposalNetwork,
        roi_heads: RoIHeads,
        num_classes: int,
        has_inclusive_corners: bool = False,
    ) -> None:
        super().__init__()
        self.normalizer = normalizer
        self.backbone = backbone
        self.neck = neck
        self.rpn = rpn
        self.roi_heads = roi_heads
        self.num_classes = num_classes
        self.has_inclusive_corners = has_inclusive_corners

    @property
    def has_masks(self) -> bool:
        """Whether the model predicts masks."""
        return self.roi_heads.mask_branch is not None

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses in training mode, detections in evaluation mode.

        Args:
            images: [3, h, w] each, of any sizes, RGB, 0..255, uint8 or float.
            targets: while training, for each image ``boxes`` float32 [N, 4] in input pixels, ``labels`` int64 [N]
                from 1, ``crowd_boxes`` float32 [K, 4] (may be left out) and with a mask head ``masks`` uint8 [N, S, S],
                each in the frame of its box. N may be 0.

        Returns:
            Training: ``loss_rpn_cls``, ``loss_rpn_bbox``, ``loss_cls``, ``loss_bbox``, ``loss_mask``: weighted scalars.
            Evaluation: for each image, best first, ``boxes`` float32 [D, 4] in input pixels, ``labels`` int64 [D],
            ``scores`` float32 [D] and with a mask head ``masks`` float32 [D, M, M], probabilities in the box's frame.

        Raises:
            UserError: images or targets are malformed.
        """
        check_images(images)
        if not self.training:
            return self._detect(images)
        checked = check_targets(
            targets, num_images=len(images), num_classes=self.num_classes, needs_masks=self.has_masks
        )
        batch = self.normalizer(images)
        features = self._features(batch)
        proposals, losses = self.rpn(features, sizes_hw=batch.sizes_hw, targets=checked)
        return {**losses, **self.roi_heads.losses(features, proposals, checked)}

    def _features(self, batch: ImageList) -> dict[str, Tensor]:
        return self.neck(self.backbone(batch.tensor), sizes_hw=batch.sizes_hw, padded_hw=batch.padded_hw)

    def _detect(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """Images of one padded size run as one batch, so that no image's result depends on its companions."""
        groups: dict[tuple[int, int], list[int]] = {}
        for index, image in enumerate(images):
            size = padded_size([(image.shape[-2], image.shape[-1])], self.normalizer.divisor)
            groups.setdefault(size, []).append(index)
        detections: dict[int, dict[str, Tensor]] = {}
        for members in groups.values():
            batch = self.normalizer([images[index] for index in members])
            features = self._features(batch)
            proposals, _ = self.rpn(features, sizes_hw=batch.sizes_hw)
            found = self.roi_heads.detect(features, proposals, sizes_hw=batch.sizes_hw)
            detections.update(zip(members, found, strict=True))
        return [detections[index] for index in range(len(images))]


def compile_backbone(model: nn.Module, *, backend: str = "inductor") -> None:
    """Compile ``model.backbone`` with torch.compile, in place: names of parameters stay, and so do checkpoints.

    The backbone takes most of the time of a step and knows no sizes of single images, of which the other parts would be
    compiled anew. Each size of a batch is compiled when it first comes, the later ones in general.

    Raises:
        UserError: there is no C++ compiler for the CPU's code.
    """
    backbone = model.get_submodule("backbone")
    is_on_cpu = all(not parameter.is_cuda for parameter in backbone.parameters())
    compilers = [os.environ.get("CXX", ""), "g++", "clang++"]
    if backend == "inductor" and is_on_cpu and not any(shutil.which(name) for name in compilers if name):
        raise UserError("MODEL.COMPILE needs a C++ compiler on a CPU: install g++ or clang++, or set CXX")
    backbone.compile(backend=backend)
