"""Pyramid, transformer and P6 as one neck."""

from collections import OrderedDict

import torch
from torch import nn

from fpt.modeling.neck.compose import PyramidNeck


class _Double(nn.Module):
    out_channels = 3

    def forward(self, features, sizes_hw=None, padded_hw=None):
        self.seen = (sizes_hw, padded_hw)
        return OrderedDict((name, 2 * value) for name, value in features.items())


class _Same(nn.Module):
    out_channels = 5

    def forward(self, features, sizes_hw=None, padded_hw=None):
        self.seen = (sizes_hw, padded_hw)
        return features


def test_p6_is_every_second_cell_of_the_coarsest_level() -> None:
    maps = OrderedDict(res2=torch.randn(1, 5, 6, 6), res3=torch.randn(1, 5, 3, 5))
    out = PyramidNeck(pyramid=_Same())(maps)
    assert list(out) == ["res2", "res3", "p6"]
    torch.testing.assert_close(out["p6"], maps["res3"][:, :, ::2, ::2])
    assert list(PyramidNeck(pyramid=_Same(), has_p6=False)(maps)) == ["res2", "res3"]


def test_both_get_the_sizes_and_the_transformer_decides_the_channels() -> None:
    pyramid, transformer = _Same(), _Double()
    neck = PyramidNeck(pyramid=pyramid, transformer=transformer)
    out = neck(OrderedDict(res2=torch.ones(1, 3, 4, 4)), sizes_hw=[(10, 12)], padded_hw=(32, 32))
    assert pyramid.seen == transformer.seen == ([(10, 12)], (32, 32))
    assert neck.out_channels == 3
    assert (out["p6"] == 2).all()
