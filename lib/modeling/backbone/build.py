"""Backbones by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import nn

from fpt.core.config_node import CfgNode
from fpt.layers.norm import FrozenBatchNorm2d, NormBuilder
from fpt.modeling.backbone.resnet import BLOCKS, ResNet
from fpt.modeling.backbone.torchvision_backbone import TorchvisionBackbone, check_torchvision_name
from fpt.modeling.settings import BackboneFactory, BackboneSettings, PixelValues
from fpt.utils.parts import unknown_part

FREEZE_ALL = 5


def make_resnet(settings: BackboneSettings, *, depth: int) -> ResNet:
    """The ResNet of a depth."""
    return ResNet(
        depth=depth,
        norm=_residual_norm(settings.norm, depth),
        stride_in_1x1=settings.stride_in_1x1,
        base_channels=settings.base_channels,
        freeze_at=settings.freeze_at,
    )


def make_torchvision_backbone(settings: BackboneSettings, name: str) -> TorchvisionBackbone:
    """A classification model of torchvision."""
    return TorchvisionBackbone(name=name, norm=settings.norm, freeze_at=settings.freeze_at)


BACKBONES: dict[str, BackboneFactory] = {
    "ResNet18_conv5_body": partial(make_resnet, depth=18),
    "ResNet34_conv5_body": partial(make_resnet, depth=34),
    "ResNet50_conv5_body": partial(make_resnet, depth=50),
    "ResNet101_conv5_body": partial(make_resnet, depth=101),
    "ResNet152_conv5_body": partial(make_resnet, depth=152),
}


class BackboneFamily(NamedTuple):
    """A collection of many models.

    Attributes:
        make: the factory; it gets the model's name, too.
        check_name: raises UserError where there is no model of a name.
        pixel_values: what the published weights of all of them expect.
    """

    make: Callable[[BackboneSettings, str], nn.Module]
    check_name: Callable[[str], None]
    pixel_values: PixelValues


BACKBONE_FAMILIES: dict[str, BackboneFamily] = {
    "torchvision": BackboneFamily(
        make_torchvision_backbone, check_torchvision_name, pixel_values=TorchvisionBackbone.pixel_values
    )
}
"""Collections by the first part of ``<family>.<model>``."""


def build_backbone(cfg: CfgNode, name: str, *, norm: NormBuilder) -> nn.Module:
    """The backbone of a name.

    Args:
        cfg: the whole configuration.
        name: of BACKBONES, or ``<family>.<model>``.
        norm: builder of GroupNorm.

    Raises:
        UserError: there is no such backbone.
    """
    settings = BackboneSettings(
        norm=norm if cfg.RESNETS.USE_GN else None,
        freeze_at=FREEZE_ALL if cfg.TRAIN.FREEZE_CONV_BODY else cfg.RESNETS.FREEZE_AT,
        stride_in_1x1=cfg.RESNETS.STRIDE_1X1,
        base_channels=cfg.RESNETS.BASE_CHANNELS,
    )
    return find_backbone(cfg, name)(settings)


def find_backbone(cfg: CfgNode, name: str) -> BackboneFactory:
    """The factory of the backbone of a name; UserError where there is none."""
    family, _, model = name.partition(".")
    if family in BACKBONE_FAMILIES:
        models = BACKBONE_FAMILIES[family]
        models.check_name(model)
        return lambda settings: models.make(settings, model)
    if name not in BACKBONES:
        option = f"MODEL.CONV_BODY is {cfg.MODEL.CONV_BODY!r}, [<neck>.]<backbone>[_fpt], and its backbone"
        raise unknown_part(backbone_names(), name, option=option)
    return BACKBONES[name]


def backbone_names() -> tuple[str, ...]:
    """Every name that there is."""
    return (*BACKBONES, *(f"{family}.<model>" for family in BACKBONE_FAMILIES))


def _residual_norm(norm: NormBuilder | None, depth: int) -> Callable[[int, bool], nn.Module]:
    """Frozen BatchNorm can't calm a sum of random branches: until weights are loaded, their ends are scaled down."""
    if norm is not None:
        return lambda channels, ends_branch: norm(channels)
    scale = sum(BLOCKS[depth]) ** -0.5
    return lambda channels, ends_branch: FrozenBatchNorm2d(channels, scale=scale if ends_branch else 1.0)
