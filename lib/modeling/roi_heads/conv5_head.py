"""Heads on the last stage of the ResNet, as C4 models have them (Ren et al. 2015, He et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from fpt.layers.conv import init_weight


class Conv5BoxHead(nn.Module):
    """res5 on the RoI features, then their mean over the cells.

    Args:
        res5: the stage, [R, C, P, P] -> [R, out_channels, P', P'].
        out_channels: channels that it makes.
    """

    def __init__(self, *, res5: nn.Module, out_channels: int) -> None:
        super().__init__()
        self.res5 = res5
        self.out_channels = out_channels

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """One tensor [R, C, P, P] -> [R, out_channels]."""
        (x,) = inputs
        return self.res5(x).mean(dim=(2, 3))


class Conv5MaskHead(nn.Module):
    """res5 on the RoI features, a 2x2 transposed convolution that doubles the side, and a 1x1 convolution to the masks.

    Args:
        res5: a stage of its own (v0up); None where the box head's res5 has run on the features (v0upshare).
        in_channels: channels that res5 makes.
        channels: of the transposed convolution.
        num_masks: masks a RoI.
        init: ``GaussianFill`` or ``MSRAFill``.
    """

    def __init__(
        self, *, res5: nn.Module | None, in_channels: int, channels: int, num_masks: int, init: str = "GaussianFill"
    ) -> None:
        super().__init__()
        self.num_masks = num_masks
        self.res5 = res5
        self.upsample = nn.ConvTranspose2d(in_channels, channels, 2, stride=2)
        self.predictor = nn.Conv2d(channels, num_masks, 1)
        for layer in (self.upsample, self.predictor):
            init_weight(layer, method=init)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """One tensor [R, C, P, P] -> logits float32 [R, num_masks, M, M]; M is twice the side that res5 makes."""
        (x,) = inputs
        x = x if self.res5 is None else self.res5(x)
        return self.predictor(F.relu(self.upsample(x), inplace=True)).float()
