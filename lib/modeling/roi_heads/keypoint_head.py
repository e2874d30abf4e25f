"""Keypoint heads: RoI features -> a heat map of each key point (He et al. 2017, section 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from fpt.layers.conv import conv_block, init_weight

UPSAMPLING = 4
"""Cells of a heat map on a cell of the RoI features."""


class KeypointHead(nn.Module):
    """3x3 convolutions, a 4x4 transposed convolution to the key points that doubles the side, and a bilinear doubling.

    Args:
        in_channels: channels of the RoI features.
        channels: of the convolutions.
        num_convs: 3x3 convolutions.
        num_keypoints: K.
        init: ``GaussianFill`` or ``MSRAFill``, for all convolutions.
        fades_at_border: beyond the map there are zeros when it is doubled, as in Detectron, not its last cells again.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        num_convs: int,
        num_keypoints: int,
        init: str = "MSRAFill",
        fades_at_border: bool = False,
    ) -> None:
        super().__init__()
        widths = [in_channels, *[channels] * num_convs]
        self.convs = nn.ModuleList(
            conv_block(before, after, norm=None, init=init) for before, after in zip(widths, widths[1:], strict=False)
        )
        self.upsample = nn.ConvTranspose2d(channels, num_keypoints, 4, stride=2, padding=1)
        init_weight(self.upsample, method=init)
        self.fades_at_border = fades_at_border

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """One tensor [R, C, P, P] -> logits float32 [R, K, 4P, 4P]."""
        (x,) = inputs
        for conv in self.convs:
            x = conv(x)
        logits = self.upsample(x).float()
        margin = int(self.fades_at_border)
        if margin:
            logits = F.pad(logits, (1, 1, 1, 1))
        logits = F.interpolate(logits, scale_factor=2, mode="bilinear", align_corners=False)
        return logits[..., 2 : logits.shape[-2] - 2, 2 : logits.shape[-1] - 2] if margin else logits
