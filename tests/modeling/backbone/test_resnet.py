"""The ResNet against torchvision's."""

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from fpt.layers.norm import FrozenBatchNorm2d, group_norm
from fpt.modeling.backbone.resnet import BlockSettings, ResNet


def _frozen(channels: int, ends_branch: bool) -> nn.Module:
    return FrozenBatchNorm2d(channels, scale=0.5 if ends_branch else 1.0)


def _grouped(channels: int, ends_branch: bool) -> nn.Module:
    return group_norm(channels)


def _tiny(norm=_grouped, *, stride_in_1x1: bool = False, **options) -> ResNet:
    settings = BlockSettings(norm=norm, stride_in_1x1=stride_in_1x1)
    return ResNet(
        depth=options.pop("depth", 50), settings=settings, base_channels=8, num_blocks=(1, 1, 2, 1), **options
    )


@pytest.mark.parametrize(("depth", "name"), [(18, "resnet18"), (50, "resnet50")])
def test_maps_equal_torchvisions(depth: int, name: str) -> None:
    torch.manual_seed(0)
    reference = torchvision.models.get_model(name, weights=None)
    for module in reference.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1)
    extractor = create_feature_extractor(
        reference.eval(), {f"layer{index}": f"res{index + 1}" for index in range(1, 5)}
    )
    backbone = ResNet(depth=depth, settings=BlockSettings(norm=_frozen))
    result = backbone.load_state_dict(reference.state_dict(), strict=False)
    assert result.missing_keys == []
    assert all(name.startswith("fc.") or name.endswith("num_batches_tracked") for name in result.unexpected_keys)
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        maps, expected = backbone(x), extractor(x)
    assert list(maps) == list(expected)
    for index, (level, value) in enumerate(maps.items()):
        torch.testing.assert_close(value, expected[level], atol=1e-4, rtol=1e-4)
        assert value.shape[1] == backbone.out_channels[index]
        assert value.shape[2] == 64 // backbone.strides[index]


@pytest.mark.parametrize("depth", [34, 50])
@pytest.mark.parametrize("norm", [_frozen, _grouped])
def test_gradient_reaches_every_parameter(depth: int, norm) -> None:
    torch.manual_seed(0)
    backbone = _tiny(norm, depth=depth, freeze_at=0)
    sum(x.square().mean() for x in backbone(torch.randn(2, 3, 64, 64)).values()).backward()
    assert [name for name, p in backbone.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(("stride_in_1x1", "strides"), [(True, ((2, 2), (1, 1))), (False, ((1, 1), (2, 2)))])
def test_stride_is_where_the_weights_want_it(stride_in_1x1: bool, strides) -> None:
    block = _tiny(stride_in_1x1=stride_in_1x1).layer3[0]
    assert (block.conv1.stride, block.conv2.stride) == strides


@pytest.mark.parametrize("freeze_at", range(6))
def test_frozen_parts_stay_frozen(freeze_at: int) -> None:
    backbone = _tiny(freeze_at=freeze_at).train()
    parts = [[backbone.conv1, backbone.bn1], [backbone.layer1], [backbone.layer2], [backbone.layer3], [backbone.layer4]]
    for index, part in enumerate(parts):
        for module in part:
            assert module.training == (index >= freeze_at)
            assert all(p.requires_grad == (index >= freeze_at) for p in module.parameters())
    maps = backbone(torch.randn(1, 3, 32, 32))
    assert maps["res5"].requires_grad == (freeze_at < 5)


def test_random_frozen_network_does_not_explode() -> None:
    torch.manual_seed(0)
    norm = lambda channels, ends: FrozenBatchNorm2d(channels, scale=16**-0.5 if ends else 1.0)  # noqa: E731
    backbone = ResNet(depth=50, settings=BlockSettings(norm=norm))
    with torch.no_grad():
        maps = backbone(torch.randn(1, 3, 64, 64))
    assert 0.01 < maps["res5"].std().item() < 10
