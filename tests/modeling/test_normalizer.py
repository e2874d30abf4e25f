"""Preparation of images."""

import pytest
import torch

from fpt.modeling.normalizer import ImageNormalizer

IMAGE = torch.tensor([10, 20, 30], dtype=torch.uint8).view(3, 1, 1).expand(3, 4, 5)


@pytest.mark.parametrize(
    ("pixel_format", "means", "expected"),
    [("RGB", (1.0, 2.0, 3.0), (9.0, 18.0, 27.0)), ("BGR", (3.0, 2.0, 1.0), (27.0, 18.0, 9.0))],
)
def test_order_means_and_deviations(pixel_format: str, means, expected) -> None:
    stds = (1.0, 2.0, 3.0)
    normalizer = ImageNormalizer(pixel_format=pixel_format, means=means, stds=stds, divisor=8)
    for image in (IMAGE, IMAGE.float()):
        batch = normalizer([image, image[:, :2]])
        assert batch.tensor.shape == (2, 3, 8, 8)
        wanted = torch.tensor(expected) / torch.tensor(stds)
        torch.testing.assert_close(batch.tensor[0, :, 3, 4], wanted)
        assert not batch.tensor[1, :, 2:].any()
        assert not batch.tensor[:, :, :, 5:].any()
    assert batch.sizes_hw == [(4, 5), (2, 5)]
    assert normalizer.state_dict() == {}
