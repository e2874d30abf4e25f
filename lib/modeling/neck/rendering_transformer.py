"""Rendering transformer (RT): a coarse level takes in the details of a finer one, channel by channel."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

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
        num_downsamples: levels between the two maps; 0 = maps of the same size; None = the fine map comes downsampled.
        norm: makes the normalisation that follows each convolution, or None.
    """

    def __init__(self, *, channels: int, num_downsamples: int | None, norm: NormFactory | None = None) -> None:
        super().__init__()
        strides = [] if num_downsamples is None else [2] * num_downsamples or [1]
        self.downsamples = nn.ModuleList(ConvNorm(channels, channels, stride=stride, norm=norm) for stride in strides)
        self.attended = ConvNorm(channels, channels, norm=norm)
        self.refine = ConvNorm(channels, channels, norm=norm)

    def forward(self, coarse: Tensor, fine: Tensor | Pending, fine_mean: Tensor, areas: Sequence[Area]) -> Pending:
        """Render the fine map on the coarse one.

        Args:
            coarse: Q [B, C, h, w].
            fine: V [B, C, H, W], or V_dow [B, C, h, w].
            fine_mean: GAP(V) [B, C, 1, 1].
            areas: the images' cells on the levels above the fine one, up to the coarse one, one for each downsampling;
                with V_dow those on the coarse one.

        Returns:
            [B, C, h, w], to be normalised.
        """
        area, size = areas[-1], coarse.shape[-2:]
        rendered = fine if isinstance(fine, Pending) else Pending(fine, nn.Identity(), WHOLE)
        for downsample, passed in zip(self.downsamples, areas, strict=not isinstance(fine, Pending)):
            assert isinstance(downsample, ConvNorm)
            rendered = downsample.convolve(rendered.finish, passed)
        attended = self.attended.postponed(lambda: coarse * fine_mean, area)
        return self.refine.convolve(lambda: attended() + _resized(rendered.finish(), size), area)


class SharedDownsampling(nn.Module):
    """V_dow of every fine map for all coarser levels: one chain of stride-2 convolutions a map (ours).

    Args:
        channels: of the maps.
        level_strides: size ratio of each level to the one below it, 2 or 1; a coarser level of the same size has one
            convolution of stride 1.
        norm: makes the normalisation that follows each convolution, or None.
    """

    def __init__(self, *, channels: int, level_strides: Sequence[int], norm: NormFactory | None = None) -> None:
        super().__init__()
        self.level_strides = tuple(level_strides)
        steps = sorted({(fine, self._halvings(fine, coarse)) for fine, coarse in self._pairs()})
        self.stages = nn.ModuleDict(
            {_stage(*key): ConvNorm(channels, channels, stride=min(2, 2 ** key[1]), norm=norm) for key in steps}
        )

    def forward(self, maps: Sequence[Tensor], areas: Sequence[Area]) -> dict[tuple[int, int], Pending]:
        """Maps [B, C, H_l, W_l] and the images' cells on them, finest first -> [B, C, h, w] by (fine, coarse) level."""
        stages: dict[tuple[int, int], Pending] = {}
        found: dict[tuple[int, int], Pending] = {}
        for fine, coarse in self._pairs():
            steps = self._halvings(fine, coarse)
            if (fine, steps) not in stages:
                below = stages[fine, steps - 1] if steps > 1 else Pending(maps[fine], nn.Identity(), WHOLE)
                stage = self.stages[_stage(fine, steps)]
                assert isinstance(stage, ConvNorm)
                stages[fine, steps] = stage.convolve(below.finish, areas[coarse])
            found[fine, coarse] = stages[fine, steps]
        return found

    def _pairs(self) -> list[tuple[int, int]]:
        return list(combinations(range(len(self.level_strides) + 1), 2))

    def _halvings(self, fine: int, coarse: int) -> int:
        return self.level_strides[fine:coarse].count(2)


def _stage(fine: int, halvings: int) -> str:
    """Name of the convolution of a level's map to so many halvings."""
    return f"{fine}_by_{2**halvings}"


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Of this size; pyramids whose levels are no ceil-halving of one another need it."""
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)
