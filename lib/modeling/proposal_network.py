"""The first stage alone: what may be an object, of no class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fpt.modeling.detector import Detector
from fpt.modeling.rpn.rpn import RegionProposalNetwork
from fpt.structures.image_list import ImageList


class ProposalNetwork(Detector):
    """A region proposal network whose proposals are the result.

    Args:
        rpn: maps -> proposals.
        parts: as of Detector.
    """

    def __init__(self, *, rpn: RegionProposalNetwork, **parts: Any) -> None:
        super().__init__(**parts)
        self.rpn = rpn

    def losses(
        self, features: dict[str, Tensor], batch: ImageList, targets: Sequence[dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """``loss_rpn_cls`` and ``loss_rpn_bbox``."""
        return self.rpn(features, sizes_hw=batch.sizes_hw, targets=targets)[1]

    def detections(
        self, features: dict[str, Tensor], batch: ImageList, given: Sequence[dict[str, Tensor]] | None
    ) -> list[dict[str, Tensor]]:
        """Proposals with label 1; the score is the probability of an object."""
        del given
        return [
            {"boxes": boxes, "labels": torch.ones_like(logits, dtype=torch.int64), "scores": logits.sigmoid()}
            for boxes, logits in self.rpn.propose(features, sizes_hw=batch.sizes_hw)
        ]
