"""Anchors of the RPN: boxes of a few shapes around the centre of every cell of every level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def cell_anchors(sizes: Sequence[float], aspect_ratios: Sequence[float]) -> list[list[float]]:
    """Boxes around the origin of area size ** 2 pixels: for each height / width one of each size."""
    anchors = []
    for ratio in aspect_ratios:
        for size in sizes:
            half_w, half_h = size / ratio**0.5 / 2, size * ratio**0.5 / 2
            anchors.append([-half_w, -half_h, half_w, half_h])
    return anchors


class AnchorGenerator(nn.Module):
    """Anchors of all levels.

    Cell (y, x) of a level has its anchors around ((x + 0.5) * stride, (y + 0.5) * stride), the centre of its pixels.

    Args:
        sizes: square roots of the areas in pixels of the anchors, for each level; as many on all levels.
        aspect_ratios: height / width.
        strides: pixels a cell, for each level.
    """

    cells: Tensor

    def __init__(
        self, *, sizes: Sequence[Sequence[float]], aspect_ratios: Sequence[float], strides: Sequence[int]
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.num_anchors = len(aspect_ratios) * len(sizes[0])
        cells = torch.tensor([cell_anchors(level, aspect_ratios) for level in sizes], dtype=torch.float32)
        self.register_buffer("cells", cells, persistent=False)

    def forward(self, sizes_hw: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Height and width in cells of each level -> float32 [h * w * num_anchors, 4] for each level."""
        return [
            self._level(cells, stride, size)
            for cells, stride, size in zip(self.cells, self.strides, sizes_hw, strict=True)
        ]

    def _level(self, cells: Tensor, stride: int, size_hw: tuple[int, int]) -> Tensor:
        h, w = size_hw
        x = (torch.arange(w, device=cells.device, dtype=cells.dtype) + 0.5) * stride
        y = (torch.arange(h, device=cells.device, dtype=cells.dtype) + 0.5) * stride
        y, x = torch.meshgrid(y, x, indexing="ij")
        centres = torch.stack([x, y, x, y], dim=-1).view(-1, 1, 4)
        return (centres + cells).view(-1, 4)
