"""Weights of samples against means taken picture by picture."""

import torch

from fpt.modeling.picture_weights import picture_weights

CPU = torch.device("cpu")


def test_weighted_sum_is_the_mean_of_the_pictures_means() -> None:
    values = torch.tensor([1.0, 2.0, 3.0, 10.0])
    weights = picture_weights([3, 1], device=CPU)
    torch.testing.assert_close((values * weights).sum(), torch.tensor((2.0 + 10.0) / 2))


def test_other_counts_and_pictures_without_samples() -> None:
    weights = picture_weights([2, 0, 1], counts=[4, 0, 5], device=CPU)
    torch.testing.assert_close(weights, torch.tensor([1 / 12, 1 / 12, 1 / 15]))
    assert picture_weights([0, 0], device=CPU).shape == (0,)
