"""How a level of FPT brings together its own map and what the transformers made of the others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpt.modeling.neck.area import ConvNorm, NormFactory
from fpt.modeling.neck.query_grid import QueryGrid

FUSIONS = ("concat", "bottleneck")


class Parts(NamedTuple):
    """What a level is made of, in the order of the fusion's weights; a fusion frees what it has read.

    Attributes:
        own: the level's own map [B, C, H, W].
        attended: of ST, and of GT from the coarser levels, [B, C, h, w] on the grid of those that asked.
        rendered: of RT from the finer levels [B, C, H, W].
    """

    own: Tensor
    attended: list[Tensor]
    rendered: list[Tensor]

    def free(self) -> None:
        """Let go of all but the own map, before the next large map is made."""
        self.attended.clear()
        self.rendered.clear()


class ConcatFusion(ConvNorm):
    """The parts side by side, and one 3x3 convolution over all their channels: "Feature Pyramid Transformer", 3.5.

    Args:
        num_parts: maps that come in.
        channels: of each.
        out_channels: of the output.
        norm: makes the normalisation after the convolution, or None.
    """

    def __init__(self, *, num_parts: int, channels: int, out_channels: int, norm: NormFactory | None) -> None:
        super().__init__(num_parts * channels, out_channels, norm=norm)

    def forward(self, parts: Parts, grid: QueryGrid) -> Tensor:  # type: ignore[override]
        """The parts of a level [B, C, H, W], zero outside the images -> [B, out_channels, H, W], zero outside."""
        attended = [grid.bring_back(x, parts.own.shape[-2:]) for x in parts.attended]
        x = torch.cat([parts.own, *attended, *parts.rendered], dim=1)
        attended.clear()
        parts.free()
        x = self.conv(x)
        return grid.area.normalise(self.norm, x)


class BottleneckFusion(nn.Module):
    """A 1x1 convolution over the channels of all parts, and a 3x3 one after it (ours).

    Of five parts of 256 channels a cell takes 0.92 million products instead of 2.95 million. What comes on a grid of
    squares is summed there, and brought back once.

    Args:
        num_parts: maps that come in.
        channels: of each.
        out_channels: of the output.
        norm: makes the normalisation after the 3x3 convolution, or None.
    """

    def __init__(self, *, num_parts: int, channels: int, out_channels: int, norm: NormFactory | None) -> None:
        super().__init__()
        self.reduction = nn.Conv2d(num_parts * channels, out_channels, 1, bias=False)
        self.refine = ConvNorm(out_channels, out_channels, norm=norm)
        self.channels = channels

    def forward(self, parts: Parts, grid: QueryGrid) -> Tensor:
        """The parts of a level [B, C, H, W], zero outside the images -> [B, out_channels, H, W], zero outside."""
        own, *weights = self.reduction.weight.split(self.channels, dim=1)
        of_attended, of_rendered = weights[: len(parts.attended)], weights[len(parts.attended) :]
        x = _sum_of_products([parts.own, *parts.rendered], [own, *of_rendered])
        if of_attended:
            x = x + grid.bring_back(_sum_of_products(parts.attended, of_attended), x.shape[-2:])
        parts.free()
        x = self.refine.conv(x)
        return grid.area.normalise(self.refine.norm, x)


def _sum_of_products(maps: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """A 1x1 convolution of maps side by side, without a copy of them side by side."""
    products = (F.conv2d(x, weight) for x, weight in zip(maps, weights, strict=True))
    return reduce(torch.add, products)


def make_fusion(
    kind: str, *, num_parts: int, channels: int, out_channels: int, norm: NormFactory | None
) -> ConcatFusion | BottleneckFusion:
    """A fusion by its name; ValueError for an unknown one."""
    if kind not in FUSIONS:
        raise ValueError(f"fusion is {kind!r}, must be one of {FUSIONS}")
    made = ConcatFusion if kind == "concat" else BottleneckFusion
    return made(num_parts=num_parts, channels=channels, out_channels=out_channels, norm=norm)
