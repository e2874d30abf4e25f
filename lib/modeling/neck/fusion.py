"""How a level of FPT brings together its own map and what the transformers made of the others."""

from __future__ import annotations

from functools import reduce
from itertools import chain
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpt.modeling.neck.area import NormFactory
from fpt.modeling.neck.conv_norm import ConvNorm, Pending
from fpt.modeling.neck.query_grid import QueryGrid

FUSIONS = ("concat", "bottleneck", "coarse", "separable")
ADDED = ("coarse", "separable")
"""Those that are always added to the level's own map."""


class Parts(NamedTuple):
    """What a level is made of, in the order of the fusion's weights.

    Attributes:
        own: the level's own map [B, C, H, W].
        asking: its means on the grid of those that asked, [B, C, h, w].
        attended: of ST, and of GT from the coarser levels, [B, C, h, w] on the grid of those that asked.
        rendered: of RT from the finer levels [B, C, H, W].
    """

    own: Tensor
    asking: Tensor
    attended: list[Pending]
    rendered: list[Pending]

    def free(self) -> None:
        """Let go of all but the own map, before the next large map is made; not where backward reads them again."""
        if not torch.is_grad_enabled():
            self.attended.clear()
            self.rendered.clear()


class ConcatFusion(ConvNorm):
    """The parts side by side, and one 3x3 convolution over all their channels: "Feature Pyramid Transformer", 3.5.

    Args:
        num_parts: maps that come in.
        channels: of each.
        out_channels: of the output.
        norm: makes the normalisation after the convolution, or None.
        has_bias: see ConvNorm.
    """

    def __init__(
        self,
        *,
        num_parts: int,
        channels: int,
        out_channels: int,
        norm: NormFactory | None,
        has_bias: bool | None = None,
    ) -> None:
        super().__init__(num_parts * channels, out_channels, norm=norm, has_bias=has_bias)

    def start_at_zero(self) -> None:
        """Weights of which nothing comes out, but which learn at once."""
        nn.init.zeros_(self.conv.weight)

    def forward(self, parts: Parts, grid: QueryGrid) -> Pending:  # type: ignore[override]
        """The parts of a level [B, C, H, W], zero outside the images -> [B, out_channels, H, W]."""
        return self.convolve(lambda: _side_by_side(parts, grid), grid.area)


def _side_by_side(parts: Parts, grid: QueryGrid) -> Tensor:
    attended = [grid.bring_back(x.finish(), parts.own.shape[-2:]) for x in parts.attended]
    x = torch.cat([parts.own, *attended, *(x.finish() for x in parts.rendered)], dim=1)
    parts.free()
    return x


class BottleneckFusion(nn.Module):
    """A 1x1 convolution over the channels of all parts, and a 3x3 one after it (ours).

    Of five parts of 256 channels a cell takes 0.92 million products instead of 2.95 million. What comes on a grid of
    squares is summed there, and brought back once.

    Args:
        num_parts: maps that come in.
        channels: of each.
        out_channels: of the output.
        norm: makes the normalisation after the 3x3 convolution, or None.
        has_bias: of that convolution; see ConvNorm.
    """

    def __init__(
        self,
        *,
        num_parts: int,
        channels: int,
        out_channels: int,
        norm: NormFactory | None,
        has_bias: bool | None = None,
    ) -> None:
        super().__init__()
        self.reduction = nn.Conv2d(num_parts * channels, out_channels, 1, bias=False)
        self.refine = ConvNorm(out_channels, out_channels, norm=norm, has_bias=has_bias)
        self.channels = channels

    def start_at_zero(self) -> None:
        """Weights of which nothing comes out, but which learn at once: the 1x1 is zero, the 3x3 passes it as it is."""
        nn.init.zeros_(self.reduction.weight)
        nn.init.dirac_(self.refine.conv.weight)

    def forward(self, parts: Parts, grid: QueryGrid) -> Pending:
        """The parts of a level [B, C, H, W], zero outside the images -> [B, out_channels, H, W]."""
        return self.refine.convolve(lambda: self._reduce(parts, grid), grid.area)

    def _reduce(self, parts: Parts, grid: QueryGrid) -> Tensor:
        own, *weights = self.reduction.weight.split(self.channels, dim=1)
        of_attended, of_rendered = weights[: len(parts.attended)], weights[len(parts.attended) :]
        x = F.conv2d(parts.own, own)
        for part, weight in zip(parts.rendered, of_rendered, strict=True):
            x += F.conv2d(part.finish(), weight)
        if parts.attended:
            pairs = zip(parts.attended, of_attended, strict=True)
            of_squares = reduce(torch.add, (F.conv2d(part.finish(), weight) for part, weight in pairs))
            parts.free()
            x += grid.bring_back(of_squares, x.shape[-2:])
        parts.free()
        return x


