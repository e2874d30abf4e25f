"""Padded batches."""

import pytest
import torch

from fpt.structures.image_list import pad_images, padded_size


def test_size_is_the_next_multiple() -> None:
    assert padded_size([(33, 10), (20, 64)], 32) == (64, 64)
    assert padded_size([(32, 32)], 32) == (32, 32)


@pytest.mark.parametrize("channels_last", [True, False])
def test_images_lie_in_the_top_left_corner(channels_last: bool) -> None:
    images = [torch.ones(3, 5, 7), torch.full((3, 9, 2), 2.0)]
    batch = pad_images(images, divisor=8, channels_last=channels_last)
    assert batch.tensor.shape == (2, 3, 16, 8)
    assert batch.padded_hw == (16, 8)
    assert batch.sizes_hw == [(5, 7), (9, 2)]
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    assert batch.tensor.is_contiguous(memory_format=memory_format)
    assert batch.tensor.sum().item() == 3 * (35 + 2 * 18)
    assert (batch.tensor[0, :, :5, :7] == 1).all()
