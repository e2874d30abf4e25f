"""Images as the backbone was trained to see them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fpt.structures.image_list import ImageList, pad_images


class ImageNormalizer(nn.Module):
    """Orders the channels, subtracts means, divides by standard deviations, pads with zeros (the mean colour).

    Args:
        pixel_format: ``RGB`` or ``BGR``, the order that the backbone wants; images come in as RGB.
        means, stds: of each channel in that order, 0..255.
        divisor: the padded height and width are multiples of this.
        is_channels_last: memory format of the batch.
    """

    means: Tensor
    stds: Tensor

    def __init__(
        self,
        *,
        pixel_format: str,
        means: Sequence[float],
        stds: Sequence[float],
        divisor: int,
        is_channels_last: bool = True,
    ) -> None:
        super().__init__()
        self.is_reversed = pixel_format == "BGR"
        self.divisor = divisor
        self.is_channels_last = is_channels_last
        self.register_buffer("means", torch.tensor(list(means), dtype=torch.float32).view(3, 1, 1), persistent=False)
        self.register_buffer("stds", torch.tensor(list(stds), dtype=torch.float32).view(3, 1, 1), persistent=False)

    def forward(self, images: Sequence[Tensor]) -> ImageList:
        """Images [3, h, w], RGB, 0..255, uint8 or float -> a float32 batch."""
        normalised = [(self._order(image).float() - self.means) / self.stds for image in images]
        return pad_images(normalised, divisor=self.divisor, channels_last=self.is_channels_last)

    def _order(self, image: Tensor) -> Tensor:
        return image.flip(0) if self.is_reversed else image