class CoarseFusion(nn.Module):
    """A bottleneck on the grid of those that asked, for what is added to the level's own map after it is brought back
    (ours): on a grid of squares of 2 x 2 cells a quarter of the products and of the memory.

    Args:
        num_parts: maps that come in.
        channels: of each, and of the output.
        is_separable: the 3x3 convolution takes each channel by itself; a third of all products remain.
    """

    def __init__(self, *, num_parts: int, channels: int, is_separable: bool) -> None:
        super().__init__()
        self.mixing = nn.Conv2d(num_parts * channels, channels, 1, bias=False)
        self._last, groups = ("depthwise", channels) if is_separable else ("refine", 1)
        self.add_module(self._last, ConvNorm(channels, channels, groups=groups, has_bias=False))

    @property
    def last(self) -> ConvNorm:
        """The 3x3 convolution."""
        last = self.get_submodule(self._last)
        assert isinstance(last, ConvNorm)
        return last

    def start_at_zero(self) -> None:
        """Weights of which nothing comes out, but which learn at once: the 1x1 is zero, the 3x3 passes it as it is."""
        nn.init.zeros_(self.mixing.weight)
        nn.init.dirac_(self.last.conv.weight, self.last.conv.groups)

    def forward(self, parts: Parts, grid: QueryGrid) -> Pending:
        """The parts of a level, zero outside the images -> [B, C, h, w] on the grid of those that asked."""
        return self.last.convolve(lambda: self._mix(parts, grid), grid.squares)

    def _mix(self, parts: Parts, grid: QueryGrid) -> Tensor:
        batch, channels, height, width = parts.asking.shape
        own, *weights = self.mixing.weight.flatten(1).split(channels, dim=1)
        x = F.linear(_cells(parts.asking), own)
        attended = (part.finish() for part in parts.attended)
        rendered = (grid.means(part.finish()) for part in parts.rendered)
        for part, weight in zip(chain(attended, rendered), weights, strict=True):
            x = torch.addmm(x, _cells(part), weight.mT)
        parts.free()
        return x.view(batch, height, width, channels).permute(0, 3, 1, 2)


def _cells(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B * H * W, C], no copy in channels_last."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


Fusion = ConcatFusion | BottleneckFusion | CoarseFusion


def make_fusion(
    kind: str, channels: int, out_channels: int, *, num_parts: int, norm: NormFactory | None, is_added: bool
) -> Fusion:
    """A fusion by its name, to be added to the level's own map or to take its place; ValueError for an unknown one.

    What is added has neither a normalisation nor a bias, so that it can start at zero.
    """
    if kind not in FUSIONS:
        raise ValueError(f"fusion is {kind!r}, must be one of {FUSIONS}")
    if kind in ADDED:
        return CoarseFusion(num_parts=num_parts, channels=channels, is_separable=kind == "separable")
    made = ConcatFusion if kind == "concat" else BottleneckFusion
    norm, has_bias = (None, False) if is_added else (norm, None)
    return made(num_parts=num_parts, channels=channels, out_channels=out_channels, norm=norm, has_bias=has_bias)
