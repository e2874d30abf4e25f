"""Heads that give each cell of a map its classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpt.layers.conv import init_weight
from fpt.layers.norm import NormBuilder


class SemanticHead(nn.Module):
    """The maps side by side, a 3x3 convolution, dropout, and a 1x1 convolution to the classes.

    Args:
        in_channels: of all maps together.
        channels: of the 3x3 convolution.
        num_classes: C.
        dropout: share of the channels that are left out while training.
        norm: makes the normalisation after the 3x3 convolution, or None.
    """

    def __init__(
        self, *, in_channels: int, channels: int, num_classes: int, dropout: float, norm: NormBuilder | None
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=norm is None)
        self.norm = norm(channels) if norm is not None else nn.Identity()
        self.dropout = nn.Dropout2d(dropout)
        self.predictor = nn.Conv2d(channels, num_classes, 1)
        init_weight(self.conv, method="MSRAFill")
        init_weight(self.predictor, method="GaussianFill", std=0.01)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps [B, C_l, H_l, W_l], brought to the size of the first where they differ -> logits [B, C, H, W]."""
        size = maps[0].shape[-2:]
        same = [
            x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)
            for x in maps
        ]
        x = F.relu(self.norm(self.conv(torch.cat(same, dim=1))), inplace=True)
        return self.predictor(self.dropout(x))
