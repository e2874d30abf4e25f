"""Anchors of the RPN: boxes of a few shapes around the centre of every cell of every level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

ROUNDINGS = ("none", "detectron", "torchvision")


def cell_anchors(
    sizes: Sequence[float], aspect_ratios: Sequence[float], *, stride: int = 1, rounding: str = "none"
) -> list[list[float]]:
    """Boxes around the origin of area size ** 2 pixels: for each height / width one of each size.

    Args:
        sizes: square roots of the areas.
        aspect_ratios: height / width.
        stride: of the level.
        rounding: ``detectron`` rounds the sides of a box of stride ** 2 pixels and scales it up; ``torchvision`` rounds
            the corners to whole pixels, halves to even.
    """
    anchors = []
    for ratio in aspect_ratios:
        base_w = float(np.round(stride / ratio**0.5))
        base_h = float(np.round(base_w * ratio))
        for size in sizes:
            half_w, half_h = size / ratio**0.5 / 2, size * ratio**0.5 / 2
            if rounding == "detectron":
                half_w, half_h = base_w * size / stride / 2, base_h * size / stride / 2
            elif rounding == "torchvision":
                half_w, half_h = float(np.round(half_w)), float(np.round(half_h))
            anchors.append([-half_w, -half_h, half_w, half_h])
    return anchors


class AnchorGenerator(nn.Module):
    """Anchors of all levels.

    Cell (y, x) of a level has its anchors around ((x + offset) * stride, (y + offset) * stride): where the offset is a
    half, the centre of its pixels.

    Args:
        sizes: square roots of the areas in pixels of the anchors, for each level; as many on all levels.
        aspect_ratios: height / width.
        strides: pixels a cell, for each level.
        rounding: one of ROUNDINGS; see ``cell_anchors``.
        offset: in cells.
    """

    cells: Tensor

    def __init__(
        self,
        *,
        sizes: Sequence[Sequence[float]],
        aspect_ratios: Sequence[float],
        strides: Sequence[int],
        rounding: str = "none",
        offset: float = 0.5,
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.num_anchors = len(aspect_ratios) * len(sizes[0])
        self.rounding = rounding
        self.offset = offset
        cells = torch.tensor(
            [
                cell_anchors(level, aspect_ratios, stride=stride, rounding=rounding)
                for level, stride in zip(sizes, strides, strict=True)
            ],
            dtype=torch.float32,
        )
        self.register_buffer("cells", cells, persistent=False)

    def forward(self, sizes_hw: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Height and width in cells of each level -> float32 [h * w * num_anchors, 4] for each level."""
        steps: list[tuple[int, int]] = [(stride, stride) for stride in self.strides]
        if self.rounding == "torchvision":  # there the stride is the whole part of the batch's size over the map's
            h, w = (side * self.strides[0] for side in sizes_hw[0])
            steps = [(h // max(rows, 1), w // max(columns, 1)) for rows, columns in sizes_hw]
        return [self._level(cells, step, size) for cells, step, size in zip(self.cells, steps, sizes_hw, strict=True)]

    def _level(self, cells: Tensor, step: tuple[int, int], size_hw: tuple[int, int]) -> Tensor:
        h, w = size_hw
        x = (torch.arange(w, device=cells.device, dtype=cells.dtype) + self.offset) * step[1]
        y = (torch.arange(h, device=cells.device, dtype=cells.dtype) + self.offset) * step[0]
        y, x = torch.meshgrid(y, x, indexing="ij")
        centres = torch.stack([x, y, x, y], dim=-1).view(-1, 1, 4)
        return (centres + cells).view(-1, 4)
