"""RetinaNet of the configuration."""

from __future__ import annotations

from typing import Any

from fpt.core.config_node import CfgNode
from fpt.layers.norm import NormBuilder
from fpt.modeling.levels import select_levels
from fpt.modeling.retinanet.head import RetinaNetHead
from fpt.modeling.retinanet.losses import RetinaNetLosses
from fpt.modeling.retinanet.retinanet import RetinaNet, RetinaNetSettings
from fpt.modeling.rpn.anchors import AnchorGenerator
from fpt.modeling.sampling import AnchorSampling
from fpt.modeling.settings import CONVENTIONS


def build_retinanet(
    cfg: CfgNode, *, in_channels: int, strides: tuple[int, ...], num_classes: int, norm: NormBuilder, **parts: Any
) -> RetinaNet:
    """The head on levels FPN.RPN_MIN_LEVEL to RPN_MAX_LEVEL, and the rest of the model.

    Args:
        cfg: the whole configuration.
        in_channels: channels of each map of the neck.
        strides: their strides, finest first.
        num_classes: background included.
        norm: builder of GroupNorm.
        parts: what Detector takes besides.

    Raises:
        UserError: the neck has no such level.
    """
    options, conventions = cfg.RETINANET, CONVENTIONS[cfg.MODEL.LEGACY]
    levels = select_levels(
        strides,
        low=cfg.FPN.RPN_MIN_LEVEL,
        high=cfg.FPN.RPN_MAX_LEVEL,
        options="FPN.RPN_MIN_LEVEL to FPN.RPN_MAX_LEVEL",
    )
    octaves = [2 ** (index / options.SCALES_PER_OCTAVE) for index in range(options.SCALES_PER_OCTAVE)]
    sizes = [[options.ANCHOR_SCALE * strides[level] * octave for octave in octaves] for level in levels]
    if conventions.anchor_rounding == "torchvision":
        sizes = [[int(size) for size in level] for level in sizes]
    anchor_generator = AnchorGenerator(
        sizes=sizes,
        aspect_ratios=options.ASPECT_RATIOS,
        strides=[strides[level] for level in levels],
        rounding=conventions.anchor_rounding,
        offset=conventions.anchor_offset,
    )
    return RetinaNet(
        levels=levels,
        head=RetinaNetHead(
            in_channels=in_channels,
            num_anchors=anchor_generator.num_anchors,
            num_classes=num_classes - 1,
            num_convs=options.NUM_CONVS,
            prior=options.PRIOR_PROB,
            shares_tower=options.SHARE_CLS_BBOX_TOWER,
            norm=norm if options.USE_GN else None,
        ),
        anchor_generator=anchor_generator,
        loss=RetinaNetLosses(
            sampling=_sampling(cfg),
            alpha=options.LOSS_ALPHA,
            gamma=options.LOSS_GAMMA,
            box_weight=options.BBOX_REG_WEIGHT,
            box_beta=options.BBOX_REG_BETA,
            over_batch=cfg.MODEL.LEGACY == "detectron",
        ),
        settings=RetinaNetSettings(
            score_threshold=cfg.TEST.SCORE_THRESH,
            pre_nms_top_n=options.PRE_NMS_TOP_N,
            nms_threshold=cfg.TEST.NMS,
            max_detections=cfg.TEST.DETECTIONS_PER_IM,
        ),
        num_classes=num_classes,
        **parts,
    )


def _sampling(cfg: CfgNode) -> AnchorSampling:
    return AnchorSampling(
        positive_iou=cfg.RETINANET.POSITIVE_OVERLAP,
        negative_iou=cfg.RETINANET.NEGATIVE_OVERLAP,
        straddle_threshold=-1,
        crowd_threshold=cfg.TRAIN.CROWD_FILTER_THRESH or 1.0,
    )
