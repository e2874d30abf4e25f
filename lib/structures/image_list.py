"""Images of different sizes as one padded tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SizeHW = tuple[int, int]


@dataclass(frozen=True)
class ImageList:
    """A padded batch.

    Attributes:
        tensor: [N, 3, H, W], zero to the right of and below each image.
        sizes_hw: height and width in pixels of each image without its padding.
    """

    tensor: Tensor
    sizes_hw: list[SizeHW]

    @property
    def padded_hw(self) -> SizeHW:
        """Height and width of the tensor."""
        return self.tensor.shape[-2], self.tensor.shape[-1]


def padded_size(sizes_hw: Sequence[SizeHW], divisor: int) -> SizeHW:
    """The smallest multiples of ``divisor`` that hold every size."""
    h = max(size[0] for size in sizes_hw)
    w = max(size[1] for size in sizes_hw)
    return -(-h // divisor) * divisor, -(-w // divisor) * divisor


def pad_images(images: Sequence[Tensor], *, divisor: int, channels_last: bool) -> ImageList:
    """Copy images [3, h, w] (one dtype and device) into the top left corners of a zero tensor.

    Args:
        divisor: the padded height and width are multiples of this.
        channels_last: memory format of the tensor.
    """
    sizes = [(image.shape[-2], image.shape[-1]) for image in images]
    h, w = padded_size(sizes, divisor)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    shape = (len(images), images[0].shape[0], h, w)
    tensor = torch.empty(shape, dtype=images[0].dtype, device=images[0].device, memory_format=memory_format).zero_()
    for slot, image, (image_h, image_w) in zip(tensor, images, sizes, strict=True):
        slot[:, :image_h, :image_w] = image
    return ImageList(tensor, sizes)
