"""Which cells of a padded batch belong to the images, and normalisation that sees no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Sizes = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Area:
    """The images' own cells (top left) on one level of a batch.

    Attributes:
        valid_hw: height and width in cells of each image; None where nothing is padded.
        mask: [B, 1, H, W], 1 inside the images, 0 outside; None where nothing is padded.
    """

    valid_hw: list[tuple[int, int]] | None
    mask: Tensor | None

    def clear(self, x: Tensor) -> Tensor:
        """Zero the padding of [B, C, H, W], as a convolution would see it around an image alone."""
        return x if self.mask is None else x * self.mask

    def mean(self, x: Tensor) -> Tensor:
        """Mean over each image's cells of a map that is zero outside them: [B, C, 1, 1]."""
        if self.mask is None:
            return x.mean(dim=(2, 3), keepdim=True)
        return x.sum(dim=(2, 3), keepdim=True) / self.mask.sum(dim=(2, 3), keepdim=True)

    def normalise(self, norm: nn.Module, x: Tensor) -> Tensor:
        """Apply `norm` to [B, C, H, W]; GroupNorm sees each image's own cells alone. The padding comes out zero."""
        if self.valid_hw is None or not isinstance(norm, nn.GroupNorm):
            return self.clear(norm(x))
        out = x.new_zeros(x.shape).contiguous(memory_format=_memory_format(x))
        for i, (h, w) in enumerate(self.valid_hw):
            out[i : i + 1, :, :h, :w] = norm(x[i : i + 1, :, :h, :w])
        return out


def level_area(x: Tensor, sizes_hw: Sizes | None, padded_hw: tuple[int, int] | None) -> Area:
    """The images' cells on a level.

    Args:
        x: [B, C, H, W], a map of the level.
        sizes_hw: height and width in pixels of each image; None = the images fill the batch.
        padded_hw: height and width in pixels of the padded batch; needed with sizes_hw.

    Raises:
        ValueError: sizes_hw without padded_hw, or not one size an image.
    """
    if sizes_hw is None:
        return Area(None, None)
    if padded_hw is None or len(sizes_hw) != len(x):
        raise ValueError(f"{len(sizes_hw)} sizes_hw with padded_hw {padded_hw} do not describe a batch of {len(x)}")
    height, width = x.shape[-2:]
    valid_hw = [(-(-h * height // padded_hw[0]), -(-w * width // padded_hw[1])) for h, w in sizes_hw]
    if all(size == (height, width) for size in valid_hw):
        return Area(None, None)
    mask = x.new_zeros(len(x), 1, height, width)
    for i, (h, w) in enumerate(valid_hw):
        mask[i, :, :h, :w] = 1
    return Area(valid_hw, mask)


def _memory_format(x: Tensor) -> torch.memory_format:
    """The memory format of a map."""
    channels_last = x.is_contiguous(memory_format=torch.channels_last) and x.shape[1] > 1
    return torch.channels_last if channels_last else torch.contiguous_format
