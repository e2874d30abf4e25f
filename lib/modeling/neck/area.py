"""Which cells of a padded batch belong to the images; normalisation, and convolutions with it, that see no others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fpt.layers.sync_batch_norm import SyncBatchNorm2d
from fpt.modeling.neck.pooling import bin_means

Sizes = Sequence[tuple[int, int]]
NormFactory = Callable[[int], nn.Module]


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

    def halved(self, x: Tensor) -> Area:
        """The images' cells after a convolution of stride 2 on a map [B, C, H, W]: as of each image alone."""
        if self.valid_hw is None:
            return self
        halves = [(-(-height // 2), -(-width // 2)) for height, width in self.valid_hw]
        return area_of(halves, (-(-x.shape[-2] // 2), -(-x.shape[-1] // 2)), like=x)

    def mean(self, x: Tensor) -> Tensor:
        """Mean over each image's cells of a map that is zero outside them: [B, C, 1, 1], summed in float32."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        mean = bin_means(x.to(dtype), 1, 1).mT[..., None]
        share = 1 if self.mask is None else bin_means(self.mask.to(dtype), 1, 1)[..., None]
        return (mean / share).to(x.dtype)

    def crops(self, x: Tensor) -> list[Tensor]:
        """Each image's own part [C, h, w] of [B, C, H, W]."""
        if self.valid_hw is None:
            return list(x)
        return [image[:, :h, :w] for image, (h, w) in zip(x, self.valid_hw, strict=True)]

    def place(self, images: Sequence[Tensor], like: Tensor) -> Tensor:
        """The images' own parts in their places on a map [B, C, H, W] of the format of `like`, zero elsewhere."""
        shape = (len(images), len(images[0]), *like.shape[-2:])
        out = images[0].new_zeros(shape).contiguous(memory_format=_memory_format(like))
        for i, image in enumerate(images):
            out[i, :, : image.shape[1], : image.shape[2]] = image
        return out

    def normalise(self, norm: nn.Module, x: Tensor) -> Tensor:
        """Apply `norm` to [B, C, H, W] so that it sees the images' own cells alone; the padding comes out zero.

        GroupNorm and InstanceNorm see one image at a time, BatchNorm while training the cells of all images together;
        any other one must treat each cell by itself.

        Raises:
            ValueError: BatchNorm in training has one cell a channel, of which there is no variance.
        """
        if isinstance(norm, _BatchNorm) and norm.training:
            num_cells = x[:, 0].numel() if self.valid_hw is None else sum(h * w for h, w in self.valid_hw)
            _check_cells(num_cells, norm)
            if self.valid_hw is not None:
                crops = self.crops(x)
                cells = torch.cat([image.flatten(1) for image in crops], dim=1)
                parts = norm(cells[None, :, :, None])[0, :, :, 0].split([h * w for h, w in self.valid_hw], dim=1)
                return self.place([part.reshape(image.shape) for part, image in zip(parts, crops, strict=True)], x)
        elif self.valid_hw is not None and isinstance(norm, (nn.GroupNorm, nn.InstanceNorm2d)):
            return self.place([norm(image[None])[0] for image in self.crops(x)], x)
        return self.clear(norm(x))


def _check_cells(num_cells: int, norm: _BatchNorm) -> None:
    """ValueError where BatchNorm in training would divide by a variance of one cell."""
    synchronised = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    if num_cells == 1 and not (synchronised and isinstance(norm, (SyncBatchNorm2d, nn.SyncBatchNorm))):
        raise ValueError(
            f"{type(norm).__name__} in training got one image of 1 x 1 cells, of which there is no variance: use "
            "GroupNorm or none (MODEL.FPT.NORM GN, FPN.USE_GN), larger images or a larger batch"
        )


WHOLE = Area(None, None)
"""Of maps without padding."""


def level_area(x: Tensor, sizes_hw: Sizes | None, padded_hw: tuple[int, int] | None) -> Area:
    """The images' cells on a level.

    Args:
        x: [B, C, H, W], a map of the level.
        sizes_hw: height and width in pixels of each image; None = the images fill the batch.
        padded_hw: height and width in pixels of the padded batch; needed with sizes_hw.

    Raises:
        ValueError: sizes_hw without padded_hw, or not one size per image.
    """
    if sizes_hw is None:
        return WHOLE
    if padded_hw is None or len(sizes_hw) != len(x):
        raise ValueError(f"{len(sizes_hw)} sizes_hw with padded_hw {padded_hw} do not describe a batch of {len(x)}")
    height, width = x.shape[-2:]
    valid_hw = [(-(-h * height // padded_hw[0]), -(-w * width // padded_hw[1])) for h, w in sizes_hw]
    if all(size == (height, width) for size in valid_hw):
        return WHOLE
    return area_of(valid_hw, (height, width), like=x)


def area_of(valid_hw: list[tuple[int, int]], size: tuple[int, int], *, like: Tensor) -> Area:
    """The area of images of these sizes in cells on a map of `size`, its mask in the type of `like`."""
    mask = like.new_zeros(len(valid_hw), 1, *size)
    for image, (height, width) in zip(mask, valid_hw, strict=True):
        image[:, :height, :width] = 1
    return Area(valid_hw, mask)


def _memory_format(x: Tensor) -> torch.memory_format:
    """The memory format of a map."""
    channels_last = x.is_contiguous(memory_format=torch.channels_last) and x.shape[1] > 1
    return torch.channels_last if channels_last else torch.contiguous_format
