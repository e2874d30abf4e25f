"""The RPN's head, shared by all levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from fpt.layers.conv import init_weight


class RPNHead(nn.Module):
    """A 3x3 convolution, then an objectness logit and four offsets for each anchor of a cell.

    Args:
        in_channels: channels of each level.
        num_anchors: anchors a cell.
        channels: of the 3x3 convolution; None = ``in_channels``.
    """

    def __init__(self, *, in_channels: int, num_anchors: int, channels: int | None = None) -> None:
        super().__init__()
        channels = channels or in_channels
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.objectness = nn.Conv2d(channels, num_anchors, 1)
        self.offsets = nn.Conv2d(channels, num_anchors * 4, 1)
        for layer in (self.conv, self.objectness, self.offsets):
            init_weight(layer, method="GaussianFill", std=0.01)

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps [N, C, H, W] -> logits float32 [N, H * W * A] and offsets float32 [N, H * W * A, 4] of each level."""
        logits, offsets = [], []
        for x in features:
            hidden = F.relu(self.conv(x), inplace=True)
            logits.append(self.objectness(hidden).permute(0, 2, 3, 1).flatten(1).float())
            offsets.append(self.offsets(hidden).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4).float())
        return logits, offsets
