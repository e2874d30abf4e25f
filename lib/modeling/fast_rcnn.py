"""The second stage alone, on proposals that come with the images (Girshick 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from fpt.modeling.detector import Detector
from fpt.modeling.roi_heads.roi_heads import RoIHeads
from fpt.structures.image_list import ImageList
from fpt.utils.errors import UserError


class FastRCNN(Detector):
    """Heads on given proposals.

    Args:
        roi_heads: maps and proposals -> losses or detections.
        parts: as of Detector.
    """

    needs_proposals = True

    def __init__(self, *, roi_heads: RoIHeads, **parts: Any) -> None:
        super().__init__(**parts)
        self.roi_heads = roi_heads

    @property
    def has_masks(self) -> bool:
        return self.roi_heads.mask_branch is not None

    @property
    def num_keypoints(self) -> int:
        return self.roi_heads.num_keypoints

    def losses(
        self, features: dict[str, Tensor], batch: ImageList, targets: Sequence[dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """``loss_cls``, ``loss_bbox``, and of the branches ``loss_mask`` and ``loss_kps``."""
        del batch
        return self.roi_heads.losses(features, [target["proposals"] for target in targets], targets)

    def detections(
        self, features: dict[str, Tensor], batch: ImageList, given: Sequence[dict[str, Tensor]] | None
    ) -> list[dict[str, Tensor]]:
        if given is None or any("proposals" not in item for item in given):
            raise UserError(
                "this model classifies the proposals of a data set (TEST.PROPOSAL_FILES); it finds nothing in an image "
                "alone"
            )
        proposals = [item["proposals"] for item in given]
        return self.roi_heads.detect(features, proposals, sizes_hw=batch.sizes_hw)
