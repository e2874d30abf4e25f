"""RoI features from the levels of a pyramid, and their fusion where they come from all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from fpt.layers.roi_align import roi_align
from fpt.structures.boxes import box_area


def assign_levels(boxes: Tensor, *, low: int, high: int, canonical_scale: float, canonical_level: int) -> Tensor:
    """Level of each box [R, 4] by its size (Lin et al. 2017, equation 1): int64 [R] in ``low`` .. ``high``.

    A box of ``canonical_scale`` ** 2 pixels belongs to ``canonical_level``; half the side is one level finer.
    """
    scale = box_area(boxes).clamp(min=0).sqrt()
    level = torch.floor(canonical_level + torch.log2(scale / canonical_scale + 1e-6))
    return level.clamp(low, high).long()


def with_image_index(boxes: Sequence[Tensor]) -> Tensor:
    """Boxes [R_i, 4] of each image -> [R, 5] of the batch, the image's index first."""
    indexed = [torch.cat([torch.full_like(item[:, :1], index), item], dim=1) for index, item in enumerate(boxes)]
    return torch.cat(indexed)


class RoIPooler(nn.Module):
    """Pools each RoI from the level that fits its size, or from every level (adaptive feature pooling, PANet).

    Args:
        levels: positions of the maps in the pyramid, finest first.
        strides: pixels a cell of each; powers of 2, each twice the one before, unless it is adaptive.
        output_size: side in cells of the RoI features.
        sampling_ratio: samples a cell and axis; 0 = as many as the RoI covers cells of the map.
        is_adaptive: pool from every level.
        canonical_scale: side in pixels of the RoIs that belong to ``canonical_level``.
        canonical_level: number of that level; its stride is 2 ** number.
        is_aligned: see ``roi_align``.
        margin: pixels that the last column and row of a RoI lie before its edge.
    """

    def __init__(
        self,
        *,
        levels: Sequence[int],
        strides: Sequence[int],
        output_size: int,
        sampling_ratio: int = 2,
        is_adaptive: bool = False,
        canonical_scale: float = 224,
        canonical_level: int = 4,
        is_aligned: bool = True,
        margin: float = 0.0,
    ) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.strides = tuple(strides)
        self.output_size = output_size
        self.sampling_ratio = sampling_ratio
        self.is_adaptive = is_adaptive
        self.first_level = int(math.log2(self.strides[0]))
        self.canonical_scale = canonical_scale
        self.canonical_level = canonical_level
        self.is_aligned = is_aligned
        self.margin = margin

    @property
    def num_outputs(self) -> int:
        """Tensors that ``forward`` returns."""
        return len(self.levels) if self.is_adaptive else 1

    def forward(self, features: Mapping[str, Tensor], boxes: Sequence[Tensor]) -> list[Tensor]:
        """Features of all RoIs of a batch.

        Args:
            features: maps [N, C, H_l, W_l], finest first.
            boxes: [R_i, 4] in input pixels, for each of the N images.

        Returns:
            float32 [R, C, P, P], R = sum of R_i in the order of the images; one for each level if adaptive, else one.
        """
        rois = with_image_index(boxes)
        pyramid = list(features.values())
        maps = [pyramid[level] for level in self.levels]
        if self.is_adaptive:
            return [self._pool(x, rois, stride) for x, stride in zip(maps, self.strides, strict=True)]
        level = assign_levels(
            rois[:, 1:],
            low=self.first_level,
            high=self.first_level + len(maps) - 1,
            canonical_scale=self.canonical_scale,
            canonical_level=self.canonical_level,
        )
        order = [(level == self.first_level + index).nonzero()[:, 0] for index in range(len(maps))]
        pooled = [
            self._pool(x, rois[index], stride) for x, index, stride in zip(maps, order, self.strides, strict=True)
        ]
        return [torch.cat(pooled)[torch.cat(order).argsort()]]

    def _pool(self, x: Tensor, rois: Tensor, stride: int) -> Tensor:
        if self.margin:
            rois = torch.cat([rois[:, :3], rois[:, 3:] - self.margin], dim=1)
        return roi_align(
            x,
            rois,
            is_aligned=self.is_aligned,
            output_size=self.output_size,
            spatial_scale=1 / stride,
            sampling_ratio=self.sampling_ratio,
        )


class MaxFusion(nn.Module):
    """The first layer of a head: one for each input, then the element-wise maximum.

    With a single input it is that layer alone. Source: adaptive feature pooling, Liu et al. 2018, section 3.2.

    Args:
        num_inputs: RoI features of so many levels come in.
        layer: builds the layer of one input.
    """

    def __init__(self, *, num_inputs: int, layer: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layer() for _ in range(num_inputs))

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Tensors of one shape -> the maximum of what the layers make of them."""
        outputs = [layer(x) for layer, x in zip(self.layers, inputs, strict=True)]
        fused = outputs[0]
        for output in outputs[1:]:
            fused = fused.maximum(output)
        return fused
