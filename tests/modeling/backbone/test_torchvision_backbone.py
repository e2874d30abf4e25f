"""Backbones of torchvision by name."""

from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from fpt.checkpoint.backbone_weights import load_backbone_weights
from fpt.layers.norm import FrozenBatchNorm2d, group_norm
from fpt.modeling.backbone.torchvision_backbone import TorchvisionBackbone
from fpt.utils.errors import UserError

NAMES = ("mobilenet_v2", "mobilenet_v3_large", "resnet18", "efficientnet_b0", "convnext_tiny", "regnet_y_400mf")


@pytest.mark.parametrize("name", NAMES)
def test_maps_have_the_four_strides(name: str) -> None:
    backbone = TorchvisionBackbone(name=name)
    with torch.no_grad():
        maps = backbone(torch.zeros(1, 3, 64, 96))
    assert list(maps) == ["res2", "res3", "res4", "res5"]
    for value, channels, stride in zip(maps.values(), backbone.out_channels, backbone.strides, strict=True):
        assert value.shape == (1, channels, 64 // stride, 96 // stride)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())


def test_last_map_is_what_the_model_pools() -> None:
    torch.manual_seed(0)
    model = torchvision.models.mobilenet_v2(weights=None).eval()
    backbone = TorchvisionBackbone(name="mobilenet_v2")
    backbone.load_state_dict(model.state_dict(), strict=False)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(x)["res5"], model.features(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18"])
def test_dilated_maps_hold_the_strided_ones(name: str) -> None:
    """Pretrained weights see in every fourth cell what they were trained on."""
    torch.manual_seed(0)
    plain, dilated = TorchvisionBackbone(name=name).eval(), TorchvisionBackbone(name=name, dilations=(2, 4)).eval()
    dilated.load_state_dict(plain.state_dict())
    x = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        expected, maps = plain(x), dilated(x)
    for level, step in (("res4", 2), ("res5", 4)):
        scale = expected[level].abs().max()
        assert (maps[level][..., ::step, ::step] - expected[level]).abs().max() <= 1e-4 * scale


def test_group_norm_and_gradients() -> None:
    torch.manual_seed(0)
    backbone = TorchvisionBackbone(name="mobilenet_v3_small", norm=group_norm, freeze_at=0)
    assert not any(isinstance(module, FrozenBatchNorm2d) for module in backbone.modules())
    sum(x.square().mean() for x in backbone(torch.randn(1, 3, 64, 64)).values()).backward()
    assert [name for name, p in backbone.named_parameters() if p.grad is None] == []


def test_freezing_stops_at_the_stage() -> None:
    backbone = TorchvisionBackbone(name="resnet18", freeze_at=2).train()
    trained = {name.split(".")[0] for name, p in backbone.named_parameters() if p.requires_grad}
    assert trained == {"layer2", "layer3", "layer4"}
    assert not backbone.layer1.training
    assert backbone.layer2.training
    frozen_stem = TorchvisionBackbone(name="resnet18", freeze_at=1)
    assert all(p.requires_grad for p in frozen_stem.layer1.parameters())
    assert not frozen_stem.conv1.weight.requires_grad


def test_meta_device_is_respected() -> None:
    with torch.device("meta"):
        backbone = TorchvisionBackbone(name="regnet_y_400mf")
    assert {tensor.device.type for tensor in (*backbone.parameters(), *backbone.buffers())} == {"meta"}


@pytest.mark.parametrize("dilations", [(1, 2), (2, 4)])
def test_a_model_of_even_kernels_is_not_dilated(dilations: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="torchvision's convnext_tiny cannot be dilated: .* even kernel at stride"):
        TorchvisionBackbone(name="convnext_tiny", dilations=dilations)


def test_unknown_name_and_unfit_model_are_explained() -> None:
    with pytest.raises(UserError, match="no model 'mobilenet_v9'; did you mean mobilenet_v"):
        TorchvisionBackbone(name="mobilenet_v9")
    with pytest.raises(UserError, match="vit_b_16 can't be a backbone: maps of strides 4, 8, 16 and 32 are needed"):
        TorchvisionBackbone(name="vit_b_16")


def test_real_weights_load(shared_weights: Path) -> None:
    backbone = TorchvisionBackbone(name="mobilenet_v2")
    report = load_backbone_weights(backbone, shared_weights / "mobilenet_v2-b0353104.pth")
    assert "classifier.1.weight" in report.ignored
    model = torchvision.models.mobilenet_v2(weights=None).eval()
    model.load_state_dict(torch.load(shared_weights / "mobilenet_v2-b0353104.pth", weights_only=True))
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(backbone(x)["res5"], model.features(x), atol=1e-4, rtol=1e-4)
