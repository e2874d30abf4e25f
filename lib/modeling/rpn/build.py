"""The region proposal network of the configuration."""

from __future__ import annotations

from fpt.core.config_node import CfgNode
from fpt.modeling.levels import select_levels
from fpt.modeling.rpn.anchors import AnchorGenerator
from fpt.modeling.rpn.head import RPNHead
from fpt.modeling.rpn.proposals import ProposalSettings
from fpt.modeling.rpn.rpn import RegionProposalNetwork
from fpt.modeling.sampling import AnchorSampling
from fpt.modeling.settings import CONVENTIONS
from fpt.utils.errors import UserError


def build_rpn(cfg: CfgNode, *, in_channels: int, strides: tuple[int, ...]) -> RegionProposalNetwork:
    """The region proposal network on levels FPN.RPN_MIN_LEVEL to RPN_MAX_LEVEL, or on the only map.

    Args:
        cfg: the whole configuration.
        in_channels: channels of each map of the neck.
        strides: their strides, finest first.

    Raises:
        UserError: the neck has no such level, or RPN.STRIDE is not that of the only map.
    """
    levels, anchor_generator = _build_anchors(cfg, strides)
    conventions = CONVENTIONS[cfg.MODEL.LEGACY]
    over_batch = conventions.proposals_over_batch and len(strides) > 1  # Detectron collects levels, not a single map
    return RegionProposalNetwork(
        levels=levels,
        head=RPNHead(
            in_channels=in_channels,
            num_anchors=anchor_generator.num_anchors,
            channels=None if cfg.RPN.OUT_DIM_AS_IN_DIM else cfg.RPN.OUT_DIM,
        ),
        anchor_generator=anchor_generator,
        sampling=AnchorSampling(
            positive_iou=cfg.TRAIN.RPN_POSITIVE_OVERLAP,
            negative_iou=cfg.TRAIN.RPN_NEGATIVE_OVERLAP,
            num_samples=cfg.TRAIN.RPN_BATCH_SIZE_PER_IM,
            positive_fraction=cfg.TRAIN.RPN_FG_FRACTION,
            straddle_threshold=cfg.TRAIN.RPN_STRADDLE_THRESH,
            crowd_threshold=cfg.TRAIN.CROWD_FILTER_THRESH or 1.0,
        ),
        training_settings=_proposal_settings(cfg.TRAIN, over_batch=over_batch),
        test_settings=_proposal_settings(cfg.TEST),
        losses_over_batch=conventions.over_batch,
    )


def _build_anchors(cfg: CfgNode, strides: tuple[int, ...]) -> tuple[tuple[int, ...], AnchorGenerator]:
    """Positions of the levels that the network looks at, and their anchors."""
    conventions = CONVENTIONS[cfg.MODEL.LEGACY]
    if len(strides) == 1:
        if cfg.RPN.STRIDE not in (0, strides[0]):
            raise UserError(
                f"RPN.STRIDE is {cfg.RPN.STRIDE}, but the map of MODEL.CONV_BODY {cfg.MODEL.CONV_BODY} has stride "
                f"{strides[0]}: leave RPN.STRIDE out"
            )
        options = cfg.RPN
        return (0,), AnchorGenerator(
            sizes=[options.SIZES],
            aspect_ratios=options.ASPECT_RATIOS,
            strides=strides,
            rounding=conventions.anchor_rounding,
            offset=conventions.anchor_offset,
        )
    levels = select_levels(
        strides,
        low=cfg.FPN.RPN_MIN_LEVEL,
        high=cfg.FPN.RPN_MAX_LEVEL,
        options="FPN.RPN_MIN_LEVEL to FPN.RPN_MAX_LEVEL",
    )
    return levels, AnchorGenerator(
        sizes=[(cfg.FPN.RPN_ANCHOR_START_SIZE * 2**index,) for index in range(len(levels))],
        aspect_ratios=cfg.FPN.RPN_ASPECT_RATIOS,
        strides=[strides[level] for level in levels],
        rounding=conventions.anchor_rounding,
        offset=conventions.anchor_offset,
    )


def _proposal_settings(phase: CfgNode, *, over_batch: bool = False) -> ProposalSettings:
    return ProposalSettings(
        pre_nms_top_n=phase.RPN_PRE_NMS_TOP_N,
        post_nms_top_n=phase.RPN_POST_NMS_TOP_N,
        nms_threshold=phase.RPN_NMS_THRESH or 1.0,
        min_size=phase.RPN_MIN_SIZE,
        over_batch=over_batch,
    )
