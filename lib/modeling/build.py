"""From the configuration to a model. Under modeling only the files build.py read it; each part has its own."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn

from fpt.checkpoint.backbone_weights import load_backbone_weights
from fpt.core.config import resolve_weights_path
from fpt.core.config_node import CfgNode
from fpt.layers.norm import group_norm
from fpt.modeling.backbone.build import build_backbone, find_backbone
from fpt.modeling.backbone.resnet import LEVELS, ResNet
from fpt.modeling.backbone_name import parse_backbone_name
from fpt.modeling.detector import Detector, GeneralizedRCNN
from fpt.modeling.levels import channels_of, strides_of
from fpt.modeling.neck.build import NECKS, build_neck, norms
from fpt.modeling.normalizer import ImageNormalizer
from fpt.modeling.pixels.build import pixel_values, warn_about_pixels
from fpt.modeling.proposal_network import ProposalNetwork
from fpt.modeling.retinanet.build import build_retinanet
from fpt.modeling.roi_heads.build import build_roi_heads, check_head_names
from fpt.modeling.roi_heads.conv5_head import Conv5BoxHead
from fpt.modeling.rpn.build import build_rpn
from fpt.modeling.semantic.build import build_segmentor
from fpt.modeling.semantic.segmentor import SemanticSegmentor
from fpt.modeling.settings import CONVENTIONS, PixelValues, Res5
from fpt.utils.errors import UserError

_LOGGER = logging.getLogger("fpt")


Model = Detector | SemanticSegmentor
AnyModel = TypeVar("AnyModel", bound=nn.Module)


def build_model(cfg: CfgNode, *, num_classes: int) -> Model:
    """The model that the configuration describes, with random weights.

    Args:
        cfg: the whole configuration.
        num_classes: of the data set, background included; a segmentor has no such class, and one less.

    Raises:
        UserError: a name is unknown, parts don't fit together, or MODEL.NUM_CLASSES contradicts ``num_classes``.
    """
    if cfg.MODEL.NUM_CLASSES not in (0, num_classes):
        raise UserError(
            f"MODEL.NUM_CLASSES is {cfg.MODEL.NUM_CLASSES}, but the data set has {num_classes - 1} classes and the "
            f"background, {num_classes} in all; set it to 0 to take the number from the data set"
        )
    norm = partial(group_norm, num_groups=cfg.GROUP_NORM.NUM_GROUPS, eps=cfg.GROUP_NORM.EPSILON)
    name = parse_backbone_name(cfg.MODEL.CONV_BODY, necks=NECKS)
    backbone = build_backbone(cfg, name.backbone, norm=norm)
    warn_about_pixels(cfg, backbone)
    strides = strides_of(backbone, name=f"backbone {name.backbone}")
    channels = channels_of(backbone, num_maps=len(strides), name=f"backbone {name.backbone}")
    neck = build_neck(cfg, name, in_channels=channels, strides=strides, norm=norm)
    if cfg.MODEL.TYPE == "semantic_segmentor":
        segmentor = build_segmentor(
            cfg,
            num_classes=num_classes - 1,
            norm=norms(norm)[cfg.SEMANTIC.NORM],
            neck=neck,
            backbone_channels=channels,
            normalizer=_build_normalizer(cfg, pixel_values(cfg, backbone), divisor=1),
            backbone=backbone,
        )
        return _in_format(segmentor, cfg)
    _check_padding(cfg, strides[-1])
    parts: dict[str, Any] = {
        "normalizer": _build_normalizer(cfg, pixel_values(cfg, backbone), divisor=cfg.FPN.COARSEST_STRIDE),
        "backbone": backbone,
        "neck": neck,
        "has_inclusive_corners": CONVENTIONS[cfg.MODEL.LEGACY].inclusive_corners,
        "hides_padding": CONVENTIONS[cfg.MODEL.LEGACY].hides_padding,
    }
    maps: dict[str, Any] = {"in_channels": neck.out_channels, "strides": neck.strides}
    if cfg.RETINANET.RETINANET_ON:
        model: Detector = build_retinanet(cfg, num_classes=num_classes, norm=norm, **maps, **parts)
    elif cfg.MODEL.RPN_ONLY:
        model = ProposalNetwork(rpn=build_rpn(cfg, **maps), num_classes=num_classes, **parts)
    else:
        has_files = cfg.TRAIN.PROPOSAL_FILES or cfg.TEST.PROPOSAL_FILES
        res5 = _missing_res5(backbone, strides)
        model = GeneralizedRCNN(
            rpn=None if has_files else build_rpn(cfg, **maps),
            roi_heads=build_roi_heads(cfg, num_classes=num_classes, norm=norm, res5=res5, **maps),
            num_classes=num_classes,
            **parts,
        )
    return _in_format(model, cfg)


def _check_padding(cfg: CfgNode, coarsest_stride: int) -> None:
    if cfg.FPN.COARSEST_STRIDE % coarsest_stride:
        raise UserError(
            f"FPN.COARSEST_STRIDE is {cfg.FPN.COARSEST_STRIDE}, but must be a multiple of {coarsest_stride}, the "
            "stride of the backbone's coarsest map"
        )


def _in_format(model: AnyModel, cfg: CfgNode) -> AnyModel:
    return model.to(memory_format=torch.channels_last) if cfg.CHANNELS_LAST else model


def _missing_res5(backbone: nn.Module, strides: tuple[int, ...]) -> Res5 | None:
    """The stage that heads may run where the backbone ends at res4."""
    if not isinstance(backbone, ResNet) or len(strides) == len(LEVELS):
        return None
    return Res5(backbone.make_res5, backbone.res5_channels)


def check_part_names(cfg: CfgNode) -> None:
    """Raise UserError where MODEL.CONV_BODY or the option of a head names a part that there is not."""
    find_backbone(cfg, parse_backbone_name(cfg.MODEL.CONV_BODY, necks=NECKS).backbone)
    if not (cfg.MODEL.TYPE == "semantic_segmentor" or cfg.RETINANET.RETINANET_ON or cfg.MODEL.RPN_ONLY):
        check_head_names(cfg)


def load_pretrained_backbone(model: Model, cfg: CfgNode) -> None:
    """Start the backbone from RESNETS.IMAGENET_PRETRAINED_WEIGHTS, unless that is empty or switched off.

    Raises:
        UserError: the file is missing, unsafe or made for another backbone.
    """
    path = cfg.RESNETS.IMAGENET_PRETRAINED_WEIGHTS
    if not (cfg.MODEL.LOAD_IMAGENET_PRETRAINED_WEIGHTS and path):
        if cfg.RESNETS.FREEZE_AT or cfg.TRAIN.FREEZE_CONV_BODY or not (cfg.RESNETS.USE_GN or cfg.RESNETS.USE_SYNC_BN):
            _LOGGER.warning(
                "the backbone starts from random weights; to train all of it: --set RESNETS.FREEZE_AT 0 "
                "RESNETS.USE_GN True"
            )
        return
    try:
        file = resolve_weights_path(cfg, path)
    except UserError as error:
        raise UserError(
            f"RESNETS.IMAGENET_PRETRAINED_WEIGHTS: {error}; to start from random weights instead: "
            "--set MODEL.LOAD_IMAGENET_PRETRAINED_WEIGHTS False"
        ) from error
    load_backbone_weights(_whole_network(model), file)
    _copy_res5_to_masks(model)


def _whole_network(model: Model) -> nn.Module:
    """The backbone, with the res5 of the box head as its ``layer4`` where it stands there."""
    if not isinstance(model, GeneralizedRCNN) or not isinstance(model.roi_heads.box_head, Conv5BoxHead):
        return model.backbone
    network = nn.Module()
    for name, child in (*model.backbone.named_children(), ("layer4", model.roi_heads.box_head.res5)):
        network.add_module(name, child)
    return network


def _copy_res5_to_masks(model: Model) -> None:
    """Start a res5 that the mask head has for itself (v0up) as that of the box head."""
    if not isinstance(model, GeneralizedRCNN):
        return
    branch, box_head = model.roi_heads.mask_branch, model.roi_heads.box_head
    own = getattr(branch.head, "res5", None) if branch is not None else None
    if own is not None and isinstance(box_head, Conv5BoxHead):
        own.load_state_dict(box_head.res5.state_dict())


def _build_normalizer(cfg: CfgNode, pixels: PixelValues, *, divisor: int) -> ImageNormalizer:
    return ImageNormalizer(
        pixel_format=pixels.pixel_format,
        means=pixels.means,
        stds=pixels.stds,
        divisor=divisor,
        is_channels_last=cfg.CHANNELS_LAST,
    )
