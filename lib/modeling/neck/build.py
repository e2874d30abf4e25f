"""Necks by name, and the transformer after them."""

from __future__ import annotations

import math
from functools import partial

from torch import nn

from fpt.core.config_node import CfgNode
from fpt.layers.norm import NormBuilder
from fpt.layers.sync_batch_norm import SyncBatchNorm2d
from fpt.modeling.backbone_name import BackboneName
from fpt.modeling.levels import strides_of
from fpt.modeling.neck.compose import CoarsestMap, ExtraLevels, PyramidNeck
from fpt.modeling.neck.fpn import FeaturePyramid
from fpt.modeling.neck.fpt import FeaturePyramidTransformer
from fpt.modeling.neck.fusion import ADDED
from fpt.modeling.neck.uniform import AtrousPyramid, PoolingPyramid, UnscathedPyramid
from fpt.modeling.settings import NeckFactory, NeckSettings
from fpt.utils.errors import UserError
from fpt.utils.parts import find_part


def make_coarsest_map(settings: NeckSettings) -> CoarsestMap:
    """No pyramid: the backbone's coarsest map."""
    return CoarsestMap(channels=settings.in_channels[-1], stride=settings.strides[-1])


def make_finest_map(settings: NeckSettings) -> FeaturePyramid:
    """The finest map of an FPN alone."""
    pyramid = FeaturePyramid(
        in_channels=settings.in_channels,
        out_channels=settings.out_channels,
        norm=settings.norm,
        zero_init_lateral=settings.zero_init_lateral,
        finest_only=True,
    )
    pyramid.strides = settings.strides[:1]  # type: ignore[assignment]
    return pyramid


def make_feature_pyramid(settings: NeckSettings, *, top_down: bool = True, bottom_up: bool = False) -> FeaturePyramid:
    """The base pyramids of the paper."""
    return FeaturePyramid(
        in_channels=settings.in_channels,
        out_channels=settings.out_channels,
        top_down=top_down,
        bottom_up=bottom_up,
        norm=settings.norm,
        zero_init_lateral=settings.zero_init_lateral,
    )


def make_unscathed_pyramid(settings: NeckSettings) -> UnscathedPyramid:
    """UFP on the backbone's last map."""
    return UnscathedPyramid(
        in_channels=settings.in_channels[-1],
        out_channels=settings.out_channels,
        stride=settings.strides[-1],
        kernels=settings.kernels,
        norm=settings.norm,
    )


def make_pooling_pyramid(settings: NeckSettings) -> PoolingPyramid:
    """PPM on the backbone's last map."""
    return PoolingPyramid(
        in_channels=settings.in_channels[-1], stride=settings.strides[-1], bins=settings.bins, norm=settings.norm
    )


def make_atrous_pyramid(settings: NeckSettings) -> AtrousPyramid:
    """ASPP on the backbone's last map."""
    return AtrousPyramid(
        in_channels=settings.in_channels[-1],
        out_channels=settings.out_channels,
        stride=settings.strides[-1],
        rates=settings.rates,
        norm=settings.norm,
    )


UNIFORM: dict[str, NeckFactory] = {
    "UFP": make_unscathed_pyramid,
    "PPM": make_pooling_pyramid,
    "ASPP": make_atrous_pyramid,
}
"""Pyramids of one resolution, for semantic segmentation."""

NECKS: dict[str, NeckFactory] = {
    "FPN": make_feature_pyramid,
    "BFP": partial(make_feature_pyramid, top_down=False),
    "BPA": partial(make_feature_pyramid, bottom_up=True),
    "P2only": make_finest_map,
    "ResNet": make_coarsest_map,
    **UNIFORM,
}


def build_neck(
    cfg: CfgNode, name: BackboneName, *, in_channels: tuple[int, ...], strides: tuple[int, ...], norm: NormBuilder
) -> PyramidNeck:
    """The neck of a name, the transformer if the name has it, and a level on top where the RPN looks at one.

    Args:
        cfg: the whole configuration.
        name: what MODEL.CONV_BODY says.
        in_channels: channels of the backbone's maps, finest first.
        strides: their strides.
        norm: builder of GroupNorm.
    """
    num_skipped = 0
    if cfg.RETINANET.RETINANET_ON:  # nothing else reads what is finer
        num_skipped = sum(stride < 2**cfg.FPN.RPN_MIN_LEVEL for stride in strides)
        in_channels, strides = in_channels[num_skipped:], strides[num_skipped:]
    if not strides:
        raise UserError(
            f"FPN.RPN_MIN_LEVEL is {cfg.FPN.RPN_MIN_LEVEL}, but the backbone of MODEL.CONV_BODY has no map so coarse"
        )
    is_semantic = cfg.MODEL.TYPE == "semantic_segmentor"
    if name.neck in UNIFORM and not is_semantic:
        raise UserError(
            f"MODEL.CONV_BODY is {cfg.MODEL.CONV_BODY!r}, but {name.neck} is a pyramid of one resolution, for semantic "
            "segmentation (MODEL.TYPE semantic_segmentor): a detector needs FPN, BFP or BPA"
        )
    pyramid = find_part(NECKS, name.neck, option="the neck of MODEL.CONV_BODY")(
        NeckSettings(
            in_channels=in_channels,
            strides=strides,
            out_channels=cfg.FPN.DIM,
            norm=norms(norm)[cfg.SEMANTIC.NORM] if name.neck in UNIFORM else norm if cfg.FPN.USE_GN else None,
            zero_init_lateral=cfg.FPN.ZERO_INIT_LATERAL,
            kernels=cfg.SEMANTIC.UFP_KERNELS,
            bins=cfg.SEMANTIC.PPM_BINS,
            rates=cfg.SEMANTIC.ASPP_RATES,
        )
    )
    strides = strides_of(pyramid, name=f"neck {name.neck}") if hasattr(pyramid, "strides") else strides
    goes_on = len(strides) > 1 and not is_semantic
    return PyramidNeck(
        pyramid=pyramid,
        transformer=_build_transformer(cfg, pyramid, strides, norm) if name.has_transformer else None,
        has_p6=goes_on and 2**cfg.FPN.RPN_MAX_LEVEL > strides[-1],
        extra_levels=_build_extra_levels(cfg, strides, in_channels[-1]) if goes_on else None,
        strides=strides,
        num_skipped=num_skipped,
    )


