"""Detectors: compose the parts, and run them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from fpt.modeling.checks import check_images, check_targets
from fpt.modeling.normalizer import ImageNormalizer
from fpt.modeling.roi_heads.roi_heads import RoIHeads
from fpt.modeling.rpn.rpn import RegionProposalNetwork
from fpt.structures.image_list import ImageList, padded_size
from fpt.utils.errors import UserError


class Detector(nn.Module):
    """What all detectors share: images in, losses or detections out; the kinds say what happens on the maps.

    Args:
        normalizer: list of images -> padded batch.
        backbone: batch [N, 3, H, W] -> maps by name.
        neck: ``neck(maps, sizes_hw=, padded_hw=)`` -> maps by name, all of ``neck.out_channels``.
        num_classes: background included.
        has_inclusive_corners: boxes of the images were scaled with the corners that belong to them; see
            ``scale_inclusive``.
        hides_padding: the neck does not see what lies beyond the images of a batch.
    """

    def __init__(
        self,
        *,
        normalizer: ImageNormalizer,
        backbone: nn.Module,
        neck: nn.Module,
        num_classes: int,
        has_inclusive_corners: bool = False,
        hides_padding: bool = True,
    ) -> None:
        super().__init__()
        self.normalizer = normalizer
        self.backbone = backbone
        self.neck = neck
        self.num_classes = num_classes
        self.has_inclusive_corners = has_inclusive_corners
        self.hides_padding = hides_padding

    @property
    def has_masks(self) -> bool:
        """Whether the model predicts masks."""
        return False

    @property
    def num_keypoints(self) -> int:
        """Key points that the model predicts of an object; 0 = none."""
        return 0

    @property
    def needs_proposals(self) -> bool:
        """Whether the targets hold ``proposals``, in evaluation mode too."""
        return False

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses in training mode, detections in evaluation mode.

        Args:
            images: [3, h, w] each, of any sizes, RGB, 0..255, uint8 or float.
            targets: while training, for each image ``boxes`` float32 [N, 4] in input pixels, ``labels`` int64 [N]
                from 1, ``crowd_boxes`` float32 [C, 4] (may be left out), with a mask head ``masks`` uint8 [N, S, S],
                each in the frame of its box, and with a keypoint head ``keypoints`` float32 [N, K, 3], x and y in input
                pixels and visibility (0 = not annotated). N may be 0. A model that needs them gets ``proposals``
                float32 [P, 4] in input pixels, in evaluation mode too, where nothing else of the targets is read.

        Returns:
            Training: weighted scalars by name, such as ``loss_rpn_cls``, ``loss_rpn_bbox``, ``loss_cls``,
            ``loss_bbox``, ``loss_mask`` and ``loss_kps`` of Mask R-CNN.
            Evaluation: for each image, best first, ``boxes`` float32 [D, 4] in input pixels, ``labels`` int64 [D],
            ``scores`` float32 [D], with a mask head ``masks`` float32 [D, M, M], probabilities in the box's frame, and
            with a keypoint head ``keypoints`` float32 [D, K, 3]: x, y in input pixels, score 0..1.

        Raises:
            UserError: images or targets are malformed.
        """
        check_images(images)
        if not self.training:
            return self._detect(images, targets if self.needs_proposals else None)
        checked = check_targets(
            targets,
            num_images=len(images),
            num_classes=self.num_classes,
            needs_masks=self.has_masks,
            num_keypoints=self.num_keypoints,
            needs_proposals=self.needs_proposals,
        )
        batch = self.normalizer(images)
        return self.losses(self._features(batch), batch, checked)

    def losses(
        self, features: dict[str, Tensor], batch: ImageList, targets: Sequence[dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Losses by name of the maps of a batch and its targets."""
        raise NotImplementedError

    def detections(
        self, features: dict[str, Tensor], batch: ImageList, given: Sequence[dict[str, Tensor]] | None
    ) -> list[dict[str, Tensor]]:
        """What is found in each image of a batch on its maps.

        Args:
            features: maps [N, C, H_l, W_l] by name.
            batch: the images.
            given: ``proposals`` of each image, for a model that needs them.
        """
        raise NotImplementedError

    def _features(self, batch: ImageList) -> dict[str, Tensor]:
        maps = self.backbone(batch.tensor)
        if not self.hides_padding:
            return self.neck(maps)
        return self.neck(maps, sizes_hw=batch.sizes_hw, padded_hw=batch.padded_hw)

    def _detect(self, images: Sequence[Tensor], given: Sequence[dict[str, Tensor]] | None) -> list[dict[str, Tensor]]:
        """Images of one padded size run as one batch, so that no image's result depends on its companions."""
        groups: dict[tuple[int, int], list[int]] = {}
        for index, image in enumerate(images):
            size = padded_size([(image.shape[-2], image.shape[-1])], self.normalizer.divisor)
            groups.setdefault(size, []).append(index)
        detections: dict[int, dict[str, Tensor]] = {}
        for members in groups.values():
            batch = self.normalizer([images[index] for index in members])
            own = None if given is None else [given[index] for index in members]
            found = self.detections(self._features(batch), batch, own)
            detections.update(zip(members, found, strict=True))
        return [detections[index] for index in range(len(images))]


class GeneralizedRCNN(Detector):
    """Heads on proposals: Faster, Mask and Keypoint R-CNN on any backbone and neck.

    Args:
        rpn: maps -> proposals; None = they come with the images (Fast R-CNN, Girshick 2015).
        roi_heads: maps and proposals -> losses or detections.
        parts: as of Detector.
    """

    def __init__(self, *, rpn: RegionProposalNetwork | None, roi_heads: RoIHeads, **parts: Any) -> None:
        super().__init__(**parts)
        self.rpn = rpn
        self.roi_heads = roi_heads

    @property
    def has_masks(self) -> bool:
        return self.roi_heads.mask_branch is not None

    @property
    def num_keypoints(self) -> int:
        branch = self.roi_heads.keypoint_branch
        return 0 if branch is None else branch.num_keypoints

    @property
    def needs_proposals(self) -> bool:
        return self.rpn is None

    def losses(
        self, features: dict[str, Tensor], batch: ImageList, targets: Sequence[dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """``loss_rpn_cls`` and ``loss_rpn_bbox`` of the RPN, ``loss_cls``, ``loss_bbox``, and of the branches
        ``loss_mask`` and ``loss_kps``.
        """
        proposals, losses = self._propose(features, batch, targets)
        return {**losses, **self.roi_heads.losses(features, proposals, targets)}

    def detections(
        self, features: dict[str, Tensor], batch: ImageList, given: Sequence[dict[str, Tensor]] | None
    ) -> list[dict[str, Tensor]]:
        if self.rpn is None and (given is None or any("proposals" not in item for item in given)):
            raise UserError(
                "this model classifies the proposals of a data set (TEST.PROPOSAL_FILES); it finds nothing in an image "
                "alone"
            )
        proposals, _ = self._propose(features, batch, given)
        return self.roi_heads.detect(features, proposals, sizes_hw=batch.sizes_hw)

    def _propose(
        self, features: dict[str, Tensor], batch: ImageList, targets: Sequence[dict[str, Tensor]] | None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Proposals of each image, and the losses of the network that makes them."""
        if self.rpn is None:
            return [target["proposals"] for target in targets or ()], {}
        return self.rpn(features, sizes_hw=batch.sizes_hw, targets=targets)


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
