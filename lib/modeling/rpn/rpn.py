"""The region proposal network (Ren et al. 2015) on a feature pyramid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fpt.modeling.rpn.anchors import AnchorGenerator
from fpt.modeling.rpn.head import RPNHead
from fpt.modeling.rpn.losses import rpn_losses
from fpt.modeling.rpn.proposals import ProposalSettings, select_proposals
from fpt.modeling.sampling import AnchorSampling
from fpt.structures.boxes import BoxCoder


class RegionProposalNetwork(nn.Module):
    """Proposals, and while training the losses of the head that makes them.

    Args:
        levels: positions of the maps to look at, finest first.
        head: logits and offsets of every anchor.
        anchor_generator: anchors of the same levels.
        sampling: which anchors are trained on.
        training_settings: which proposals are kept while training.
        test_settings: which are kept in evaluation mode.
        losses_over_batch: the losses are means over the anchors of a batch, not over its images.
    """

    def __init__(
        self,
        *,
        levels: Sequence[int],
        head: RPNHead,
        anchor_generator: AnchorGenerator,
        sampling: AnchorSampling,
        training_settings: ProposalSettings,
        test_settings: ProposalSettings,
        losses_over_batch: bool = False,
    ) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.head = head
        self.anchor_generator = anchor_generator
        self.sampling = sampling
        self.training_settings = training_settings
        self.test_settings = test_settings
        self.losses_over_batch = losses_over_batch
        self.box_coder = BoxCoder()

    def forward(
        self,
        features: Mapping[str, Tensor],
        *,
        sizes_hw: Sequence[tuple[int, int]],
        targets: Sequence[dict[str, Tensor]] | None = None,
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Proposals float32 [K, 4] of each image in input pixels, best first; and the losses, if there are targets.

        Args:
            features: maps [N, C, H_l, W_l], finest first.
            sizes_hw: of each image without padding.
            targets: ``boxes`` [N, 4] and ``crowd_boxes`` [K, 4] of each image.
        """
        logits, offsets, anchors = self._predict(features)
        proposals = [boxes for boxes, _ in self._select(logits, offsets, anchors, sizes_hw)]
        if targets is None:
            return proposals, {}
        losses = rpn_losses(
            torch.cat(logits, dim=1),
            torch.cat(offsets, dim=1),
            torch.cat(anchors),
            boxes=[target["boxes"] for target in targets],
            crowd_boxes=[target["crowd_boxes"] for target in targets],
            sizes_hw=sizes_hw,
            sampling=self.sampling,
            box_coder=self.box_coder,
            over_batch=self.losses_over_batch,
        )
        return proposals, losses

    def propose(
        self, features: Mapping[str, Tensor], *, sizes_hw: Sequence[tuple[int, int]]
    ) -> list[tuple[Tensor, Tensor]]:
        """Proposals of each image as `forward` gives them, and their logits float32 [K]."""
        return self._select(*self._predict(features), sizes_hw)

    def _predict(self, features: Mapping[str, Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Logits, offsets and anchors of each level."""
        pyramid = list(features.values())
        maps = [pyramid[level] for level in self.levels]
        logits, offsets = self.head(maps)
        return logits, offsets, self.anchor_generator([(x.shape[-2], x.shape[-1]) for x in maps])

    def _select(
        self,
        logits: Sequence[Tensor],
        offsets: Sequence[Tensor],
        anchors: Sequence[Tensor],
        sizes_hw: Sequence[tuple[int, int]],
    ) -> list[tuple[Tensor, Tensor]]:
        return select_proposals(
            logits,
            offsets,
            anchors,
            sizes_hw=sizes_hw,
            settings=self.training_settings if self.training else self.test_settings,
            box_coder=self.box_coder,
        )
