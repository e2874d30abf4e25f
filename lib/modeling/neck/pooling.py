"""Means of a map's cells over squares, and over a grid of bins, these as products with small matrices.

The pooling functions of PyTorch are slow in backward on a CPU (bfloat16 in channels_last: twenty times a copy of the
map), and a sum over all cells leaves a gradient in the other memory format, which slows every sum that it enters.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from fpt.layers.autocast import without_autocast


def is_symbol(*sizes: int) -> bool:
    """Whether a graph with free sizes is traced."""
    return any(isinstance(size, torch.SymInt) for size in sizes)


def square_means(x: Tensor, side: int) -> Tensor:
    """Means of squares of cells, of fewer cells at the right and lower edge: [B, C, H, W] -> [B, C, h, w], rounded up.

    Sizes may be symbols of a traced graph.
    """
    height, width = x.shape[-2:]
    if is_symbol(height, width):
        return _along(height, side, x) @ x @ _along(width, side, x).mT
    out: Tensor = _square_means(x, side) if torch.compiler.is_compiling() else _SquareMeans.apply(x, side)
    return out


def _square_means(x: Tensor, side: int) -> Tensor:
    return F.avg_pool2d(x, side, ceil_mode=True, count_include_pad=False)


class _SquareMeans(torch.autograd.Function):
    """avg_pool2d, whose own gradient of half types takes ten times as long on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, side: int) -> Tensor:
        ctx.side, ctx.size = side, x.shape[-2:]
        return _square_means(x, side)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        counts: int | Tensor = ctx.side**2
        if any(size % ctx.side for size in ctx.size):
            rows, columns = (_lengths(size, ctx.side, grads[0]) for size in ctx.size)
            counts = rows[:, None] * columns
        cells = F.interpolate(grads[0] / counts, scale_factor=ctx.side, mode="nearest")
        return cells[..., : ctx.size[0], : ctx.size[1]], None


def _lengths(num_cells: int, side: int, like: Tensor) -> Tensor:
    """Cells of each square along one axis."""
    first = torch.arange(0, num_cells, side, device=like.device)
    return (num_cells - first).clamp(max=side).to(like.dtype)


def _along(num_cells: int, side: int, like: Tensor) -> Tensor:
    """The means along one axis as a matrix [squares, cells]: pooling ties sizes that are symbols to a remainder."""
    squares = torch.arange((num_cells + side - 1) // side, device=like.device)[:, None]
    is_inside = (torch.arange(num_cells, device=like.device) // side == squares).to(like.dtype)
    return is_inside / is_inside.sum(dim=1, keepdim=True)


def bin_means(x: Tensor, rows: int, columns: int) -> Tensor:
    """The bins of `adaptive_avg_pool2d`, one after the other: [B, C, H, W] -> [B, rows * columns, C].

    Sums are float32 at least. Sizes may be symbols of a traced graph.
    """
    height, width = x.shape[-2:]
    cells = x.to(torch.promote_types(x.dtype, torch.float32))
    with without_autocast(x.device.type):
        of_rows, of_columns = _bin_weights(height, rows, cells), _bin_weights(width, columns, cells)
        if is_symbol(height, width) or not x.is_contiguous(memory_format=torch.channels_last):
            return (of_rows @ cells @ of_columns.mT).flatten(2).mT.to(x.dtype)
        bands = (of_rows @ cells.permute(0, 2, 3, 1).flatten(2)).unflatten(2, (width, -1))
        return (of_columns @ bands).flatten(1, 2).to(x.dtype)


def _bin_weights(num_cells: int, num_bins: int, like: Tensor) -> Tensor:
    """The means along one axis as a matrix [bins, cells]."""
    bins = torch.arange(num_bins, device=like.device)[:, None]
    first = torch.div(bins * num_cells, num_bins, rounding_mode="floor")
    end = torch.div((bins + 1) * num_cells + num_bins - 1, num_bins, rounding_mode="floor")
    cells = torch.arange(num_cells, device=like.device)
    return ((cells >= first) & (cells < end)).to(like.dtype) / (end - first)
