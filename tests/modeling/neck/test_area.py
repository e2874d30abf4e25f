"""Normalisation that sees the images' own cells alone."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from fpt.layers.sync_batch_norm import SyncBatchNorm2d
from fpt.modeling.neck.area import level_area

SIZES = [(20, 28), (32, 48)]


def batch():
    torch.manual_seed(0)
    x = torch.randn(2, 4, 8, 12) + 3
    return x, level_area(x, SIZES, (32, 48))


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, SyncBatchNorm2d])
def test_batch_norm_takes_its_statistics_from_the_images_cells(norm):
    x, area = batch()
    layer = norm(4)
    own = torch.cat([x[0, :, :5, :7].flatten(1), x[1].flatten(1)], dim=1)
    y = area.normalise(layer, x)
    expected = (own - own.mean(1, keepdim=True)) * (own.var(1, correction=0, keepdim=True) + 1e-5).rsqrt()
    assert torch.allclose(y[0, :, :5, :7].flatten(1), expected[:, :35], atol=1e-5)
    assert torch.allclose(y[1].flatten(1), expected[:, 35:], atol=1e-5)
    assert y[0, :, 5:].abs().sum() == 0
    assert y[0, :, :, 7:].abs().sum() == 0
    assert torch.allclose(layer.running_mean, 0.1 * own.mean(1), atol=1e-6)
    assert torch.allclose(area.normalise(layer.eval(), x), area.clear(layer(x)))


@pytest.mark.parametrize("norm", [partial(nn.GroupNorm, 2), partial(nn.InstanceNorm2d, affine=True)])
def test_each_image_is_normalised_by_itself(norm):
    x, area = batch()
    layer = norm(4)
    y = area.normalise(layer, x)
    assert torch.allclose(y[:1, :, :5, :7], layer(x[:1, :, :5, :7]), atol=1e-6)
    assert torch.allclose(y[1:], layer(x[1:]), atol=1e-6)
    assert y[0, :, 5:].abs().sum() == 0


def test_one_own_cell_in_a_padded_map():
    x = torch.randn(1, 4, 8, 8)
    with pytest.raises(ValueError, match="SyncBatchNorm2d in training got one image of 1 x 1 cells"):
        level_area(x, [(4, 4)], (32, 32)).normalise(SyncBatchNorm2d(4), x)


def test_means_of_half_precision_do_not_overflow():
    x = torch.full((2, 1, 200, 267), 1.5, dtype=torch.float16)
    area = level_area(x, [(800, 1068), (796, 1068)], (800, 1068))
    assert area.mean(area.clear(x)).flatten().tolist() == [1.5, 1.5]
