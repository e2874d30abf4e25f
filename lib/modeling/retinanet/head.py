"""RetinaNet's head, shared by all levels."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from fpt.layers.conv import conv_block, init_weight
from fpt.layers.norm import NormBuilder


class RetinaNetHead(nn.Module):
    """Two towers of 3x3 convolutions; a logit for each class and four offsets for each anchor of a cell.

    Source: Lin et al. 2017 (Focal loss), section 4.

    Args:
        in_channels: channels of each level, and of the convolutions.
        num_anchors: anchors a cell.
        num_classes: without a background, which is no class of its own here.
        num_convs: convolutions of each tower.
        prior: probability of each class that the logits start from.
        shares_tower: one tower for both.
        norm: builder of the normalisation after each convolution, the same for all levels; None = none.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_anchors: int,
        num_classes: int,
        num_convs: int = 4,
        prior: float = 0.01,
        shares_tower: bool = False,
        norm: NormBuilder | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.cls_tower = _tower(in_channels, num_convs, norm)
        self.box_tower = nn.Sequential() if shares_tower else _tower(in_channels, num_convs, norm)
        self.shares_tower = shares_tower
        self.cls_logits = nn.Conv2d(in_channels, num_anchors * num_classes, 3, padding=1)
        self.bbox_pred = nn.Conv2d(in_channels, num_anchors * 4, 3, padding=1)
        for layer in (self.cls_logits, self.bbox_pred):
            init_weight(layer, method="GaussianFill", std=0.01)
        nn.init.constant_(self.cls_logits.bias, -math.log((1 - prior) / prior))  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps [N, C, H, W] -> logits float32 [N, H * W * A, num_classes] and offsets [N, H * W * A, 4] of each."""
        logits, offsets = [], []
        for x in features:
            hidden = self.cls_tower(x)
            logits.append(_by_anchor(self.cls_logits(hidden), self.num_classes))
            offsets.append(_by_anchor(self.bbox_pred(hidden if self.shares_tower else self.box_tower(x)), 4))
        return logits, offsets


def _tower(channels: int, num_convs: int, norm: NormBuilder | None) -> nn.Sequential:
    tower = nn.Sequential(*(conv_block(channels, channels, norm=norm) for _ in range(num_convs)))
    for layer in tower.modules():
        if isinstance(layer, nn.Conv2d):
            init_weight(layer, method="GaussianFill", std=0.01)
    return tower


def _by_anchor(x: Tensor, size: int) -> Tensor:
    """[N, A * size, H, W], anchors first -> float32 [N, H * W * A, size]."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, size).float()
