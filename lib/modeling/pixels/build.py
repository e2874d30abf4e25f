"""Order, means and standard deviations of the channels: as the options say, or as the weights expect them."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import torch
from torch import nn

from fpt.checkpoint.backbone_weights import expected_pixels
from fpt.core.config import resolve_weights_path
from fpt.core.config_node import CfgNode
from fpt.layers.norm import group_norm
from fpt.modeling.backbone.build import BACKBONE_FAMILIES, build_backbone
from fpt.modeling.backbone.resnet import ResNet
from fpt.modeling.backbone_name import parse_backbone_name
from fpt.modeling.neck.build import NECKS
from fpt.modeling.settings import PixelValues
from fpt.utils.errors import UserError

_LOGGER = logging.getLogger("fpt")

AUTO = "auto"
CAFFE = PixelValues("BGR", means=(102.9801, 115.9465, 122.7717), stds=(1.0, 1.0, 1.0))
"""What caffe's weights expect."""


def pixel_values(cfg: CfgNode, backbone: nn.Module | None = None) -> PixelValues:
    """What PIXEL_FORMAT, PIXEL_MEANS and PIXEL_STDS come to: the values given, and for `auto` what the weights expect.

    Weights of torchvision expect RGB images divided by ImageNet's standard deviations; those of caffe, and a backbone
    from scratch, BGR images minus the means. A backbone may say otherwise by its attribute ``pixel_values``.

    Args:
        cfg: the whole configuration.
        backbone: that of `cfg`; None = it is built for this, without memory for its weights.
    """
    expected = _expected(cfg, backbone)
    pixel_format = expected.pixel_format if cfg.PIXEL_FORMAT == AUTO else cfg.PIXEL_FORMAT
    means, stds = expected.means, expected.stds
    if pixel_format != expected.pixel_format:
        means, stds = (means[2], means[1], means[0]), (stds[2], stds[1], stds[0])
    return PixelValues(
        pixel_format,
        means=means if cfg.PIXEL_MEANS == AUTO else cfg.PIXEL_MEANS,
        stds=stds if cfg.PIXEL_STDS == AUTO else cfg.PIXEL_STDS,
    )


def warn_about_pixels(cfg: CfgNode, backbone: nn.Module) -> None:
    """Log when images are prepared as caffe's backbones expect them, and this one's weights expect another way."""
    expected, used = _expected(cfg, backbone), pixel_values(cfg, backbone)
    if used.pixel_format == "BGR" and all(std == 1 for std in used.stds) and expected.pixel_format == "RGB":
        _LOGGER.warning(
            "MODEL.CONV_BODY is %s, but the images are prepared as caffe backbones expect them. The weights of %s "
            "expect: PIXEL_FORMAT: %s, PIXEL_MEANS: %s, PIXEL_STDS: %s (auto sets this)",
            cfg.MODEL.CONV_BODY,
            type(backbone).__name__,
            expected.pixel_format,
            expected.means,
            expected.stds,
        )


def _expected(cfg: CfgNode, backbone: nn.Module | None) -> PixelValues:
    name = parse_backbone_name(cfg.MODEL.CONV_BODY, necks=NECKS).backbone
    family = BACKBONE_FAMILIES.get(name.partition(".")[0])
    if family is not None:
        return family.pixel_values
    backbone = _build_without_memory(cfg, name) if backbone is None else backbone
    values = getattr(backbone, "pixel_values", None)
    if isinstance(values, PixelValues):
        return values
    return PixelValues(*_pixels_of_weights(cfg)) if isinstance(backbone, ResNet) else CAFFE


def _build_without_memory(cfg: CfgNode, name: str) -> nn.Module:
    norm = partial(group_norm, num_groups=cfg.GROUP_NORM.NUM_GROUPS, eps=cfg.GROUP_NORM.EPSILON)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return build_backbone(cfg, name, norm=norm)


def _pixels_of_weights(cfg: CfgNode) -> tuple[Any, ...]:
    path = cfg.RESNETS.IMAGENET_PRETRAINED_WEIGHTS
    if not (path and cfg.MODEL.LOAD_IMAGENET_PRETRAINED_WEIGHTS):
        return CAFFE
    try:
        return expected_pixels(resolve_weights_path(cfg, path))
    except UserError:
        return expected_pixels(path)  # by its name: the file may be on another computer
