"""Means over bins of cells."""

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from fpt.modeling.neck.pooling import bin_means

_FORMATS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("memory_format", _FORMATS)
@pytest.mark.parametrize(("size", "bins"), [((25, 34), (14, 18)), ((7, 5), (1, 1)), ((4, 6), (4, 6)), ((1, 9), (1, 4))])
def test_means_and_gradients_are_those_of_adaptive_pooling(
    size: tuple[int, int], bins: tuple[int, int], memory_format: torch.memory_format
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size).contiguous(memory_format=memory_format).requires_grad_()
    means, expected = bin_means(x, *bins), F.adaptive_avg_pool2d(x, bins).flatten(2).mT
    torch.testing.assert_close(means, expected)
    grad = torch.randn(means.shape)
    of_means, of_expected = (torch.autograd.grad(out, x, grad)[0] for out in (means, expected))
    torch.testing.assert_close(of_means, of_expected)
    assert of_means.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("memory_format", _FORMATS)
def test_half_types_are_summed_in_float32(memory_format: torch.memory_format) -> None:
    x = torch.full((1, 3, 200, 200), 3.0, dtype=torch.float16).contiguous(memory_format=memory_format)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        means = bin_means(x, 1, 1)
    assert means.dtype == torch.float16
    assert means.flatten().tolist() == [3.0, 3.0, 3.0]
