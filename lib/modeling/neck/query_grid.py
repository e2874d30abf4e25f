"""The positions of a level that ask ST and GT: its cells, or squares of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from fpt.modeling.neck.area import Area, area_of
from fpt.modeling.neck.pooling import is_symbol, square_means


@dataclass(frozen=True)
class QueryGrid:
    """Squares of cells that ask as one.

    Attributes:
        side: of a square in cells; 1 = each cell asks for itself.
        area: the images' cells on the level.
        squares: the images' squares on the grid.
    """

    side: int
    area: Area
    squares: Area

    def means(self, x: Tensor) -> Tensor:
        """The mean of each square's cells inside the image: [B, C, H, W], zero outside -> [B, C, h, w], too."""
        if self.side == 1:
            return x
        means = square_means(x, self.side)
        return means if self.area.mask is None else means / square_means(self.area.mask, self.side).clamp(min=1e-6)

    def mean_of_all(self, x: Tensor, means: Tensor) -> Tensor:
        """The mean of each image's cells [B, C, 1, 1] of a map [B, C, H, W], zero outside, whose means are `means`."""
        is_split = any(is_symbol(size) or size % self.side for size in x.shape[-2:])
        if self.side == 1 or is_split or self.area.mask is not None:
            return self.area.mean(x)
        return self.squares.mean(means)  # as many cells each: the same, of a smaller map

    def bring_back(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """[B, C, h, w], zero outside the images -> [B, C, H, W], too: bilinearly, and constant beyond a border."""
        if self.side == 1:
            return x
        cells = self._interpolate(x, size)
        if self.squares.mask is None or self.area.mask is None:
            return cells
        return cells / self._interpolate(self.squares.mask, size).clamp(min=1e-6) * self.area.mask

    def _interpolate(self, x: Tensor, size: Sequence[int]) -> Tensor:
        if is_symbol(*size):
            return _tents(size[0], self.side, x) @ x @ _tents(size[1], self.side, x).mT
        cells = F.interpolate(x, scale_factor=self.side, mode="bilinear", align_corners=False)
        return cells[..., : size[0], : size[1]]


def query_grid(x: Tensor, area: Area, side: int) -> QueryGrid:
    """The grid of squares of `side` cells on a map [B, C, H, W]."""
    if side == 1 or area.valid_hw is None:
        return QueryGrid(side, area, area)
    valid_hw = [(-(-height // side), -(-width // side)) for height, width in area.valid_hw]
    size = (-(-x.shape[-2] // side), -(-x.shape[-1] // side))
    return QueryGrid(side, area, area_of(valid_hw, size, like=x))


def _tents(num_cells: int, side: int, like: Tensor) -> Tensor:
    """The linear interpolation along one axis as a matrix [cells, squares]."""
    squares = torch.arange((num_cells + side - 1) // side, device=like.device)
    places = (torch.arange(num_cells, device=like.device)[:, None] + 0.5) / side - 0.5
    places = torch.minimum(places.clamp(min=0), squares[-1])
    return (1 - (places - squares).abs()).clamp(min=0).to(like.dtype)
