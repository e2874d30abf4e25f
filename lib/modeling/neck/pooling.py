"""Means of a map's cells over a grid of bins, as products with small matrices.

The pooling functions of PyTorch are slow in backward on a CPU (bfloat16 in channels_last: twenty times a copy of the
map), and a sum over all cells leaves a gradient in the other memory format, which slows every sum that it enters.
"""

from __future__ import annotations

import torch
from torch import Tensor


def is_symbol(*sizes: int) -> bool:
    """Whether a graph with free sizes is traced."""
    return any(isinstance(size, torch.SymInt) for size in sizes)


def bin_means(x: Tensor, rows: int, columns: int) -> Tensor:
    """The bins of `adaptive_avg_pool2d`, one after the other: [B, C, H, W] -> [B, rows * columns, C].

    Sums are float32 at least. Sizes may be symbols of a traced graph.
    """
    height, width = x.shape[-2:]
    cells = x.to(torch.promote_types(x.dtype, torch.float32))
    with torch.autocast(x.device.type, enabled=False):
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
