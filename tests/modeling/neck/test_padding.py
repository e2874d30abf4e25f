"""The bound of docs/neck.md: inside an image, the neck gives the same whatever the batch is padded to."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool, LastLevelP6P7

from fpt.layers.norm import group_norm
from fpt.modeling.neck.compose import ExtraLevels, PyramidNeck
from fpt.modeling.neck.fpn import FeaturePyramid
from fpt.modeling.neck.fpt import FeaturePyramidTransformer
from fpt.modeling.neck.network import FeaturePyramidTransformerNetwork

BOUND = 1e-5  # of the largest output, in float32
STRIDES = (4, 8, 16, 32)
SIZES = [(33, 47), (64, 96), (101, 67), (40, 9)]


def backbone_maps(size: tuple[int, int], padded: tuple[int, int], seed: int) -> OrderedDict[str, Tensor]:
    """What a backbone gives for an image inside a padded batch; the padding's cells hold garbage."""
    generator = torch.Generator().manual_seed(seed)
    maps = OrderedDict()
    for number, stride in enumerate(STRIDES):
        own = torch.randn(1, 4 + number, -(-size[0] // stride), -(-size[1] // stride), generator=generator)
        right, bottom = padded[1] // stride - own.shape[-1], padded[0] // stride - own.shape[-2]
        maps[f"res{number + 2}"] = F.pad(own, (0, right, 0, bottom), value=9.0)
    return maps


def neck(*, top_down: bool = True, bottom_up: bool = False, **settings: int) -> PyramidNeck:
    torch.manual_seed(0)
    norm = partial(group_norm, num_groups=4)
    return PyramidNeck(
        pyramid=FeaturePyramid(
            in_channels=(4, 5, 6, 7), out_channels=8, top_down=top_down, bottom_up=bottom_up, norm=norm
        ),
        transformer=FeaturePyramidTransformer(
            in_channels=8, num_levels=4, norm=norm, dropblock_keep_prob=1.0, **settings
        ),
    )


@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize(
    "settings", [{}, {"max_keys": 0}, {"max_keys": 20}, {"local_window": 3}, {"top_down": False}, {"bottom_up": True}]
)
def test_companions_and_padding_have_no_effect_inside_the_image(settings: dict[str, int], is_training: bool) -> None:
    model = neck(**settings).train(is_training)
    padded = (128, 96)
    batch = [backbone_maps(size, padded, seed) for seed, size in enumerate(SIZES)]
    merged = OrderedDict((name, torch.cat([maps[name] for maps in batch])) for name in batch[0])
    together = model(merged, sizes_hw=SIZES, padded_hw=padded)
    for seed, size in enumerate(SIZES):
        smallest = (-(-size[0] // 32) * 32, -(-size[1] // 32) * 32)
        alone = model(backbone_maps(size, smallest, seed), sizes_hw=[size], padded_hw=smallest)
        for stride, (name, y) in zip(STRIDES, list(alone.items())[:-1], strict=True):
            h, w = -(-size[0] // stride), -(-size[1] // stride)
            found = together[name][seed, :, :h, :w]
            assert (found - y[0, :, :h, :w]).abs().max() <= BOUND * y.abs().max()
            assert together[name][seed, :, h:].abs().sum() + together[name][seed, :, :, w:].abs().sum() == 0


def _check_extra_levels(model: PyramidNeck) -> None:
    """P6, P7 of images in a batch of 160 x 96 are those of each alone; P5 has an odd number of rows, theirs an even."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "extra" in name and "bias" in name:
                parameter.fill_(0.1)
    padded, sizes = (160, 96), [(160, 96), (64, 96), (40, 9)]
    batch = [backbone_maps(size, padded, seed) for seed, size in enumerate(sizes)]
    merged = OrderedDict((name, torch.cat([maps[name] for maps in batch])) for name in batch[0])
    together = model(merged, sizes_hw=sizes, padded_hw=padded)
    for seed, size in enumerate(sizes):
        smallest = (-(-size[0] // 32) * 32, -(-size[1] // 32) * 32)
        alone = model(backbone_maps(size, smallest, seed), sizes_hw=[size], padded_hw=smallest)
        extra = list(alone.items())[4:]
        assert extra
        for name, y in extra:
            h, w = y.shape[-2:]
            assert (together[name][seed, :, :h, :w] - y[0]).abs().max() <= BOUND * y.abs().max()
            assert together[name][seed, :, h:].abs().sum() + together[name][seed, :, :, w:].abs().sum() == 0


@pytest.mark.parametrize("from_backbone", [False, True])
def test_padding_has_no_effect_on_the_levels_on_top(from_backbone: bool) -> None:
    base = neck()
    extra = ExtraLevels(
        in_channels=7 if from_backbone else 8, out_channels=8, num_levels=2, from_backbone=from_backbone
    )
    _check_extra_levels(PyramidNeck(pyramid=base.pyramid, transformer=base.transformer, extra_levels=extra))


@pytest.mark.parametrize("extra", [LastLevelMaxPool(), LastLevelP6P7(8, 8), LastLevelP6P7(7, 8)])
def test_padding_has_no_effect_on_torchvisions_levels_on_top(extra: ExtraFPNBlock) -> None:
    torch.manual_seed(0)
    transformer = FeaturePyramidTransformer(in_channels=8, num_levels=4, norm=partial(group_norm, num_groups=4))
    norm = partial(group_norm, num_groups=4)
    _check_extra_levels(FeaturePyramidTransformerNetwork((4, 5, 6, 7), 8, extra, norm, transformer=transformer.eval()))


def test_gradients_of_an_image_stay_within_it() -> None:
    model, padded = neck(max_keys=20), (128, 96)
    maps = OrderedDict((k, v.requires_grad_()) for k, v in backbone_maps((33, 47), padded, 0).items())
    sum(y.square().sum() for y in model(maps, sizes_hw=[(33, 47)], padded_hw=padded).values()).backward()
    for stride, x in zip(STRIDES, maps.values(), strict=True):
        h, w = -(-33 // stride), -(-47 // stride)
        assert x.grad is not None
        assert x.grad[:, :, :h, :w].abs().sum() > 0
        assert x.grad[:, :, h:].abs().sum() + x.grad[:, :, :, w:].abs().sum() == 0
