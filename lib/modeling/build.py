"""From the configuration to a model: the only file under modeling that reads it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from fpt.checkpoint.backbone_weights import load_backbone_weights
from fpt.core.config import resolve_weights_path
from fpt.core.config_node import CfgNode
from fpt.layers.norm import FrozenBatchNorm2d, NormBuilder, group_norm
from fpt.layers.sync_batch_norm import SyncBatchNorm2d
from fpt.modeling.backbone.resnet import BLOCKS, LEVELS, STRIDES, ResNet
from fpt.modeling.backbone.torchvision_backbone import TorchvisionBackbone
from fpt.modeling.backbone_name import BackboneName, parse_backbone_name
from fpt.modeling.detector import GeneralizedRCNN
from fpt.modeling.neck.compose import PyramidNeck
from fpt.modeling.neck.fpn import FeaturePyramid
from fpt.modeling.neck.fpt import FeaturePyramidTransformer
from fpt.modeling.normalizer import ImageNormalizer
from fpt.modeling.roi_heads.box_head import BoxPredictor, ConvBoxHead, MLPBoxHead
from fpt.modeling.roi_heads.mask_head import FullyConnectedMask, MaskHead
from fpt.modeling.roi_heads.pooler import RoIPooler
from fpt.modeling.roi_heads.postprocess import DetectionSettings
from fpt.modeling.roi_heads.roi_heads import MaskBranch, RoIHeads
from fpt.modeling.rpn.anchors import AnchorGenerator
from fpt.modeling.rpn.head import RPNHead
from fpt.modeling.rpn.proposals import ProposalSettings
from fpt.modeling.rpn.rpn import RegionProposalNetwork
from fpt.modeling.sampling import AnchorSampling, RoISampling
from fpt.structures.boxes import BoxCoder
from fpt.utils.errors import UserError

_LOGGER = logging.getLogger("fpt")

FREEZE_ALL = 5
FIRST_LEVEL = 2
LEVEL_NAMES: tuple[str, ...] = (*LEVELS, "p6")
LEVEL_STRIDES: tuple[int, ...] = (*STRIDES, 64)


def build_model(cfg: CfgNode, *, num_classes: int) -> GeneralizedRCNN:
    """The detector that the configuration describes, with random weights.

    Args:
        cfg: the whole configuration.
        num_classes: of the data set, background included.

    Raises:
        UserError: a name is unknown, or MODEL.NUM_CLASSES contradicts ``num_classes``.
    """
    if cfg.MODEL.NUM_CLASSES not in (0, num_classes):
        raise UserError(
            f"MODEL.NUM_CLASSES is {cfg.MODEL.NUM_CLASSES}, but the data set has {num_classes - 1} classes and the "
            f"background, {num_classes} in all; set it to 0 to take the number from the data set"
        )
    backbone = build_backbone(cfg)
    neck = build_neck(cfg, in_channels=backbone.out_channels)
    model = GeneralizedRCNN(
        normalizer=ImageNormalizer(
            pixel_format=cfg.PIXEL_FORMAT,
            means=cfg.PIXEL_MEANS,
            stds=cfg.PIXEL_STDS,
            divisor=cfg.FPN.COARSEST_STRIDE,
            is_channels_last=cfg.CHANNELS_LAST,
        ),
        backbone=backbone,
        neck=neck,
        rpn=build_rpn(cfg, in_channels=neck.out_channels),
        roi_heads=build_roi_heads(cfg, in_channels=neck.out_channels, num_classes=num_classes),
        num_classes=num_classes,
    )
    return model.to(memory_format=torch.channels_last) if cfg.CHANNELS_LAST else model


def load_pretrained_backbone(model: GeneralizedRCNN, cfg: CfgNode) -> None:
    """Start the backbone from RESNETS.IMAGENET_PRETRAINED_WEIGHTS, unless that is empty or switched off.

    Raises:
        UserError: the file is missing, unsafe or made for another backbone.
    """
    path = cfg.RESNETS.IMAGENET_PRETRAINED_WEIGHTS
    if not (cfg.MODEL.LOAD_IMAGENET_PRETRAINED_WEIGHTS and path):
        if cfg.RESNETS.FREEZE_AT or cfg.TRAIN.FREEZE_CONV_BODY or not cfg.RESNETS.USE_GN:
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
    load_backbone_weights(model.backbone, file)


def build_backbone(cfg: CfgNode) -> ResNet | TorchvisionBackbone:
    """The backbone of MODEL.CONV_BODY."""
    name = parse_backbone_name(cfg.MODEL.CONV_BODY)
    freeze_at = FREEZE_ALL if cfg.TRAIN.FREEZE_CONV_BODY else cfg.RESNETS.FREEZE_AT
    if name.resnet_depth is None:
        norm = _group_norm(cfg) if cfg.RESNETS.USE_GN else None
        return TorchvisionBackbone(name=name.torchvision_name or "", norm=norm, freeze_at=freeze_at)
    return ResNet(
        depth=name.resnet_depth,
        norm=_residual_norm(cfg, name.resnet_depth),
        stride_in_1x1=cfg.RESNETS.STRIDE_1X1,
        base_channels=cfg.RESNETS.BASE_CHANNELS,
        freeze_at=freeze_at,
    )


def build_neck(cfg: CfgNode, *, in_channels: tuple[int, ...]) -> PyramidNeck:
    """The base pyramid and the transformer of MODEL.CONV_BODY."""
    name = parse_backbone_name(cfg.MODEL.CONV_BODY)
    pyramid = FeaturePyramid(
        in_channels=in_channels,
        out_channels=cfg.FPN.DIM,
        top_down=name.pyramid != "BFP",
        bottom_up=name.pyramid == "BPA",
        norm=_group_norm(cfg) if cfg.FPN.USE_GN else None,
        zero_init_lateral=cfg.FPN.ZERO_INIT_LATERAL,
    )
    return PyramidNeck(
        pyramid=pyramid,
        transformer=_build_transformer(cfg, name, num_levels=len(in_channels)),
        has_p6=cfg.FPN.RPN_MAX_LEVEL == 6,
    )


def _build_transformer(cfg: CfgNode, name: BackboneName, *, num_levels: int) -> FeaturePyramidTransformer | None:
    if not name.has_transformer:
        return None
    options = cfg.MODEL.FPT
    norms: dict[str, NormBuilder | None] = {
        "GN": _group_norm(cfg),
        "BN": nn.BatchNorm2d,
        "SyncBN": SyncBatchNorm2d,
        "none": None,
    }
    return FeaturePyramidTransformer(
        in_channels=cfg.FPN.DIM,
        num_levels=num_levels,
        out_channels=cfg.FPN.DIM,
        key_channels=options.KEY_DIM or None,
        interactions=options.INTERACTIONS,
        num_mixtures_self=options.NUM_MIXTURES_SELF,
        num_mixtures_grounding=options.NUM_MIXTURES_GROUNDING,
        local_window=options.LOCAL_WINDOW,
        max_keys=options.MAX_KEYS,
        norm=norms[options.NORM],
        dropblock_size=options.DROPBLOCK_SIZE,
        dropblock_keep_prob=options.DROPBLOCK_KEEP_PROB,
    )


def build_rpn(cfg: CfgNode, *, in_channels: int) -> RegionProposalNetwork:
    """The region proposal network on levels FPN.RPN_MIN_LEVEL to RPN_MAX_LEVEL."""
    levels = _level_slice(cfg.FPN.RPN_MIN_LEVEL, cfg.FPN.RPN_MAX_LEVEL)
    strides = LEVEL_STRIDES[levels]
    anchor_generator = AnchorGenerator(
        sizes=[cfg.FPN.RPN_ANCHOR_START_SIZE * 2**index for index in range(len(strides))],
        aspect_ratios=cfg.FPN.RPN_ASPECT_RATIOS,
        strides=strides,
    )
    return RegionProposalNetwork(
        levels=LEVEL_NAMES[levels],
        head=RPNHead(in_channels=in_channels, num_anchors=anchor_generator.num_anchors),
        anchor_generator=anchor_generator,
        sampling=AnchorSampling(
            positive_iou=cfg.TRAIN.RPN_POSITIVE_OVERLAP,
            negative_iou=cfg.TRAIN.RPN_NEGATIVE_OVERLAP,
            num_samples=cfg.TRAIN.RPN_BATCH_SIZE_PER_IM,
            positive_fraction=cfg.TRAIN.RPN_FG_FRACTION,
            straddle_threshold=cfg.TRAIN.RPN_STRADDLE_THRESH,
            crowd_threshold=cfg.TRAIN.CROWD_FILTER_THRESH,
        ),
        training_settings=_proposal_settings(cfg.TRAIN),
        test_settings=_proposal_settings(cfg.TEST),
    )


def _proposal_settings(phase: CfgNode) -> ProposalSettings:
    return ProposalSettings(
        pre_nms_top_n=phase.RPN_PRE_NMS_TOP_N,
        post_nms_top_n=phase.RPN_POST_NMS_TOP_N,
        nms_threshold=phase.RPN_NMS_THRESH,
        min_size=phase.RPN_MIN_SIZE,
    )


def build_roi_heads(cfg: CfgNode, *, in_channels: int, num_classes: int) -> RoIHeads:
    """The box head, and the mask branch if MODEL.MASK_ON."""
    head_name = cfg.FAST_RCNN.ROI_BOX_HEAD
    pooler = _build_pooler(cfg, cfg.FAST_RCNN, is_adaptive=head_name.endswith("_fptnet"))
    head = BOX_HEADS[head_name](cfg, in_channels, pooler.num_outputs)
    return RoIHeads(
        box_pooler=pooler,
        box_head=head,
        box_predictor=BoxPredictor(
            in_channels=head.out_channels,
            num_classes=num_classes,
            is_class_agnostic=cfg.MODEL.CLS_AGNOSTIC_BBOX_REG,
        ),
        box_coder=BoxCoder(weights=cfg.MODEL.BBOX_REG_WEIGHTS),
        sampling=RoISampling(
            num_samples=cfg.TRAIN.BATCH_SIZE_PER_IM,
            foreground_fraction=cfg.TRAIN.FG_FRACTION,
            foreground_iou=cfg.TRAIN.FG_THRESH,
            background_high=cfg.TRAIN.BG_THRESH_HI,
            background_low=cfg.TRAIN.BG_THRESH_LO,
            crowd_threshold=cfg.TRAIN.CROWD_FILTER_THRESH,
        ),
        detection_settings=DetectionSettings(
            score_threshold=cfg.TEST.SCORE_THRESH,
            nms_threshold=cfg.TEST.NMS,
            max_detections=cfg.TEST.DETECTIONS_PER_IM,
            has_regression=cfg.TEST.BBOX_REG,
        ),
        mask_branch=_build_mask_branch(cfg, in_channels, num_classes) if cfg.MODEL.MASK_ON else None,
    )


def _build_mask_branch(cfg: CfgNode, in_channels: int, num_classes: int) -> MaskBranch:
    num_convs, has_norm, is_adaptive, has_fully_connected = MASK_HEADS[cfg.MRCNN.ROI_MASK_HEAD]
    pooler = _build_pooler(cfg, cfg.MRCNN, is_adaptive=is_adaptive)
    norm = _group_norm(cfg) if has_norm else None
    fully_connected = None
    if has_fully_connected:
        fully_connected = FullyConnectedMask(
            channels=cfg.MRCNN.DIM_REDUCED,
            resolution=cfg.MRCNN.ROI_XFORM_RESOLUTION,
            norm=norm,
            init=cfg.MRCNN.CONV_INIT,
        )
    head = MaskHead(
        in_channels=in_channels,
        channels=cfg.MRCNN.DIM_REDUCED,
        num_convs=num_convs,
        num_masks=num_classes if cfg.MRCNN.CLS_SPECIFIC_MASK else 1,
        num_inputs=pooler.num_outputs,
        norm=norm,
        dilation=cfg.MRCNN.DILATION,
        init=cfg.MRCNN.CONV_INIT,
        fully_connected=fully_connected,
    )
    return MaskBranch(pooler=pooler, head=head, loss_weight=cfg.MRCNN.WEIGHT_LOSS_MASK)


def _build_pooler(cfg: CfgNode, options: CfgNode, *, is_adaptive: bool) -> RoIPooler:
    levels = _level_slice(cfg.FPN.ROI_MIN_LEVEL, cfg.FPN.ROI_MAX_LEVEL)
    return RoIPooler(
        levels=LEVEL_NAMES[levels],
        strides=LEVEL_STRIDES[levels],
        output_size=options.ROI_XFORM_RESOLUTION,
        sampling_ratio=options.ROI_XFORM_SAMPLING_RATIO,
        is_adaptive=is_adaptive,
        first_level=cfg.FPN.ROI_MIN_LEVEL,
        canonical_scale=cfg.FPN.ROI_CANONICAL_SCALE,
        canonical_level=cfg.FPN.ROI_CANONICAL_LEVEL,
    )


def _build_mlp_head(cfg: CfgNode, in_channels: int, num_inputs: int, *, has_norm: bool) -> MLPBoxHead:
    return MLPBoxHead(
        in_channels=in_channels,
        resolution=cfg.FAST_RCNN.ROI_XFORM_RESOLUTION,
        hidden_channels=cfg.FAST_RCNN.MLP_HEAD_DIM,
        num_inputs=num_inputs,
        norm=_group_norm(cfg) if has_norm else None,
    )


def _build_conv_head(cfg: CfgNode, in_channels: int, num_inputs: int, *, has_norm: bool) -> ConvBoxHead:
    return ConvBoxHead(
        in_channels=in_channels,
        resolution=cfg.FAST_RCNN.ROI_XFORM_RESOLUTION,
        conv_channels=cfg.FAST_RCNN.CONV_HEAD_DIM,
        num_convs=cfg.FAST_RCNN.NUM_STACKED_CONVS,
        hidden_channels=cfg.FAST_RCNN.MLP_HEAD_DIM,
        num_inputs=num_inputs,
        norm=_group_norm(cfg) if has_norm else None,
    )


BOX_HEADS: dict[str, Callable[[CfgNode, int, int], MLPBoxHead | ConvBoxHead]] = {
    "fast_rcnn_heads.roi_2mlp_head": partial(_build_mlp_head, has_norm=False),
    "fast_rcnn_heads.roi_2mlp_head_gn": partial(_build_mlp_head, has_norm=True),
    "fast_rcnn_heads.roi_2mlp_head_gn_fptnet": partial(_build_mlp_head, has_norm=True),
    "fast_rcnn_heads.roi_Xconv1fc_head": partial(_build_conv_head, has_norm=False),
    "fast_rcnn_heads.roi_Xconv1fc_gn_head": partial(_build_conv_head, has_norm=True),
    "fast_rcnn_heads.roi_Xconv1fc_gn_head_fptnet": partial(_build_conv_head, has_norm=True),
}

MASK_HEADS: dict[str, tuple[int, bool, bool, bool]] = {
    # convolutions, GroupNorm, adaptive feature pooling, fully connected branch
    "mask_rcnn_heads.mask_rcnn_fcn_head_v1up": (2, False, False, False),
    "mask_rcnn_heads.mask_rcnn_fcn_head_v1up4convs": (4, False, False, False),
    "mask_rcnn_heads.mask_rcnn_fcn_head_v1up4convs_gn": (4, True, False, False),
    "mask_rcnn_heads.mask_rcnn_fcn_head_v1up4convs_gn_adp": (4, True, True, False),
    "mask_rcnn_heads.mask_rcnn_fcn_head_v1up4convs_gn_adp_ff": (4, True, True, True),
}


def _level_slice(low: int, high: int) -> slice:
    return slice(low - FIRST_LEVEL, high - FIRST_LEVEL + 1)


def _group_norm(cfg: CfgNode) -> NormBuilder:
    return partial(group_norm, num_groups=cfg.GROUP_NORM.NUM_GROUPS, eps=cfg.GROUP_NORM.EPSILON)


def _residual_norm(cfg: CfgNode, depth: int) -> Callable[[int, bool], nn.Module]:
    """Frozen BatchNorm can't calm a sum of random branches: until weights are loaded, their ends are scaled down."""
    if cfg.RESNETS.USE_GN:
        norm = _group_norm(cfg)
        return lambda channels, ends_branch: norm(channels)
    scale = sum(BLOCKS[depth]) ** -0.5
    return lambda channels, ends_branch: FrozenBatchNorm2d(channels, scale=scale if ends_branch else 1.0)
