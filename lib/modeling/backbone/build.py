"""Backbones by name."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from torch import nn

from fpt.core.config_node import CfgNode
from fpt.layers.norm import FrozenBatchNorm2d, NormBuilder
from fpt.modeling.backbone.resnet import BLOCKS, ResNet
from fpt.modeling.backbone.torchvision_backbone import TorchvisionBackbone
from fpt.modeling.settings import BackboneFactory, BackboneSettings, PixelValues
from fpt.utils.parts import unknown_part

_LOGGER = logging.getLogger("fpt")

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

BACKBONE_FAMILIES: dict[str, Callable[[BackboneSettings, str], nn.Module]] = {
    "torchvision": make_torchvision_backbone,
}
"""Collections of many models: ``<family>.<model>``; the factory gets the model's name."""


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
    family, _, model = name.partition(".")
    if family in BACKBONE_FAMILIES:
        backbone = BACKBONE_FAMILIES[family](settings, model)
    elif name in BACKBONES:
        backbone = BACKBONES[name](settings)
    else:
        option = f"MODEL.CONV_BODY is {cfg.MODEL.CONV_BODY!r}, [<neck>.]<backbone>[_fpt], and its backbone"
        raise unknown_part(backbone_names(), name, option=option)
    _warn_about_pixels(cfg, backbone)
    return backbone


def backbone_names() -> tuple[str, ...]:
    """Every name that there is."""
    return (*BACKBONES, *(f"{family}.<model>" for family in BACKBONE_FAMILIES))


def _residual_norm(norm: NormBuilder | None, depth: int) -> Callable[[int, bool], nn.Module]:
    """Frozen BatchNorm can't calm a sum of random branches: until weights are loaded, their ends are scaled down."""
    if norm is not None:
        return lambda channels, ends_branch: norm(channels)
    scale = sum(BLOCKS[depth]) ** -0.5
    return lambda channels, ends_branch: FrozenBatchNorm2d(channels, scale=scale if ends_branch else 1.0)


def _warn_about_pixels(cfg: CfgNode, backbone: nn.Module) -> None:
    """Log when images are prepared as caffe backbones expect them, and this one's weights expect another way."""
    values = getattr(backbone, "pixel_values", None)
    is_caffe_like = cfg.PIXEL_FORMAT == "BGR" and all(std == 1 for std in cfg.PIXEL_STDS)
    if isinstance(values, PixelValues) and is_caffe_like and values.pixel_format == "RGB":
        _LOGGER.warning(
            "MODEL.CONV_BODY is %s, but the images are prepared as caffe backbones expect them. The weights of %s "
            "expect: PIXEL_FORMAT: %s, PIXEL_MEANS: %s, PIXEL_STDS: %s",
            cfg.MODEL.CONV_BODY,
            type(backbone).__name__,
            values.pixel_format,
            values.means,
            values.stds,
        )