def _build_extra_levels(cfg: CfgNode, strides: tuple[int, ...], backbone_channels: int) -> ExtraLevels | None:
    """The convolutions of the levels between the pyramid's and FPN.RPN_MAX_LEVEL, where FPN.EXTRA_CONV_LEVELS is on."""
    num_levels = cfg.FPN.RPN_MAX_LEVEL - int(math.log2(strides[-1]))
    if not cfg.FPN.EXTRA_CONV_LEVELS or num_levels < 1:
        return None
    from_backbone = cfg.FPN.EXTRA_CONV_SOURCE == "C5"
    return ExtraLevels(
        in_channels=backbone_channels if from_backbone else cfg.FPN.DIM,
        out_channels=cfg.FPN.DIM,
        num_levels=num_levels,
        from_backbone=from_backbone,
    )


def _build_transformer(
    cfg: CfgNode, pyramid: nn.Module, strides: tuple[int, ...], norm: NormBuilder
) -> FeaturePyramidTransformer:
    options = cfg.MODEL.FPT
    _check_mixtures(cfg)
    if options.START == "identity" and pyramid.out_channels != cfg.FPN.DIM:
        raise UserError(
            f"MODEL.FPT.START is identity, but the levels of the pyramid have {pyramid.out_channels} channels and the "
            f"outputs FPN.DIM = {cfg.FPN.DIM}: make them equal, or set MODEL.FPT.START to paper"
        )
    if options.START == "paper" and options.FUSION in ADDED:
        raise UserError(
            f"MODEL.FPT.START is paper, but MODEL.FPT.FUSION {options.FUSION} is added to the level's own map: set "
            "FUSION to concat (as published) or bottleneck, or START to identity"
        )
    return FeaturePyramidTransformer(
        in_channels=pyramid.out_channels,  # type: ignore[arg-type]
        num_levels=len(strides),
        out_channels=cfg.FPN.DIM,
        key_channels=options.KEY_DIM or None,
        interactions=options.INTERACTIONS,
        num_mixtures_self=options.NUM_MIXTURES_SELF,
        num_mixtures_grounding=options.NUM_MIXTURES_GROUNDING,
        local_window=options.LOCAL_WINDOW,
        max_keys=options.MAX_KEYS,
        level_strides=_level_strides(cfg, strides),
        fusion=options.FUSION,
        query_strides=[1 if options.LOCAL_WINDOW else max(1, options.QUERY_STRIDE // stride) for stride in strides],
        shares_downsampling=options.SHARE_DOWNSAMPLING,
        start=options.START,
        norm=norms(norm)[options.NORM],
        dropblock_size=options.DROPBLOCK_SIZE,
        dropblock_keep_prob=options.DROPBLOCK_KEEP_PROB,
    )


def norms(group_norm: NormBuilder) -> dict[str, NormBuilder | None]:
    """Builders of normalisation by the names that options have."""
    return {"GN": group_norm, "BN": nn.BatchNorm2d, "SyncBN": SyncBatchNorm2d, "none": None}


def _level_strides(cfg: CfgNode, strides: tuple[int, ...]) -> tuple[int, ...]:
    """Stride of each level over that of the level below."""
    pairs = list(zip(strides, strides[1:], strict=False))
    if not pairs or any(coarse not in (fine, 2 * fine) for fine, coarse in pairs):
        raise UserError(
            f"MODEL.CONV_BODY is {cfg.MODEL.CONV_BODY!r}, but the transformer needs two levels at least, each of the "
            f"same or twice the stride of the one before it; the strides are {', '.join(map(str, strides))}"
        )
    return tuple(coarse // fine for fine, coarse in pairs)


def _check_mixtures(cfg: CfgNode) -> None:
    options = cfg.MODEL.FPT
    for kind, mixtures in (("SELF", options.NUM_MIXTURES_SELF), ("GROUNDING", options.NUM_MIXTURES_GROUNDING)):
        if kind.lower() in options.INTERACTIONS and options.KEY_DIM % mixtures:
            raise UserError(
                f"MODEL.FPT.KEY_DIM is {options.KEY_DIM}, but must be a multiple of MODEL.FPT.NUM_MIXTURES_{kind} "
                f"({mixtures})"
            )
