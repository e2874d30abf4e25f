"""Base pyramids."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F  # noqa: N812

from fpt.modeling.neck.fpn import FeaturePyramid


def maps(height=16, width=20):
    torch.manual_seed(0)
    sizes = [(-(-height // s), -(-width // s)) for s in (1, 2, 4)]
    return OrderedDict((f"res{i + 2}", torch.randn(2, 4 * 2**i, *size)) for i, size in enumerate(sizes))


@pytest.mark.parametrize("size", [(16, 20), (13, 9)])
def test_equals_torchvisions_fpn(size):
    ours = FeaturePyramid(in_channels=(4, 8, 16), out_channels=6)
    theirs = torchvision.ops.FeaturePyramidNetwork([4, 8, 16], 6)
    for i in range(3):
        theirs.inner_blocks[i][0].load_state_dict(ours.laterals[i].conv.state_dict())
        theirs.layer_blocks[i][0].load_state_dict(ours.outputs[i].conv.state_dict())
    x = maps(*size)
    for y, expected in zip(ours(x).values(), theirs(x).values(), strict=True):
        assert torch.allclose(y, expected, atol=1e-5)


def test_starts_as_detectron_does():
    torch.manual_seed(0)
    neck = FeaturePyramid(in_channels=(64, 128, 256), out_channels=32)
    for convs, fan_in in ((neck.laterals, (64, 128, 256)), (neck.outputs, (32 * 9,) * 3)):
        for layer, number in zip(convs, fan_in, strict=True):
            bound = (3 / number) ** 0.5
            assert 0.99 * bound < layer.conv.weight.abs().max().item() <= bound
            assert not layer.conv.bias.any()


def test_bfp_is_laterals_alone():
    neck = FeaturePyramid(in_channels=(4, 8, 16), out_channels=6, top_down=False)
    x = maps()
    out = neck(x)
    assert sum(p.numel() for p in neck.parameters()) == (4 + 8 + 16) * 6 + 3 * 6
    assert torch.allclose(out["res3"], neck.laterals[1].conv(x["res3"]))


def test_bpa_adds_the_bottom_up_path():
    neck = FeaturePyramid(in_channels=(4, 8, 16), out_channels=6, bottom_up=True)
    fpn = FeaturePyramid(in_channels=(4, 8, 16), out_channels=6)
    fpn.load_state_dict(neck.state_dict(), strict=False)
    x = maps()
    out, base = neck(x), fpn(x)
    assert torch.allclose(out["res2"], base["res2"])
    merged = F.relu(neck.reductions[0].conv(base["res2"])) + base["res3"]
    assert torch.allclose(out["res3"], F.relu(neck.merges[0].conv(merged)), atol=1e-6)
    sum(y.sum() for y in out.values()).backward()
    assert all(p.grad is not None for p in neck.parameters())
    with pytest.raises(ValueError, match="top_down must be True"):
        FeaturePyramid(in_channels=(4, 8), out_channels=6, top_down=False, bottom_up=True)


@pytest.mark.parametrize("bottom_up", [False, True])
def test_padding_has_no_effect_inside_the_image(bottom_up):
    torch.manual_seed(0)
    neck = FeaturePyramid(in_channels=(4, 8, 16), out_channels=8, bottom_up=bottom_up, norm=partial(nn.GroupNorm, 2))
    x = OrderedDict((k, v[:1]) for k, v in maps().items())
    padded = OrderedDict((k, F.pad(v, (0, v.shape[-1], 0, v.shape[-2]), value=3.0)) for k, v in x.items())
    alone, together = neck(x), neck(padded, sizes_hw=[(16, 20)], padded_hw=(32, 40))
    for name, y in alone.items():
        h, w = y.shape[-2:]
        assert torch.allclose(together[name][..., :h, :w], y, atol=1e-5)


def test_zero_laterals():
    neck = FeaturePyramid(in_channels=(4, 8, 16), out_channels=6, zero_init_lateral=True)
    assert [bool(lateral.conv.weight.abs().sum() == 0) for lateral in neck.laterals] == [True, True, False]
