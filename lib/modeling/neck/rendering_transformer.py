"""Rendering transformer (RT): a coarse level takes in the details of a finer one, channel by channel."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fpt.modeling.neck.area import WHOLE, Area, NormFactory
from fpt.modeling.neck.conv_norm import ConvNorm, Pending


class RenderingTransformer(nn.Module):
    """RT of "Feature Pyramid Transformer", section 3.4.

    With Q the coarse map and V = K the fine one, as wholes:

        w = GAP(K)    Q_att = Q * w    V_dow = strided 3x3 conv of V    out = Conv3x3( Conv3x3(Q_att) + V_dow )

    Levels more than one apart use one stride-2 convolution a level.

    Args:
        channels: channels of both maps, and of the output.
        num_downsamples: levels between the two maps; 0 = maps of the same size.
        norm: makes the normalisation that follows each convolution, or None.
    """

    def __init__(self, *, channels: int, num_downsamples: int, norm: NormFactory | None = None) -> None:
        super().__init__()
        strides = [2] * num_downsamples or [1]
        self.downsamples = nn.ModuleList(ConvNorm(channels, channels, stride=stride, norm=norm) for stride in strides)
        self.attended = ConvNorm(channels, channels, norm=norm)
        self.refine = ConvNorm(channels, channels, norm=norm)

    def forward(self, coarse: Tensor, fine: Tensor, fine_mean: Tensor, areas: Sequence[Area]) -> Pending:
        """Render the fine map on the coarse one.

        Args:
            coarse: Q [B, C, h, w].
            fine: V [B, C, H, W].
            fine_mean: GAP(V) [B, C, 1, 1].
            areas: the images' cells on the levels above the fine one, up to the coarse one; one for each downsampling.

        Returns:
            [B, C, h, w], to be normalised.
        """
        area, size = areas[-1], coarse.shape[-2:]
        rendered = Pending(fine, nn.Identity(), WHOLE)
        for downsample, passed in zip(self.downsamples, areas, strict=True):
            assert isinstance(downsample, ConvNorm)
            rendered = downsample.convolve(rendered.finish, passed)
        attended = self.attended.convolve(lambda: coarse * fine_mean, area)
        return self.refine.convolve(lambda: attended.finish() + _resized(rendered.finish(), size), area)


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Of this size; pyramids whose levels are no ceil-halving of one another need it."""
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)
