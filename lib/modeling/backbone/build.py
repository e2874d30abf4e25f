"""Backbones by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import nn

from fpt.core.config_node import CfgNode
from fpt.layers.norm import FrozenBatchNorm2d, NormBuilder
from fpt.layers.sync_batch_norm import SyncBatchNorm2d
from fpt.modeling.backbone.resnet import BLOCKS, BlockSettings, ResNet
from fpt.modeling.backbone.torchvision_backbone import TorchvisionBackbone, check_torchvision_name
from fpt.modeling.settings import BackboneFactory, BackboneSettings, PixelValues
from fpt.utils.errors import UserError
from fpt.utils.parts import unknown_part

FREEZE_ALL = 5


def make_resnet(settings: BackboneSettings, *, depth: int, num_stages: int = 4) -> ResNet:
    """The ResNet or ResNeXt of a depth, whole or up to res4."""
    if depth < 50 and (settings.groups, settings.width_per_group) != (1, 64):
        raise UserError(
            f"RESNETS.NUM_GROUPS is {settings.groups} and WIDTH_PER_GROUP {settings.width_per_group}, but the blocks "
            f"of ResNet-{depth} have no groups: leave both out, or take a ResNet-50 or deeper"
        )
    return ResNet(
        depth=depth,
        settings=BlockSettings(
            norm=_residual_norm(settings.norm, depth),
            stride_in_1x1=settings.stride_in_1x1,
            groups=settings.groups,
            width_per_group=settings.width_per_group,
        ),
        base_channels=settings.base_channels,
        freeze_at=settings.freeze_at,
        num_stages=num_stages,
        res4_dilation=settings.res4_dilation,
        res5_dilation=settings.res5_dilation if num_stages == 4 else 1,
        multi_grid=settings.multi_grid,
        deep_stem=settings.deep_stem,
    )


def make_torchvision_backbone(settings: BackboneSettings, name: str) -> TorchvisionBackbone:
    """A classification model of torchvision."""
    if settings.deep_stem or settings.multi_grid:
        raise UserError(f"RESNETS.DEEP_STEM and MULTI_GRID are of the ResNets here; torchvision.{name} has neither")
    return TorchvisionBackbone(
        name=name,
        norm=settings.norm,
        freeze_at=settings.freeze_at,
        dilations=(settings.res4_dilation, settings.res5_dilation),
    )


BACKBONES: dict[str, BackboneFactory] = {
    **{f"ResNet{depth}_conv5_body": partial(make_resnet, depth=depth) for depth in BLOCKS},
    **{f"ResNet{depth}_conv4_body": partial(make_resnet, depth=depth, num_stages=3) for depth in BLOCKS},
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
        norm=norm if cfg.RESNETS.USE_GN else SyncBatchNorm2d if cfg.RESNETS.USE_SYNC_BN else None,
        freeze_at=FREEZE_ALL if cfg.TRAIN.FREEZE_CONV_BODY else cfg.RESNETS.FREEZE_AT,
        stride_in_1x1=cfg.RESNETS.STRIDE_1X1,
        base_channels=cfg.RESNETS.BASE_CHANNELS,
        groups=cfg.RESNETS.NUM_GROUPS,
        width_per_group=cfg.RESNETS.WIDTH_PER_GROUP,
        res4_dilation=cfg.RESNETS.RES4_DILATION,
        res5_dilation=cfg.RESNETS.RES5_DILATION,
        multi_grid=cfg.RESNETS.MULTI_GRID,
        deep_stem=cfg.RESNETS.DEEP_STEM,
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
