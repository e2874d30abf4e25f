"""Mask heads: RoI features -> mask logits of every class."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from fpt.layers.conv import conv_block, init_weight
from fpt.layers.norm import NormBuilder
from fpt.modeling.roi_heads.pooler import MaxFusion

FUSION_CONV = 3
"""The convolution whose output the fully connected branch reads (Liu et al. 2018, figure 4)."""


class FullyConnectedMask(nn.Module):
    """Two 3x3 convolutions, the second to half the channels, and one layer to a mask for all classes.

    Source: Liu et al. 2018 (PANet), section 3.3.

    Args:
        channels: of the input.
        resolution: its side in cells; the mask has twice as many.
        norm: builder of the normalisation after each convolution, or None.
        init: how the convolutions start.
    """

    def __init__(self, *, channels: int, resolution: int, norm: NormBuilder | None, init: str) -> None:
        super().__init__()
        half = max(channels // 2, 1)
        self.side = 2 * resolution
        self.convs = nn.Sequential(
            conv_block(channels, channels, norm=norm, init=init), conv_block(channels, half, norm=norm, init=init)
        )
        self.fc = nn.Linear(half * resolution**2, self.side**2)
        init_weight(self.fc, method="XavierFill")

    def forward(self, x: Tensor) -> Tensor:
        """[R, C, P, P] -> logits [R, 1, 2P, 2P]."""
        return self.fc(self.convs(x).flatten(1)).view(-1, 1, self.side, self.side)


class MaskHead(nn.Module):
    """3x3 convolutions, a 2x2 transposed convolution that doubles the side, and a 1x1 convolution to the masks.

    Args:
        in_channels: channels of the RoI features.
        channels: of the convolutions.
        num_convs: 3x3 convolutions (2 in v1up, 4 in v1up4convs).
        num_masks: masks a RoI: one a class, background included, or 1 for all.
        num_inputs: levels that come in; above 1 each has its own first convolution, fused by their maximum.
        norm: builder of the normalisation after each 3x3 convolution, or None.
        dilation: of the 3x3 convolutions.
        init: ``GaussianFill`` or ``MSRAFill``, for all convolutions; the predictor of one mask for all classes starts
            from ``GaussianFill`` always, as in Detectron: more can diverge.
        fully_connected: branch whose mask is added to all masks, or None; it reads the third convolution's output.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        num_convs: int,
        num_masks: int,
        num_inputs: int = 1,
        norm: NormBuilder | None = None,
        dilation: int = 1,
        init: str = "GaussianFill",
        fully_connected: FullyConnectedMask | None = None,
    ) -> None:
        super().__init__()
        if fully_connected is not None and num_convs < FUSION_CONV:
            raise ValueError(f"num_convs is {num_convs}; the fully connected branch reads convolution {FUSION_CONV}")

        def block(width: int) -> nn.Module:
            return conv_block(width, channels, norm=norm, init=init, dilation=dilation)

        self.num_masks = num_masks
        self.conv1 = MaxFusion(num_inputs=num_inputs, layer=lambda: block(in_channels))
        self.convs = nn.ModuleList(block(channels) for _ in range(num_convs - 1))
        self.upsample = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.predictor = nn.Conv2d(channels, num_masks, 1)
        self.fully_connected = fully_connected
        init_weight(self.upsample, method=init)
        init_weight(self.predictor, method=init if num_masks > 1 else "GaussianFill")

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """``num_inputs`` tensors [R, C, P, P] -> logits float32 [R, num_masks, 2P, 2P]."""
        x = self.conv1(inputs)
        branch = x
        for number, conv in enumerate(self.convs, start=2):
            x = conv(x)
            branch = x if number == FUSION_CONV else branch
        logits = self.predictor(F.relu(self.upsample(x), inplace=True)).float()
        if self.fully_connected is None:
            return logits
        return logits + self.fully_connected(branch).float()
