"""Weights of samples against means taken image by image."""

import torch

from fpt.modeling.sampling import image_weights

CPU = torch.device("cpu")


def test_weighted_sum_is_the_mean_of_the_images_means() -> None:
    values = torch.tensor([1.0, 2.0, 3.0, 10.0])
    weights = image_weights([3, 1], device=CPU)
    torch.testing.assert_close((values * weights).sum(), torch.tensor((2.0 + 10.0) / 2))


def test_other_counts_and_images_without_samples() -> None:
    weights = image_weights([2, 0, 1], counts=[4, 0, 5], device=CPU)
    torch.testing.assert_close(weights, torch.tensor([1 / 12, 1 / 12, 1 / 15]))
    assert image_weights([0, 0], device=CPU).shape == (0,)
