"""Means over bins of cells."""

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from fpt.modeling.neck.area import WHOLE, area_of
from fpt.modeling.neck.pooling import bin_means, square_means
from fpt.modeling.neck.query_grid import query_grid

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
    large = torch.full((1, 3, 7, 8), 60_000.0, dtype=torch.float16).contiguous(memory_format=memory_format)
    assert square_means(large, 4).flatten().tolist() == [60_000.0] * 12


@pytest.mark.parametrize("memory_format", _FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("size", "side"), [((8, 12), 2), ((7, 9), 2), ((10, 3), 4), ((5, 5), 1)])
def test_means_and_gradients_of_squares_are_those_of_average_pooling(
    size: tuple[int, int], side: int, dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size).to(dtype).contiguous(memory_format=memory_format).requires_grad_()
    exact = x.detach().float().requires_grad_()
    means = square_means(x, side)
    expected = F.avg_pool2d(exact, side, ceil_mode=True, count_include_pad=False)
    tolerances = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-2, "atol": 1e-3}
    torch.testing.assert_close(means.float(), expected, **tolerances)
    grad = torch.randn(means.shape).to(dtype)
    of_means, of_expected = (torch.autograd.grad(y, z, g)[0] for y, z, g in ((means, x, grad), (expected, exact, grad)))
    torch.testing.assert_close(of_means.float(), of_expected.float(), **tolerances)


@pytest.mark.parametrize(("size", "side"), [((8, 12), 2), ((7, 9), 2), ((5, 5), 1)])
@pytest.mark.parametrize("is_padded", [False, True])
def test_the_mean_of_all_cells_comes_from_the_squares(size: tuple[int, int], side: int, is_padded: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size)
    valid_hw = [(size[0] - 3, size[1] - 2), size]
    area = area_of(valid_hw, size, like=x) if is_padded else WHOLE
    grid, cells = query_grid(x, area, side), area.clear(x)
    mean = grid.mean_of_all(cells, grid.means(cells))
    expected = torch.stack([image.mean((1, 2)) for image in area.crops(x)])[..., None, None]
    torch.testing.assert_close(mean, expected)
