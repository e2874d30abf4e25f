"""Box, mask and keypoint heads by name."""

from __future__ import annotations

from functools import partial

from torch import nn

from fpt.core.config_node import CfgNode
from fpt.core.relations import res5_stride
from fpt.layers.norm import NormBuilder
from fpt.modeling.levels import coarsest_of_each_stride, select_levels
from fpt.modeling.roi_heads.box_head import BoxPredictor, ConvBoxHead, MLPBoxHead
from fpt.modeling.roi_heads.conv5_head import Conv5BoxHead, Conv5MaskHead
from fpt.modeling.roi_heads.keypoint_branch import KeypointBranch
from fpt.modeling.roi_heads.keypoint_head import UPSAMPLING, KeypointHead
from fpt.modeling.roi_heads.mask_head import FullyConnectedMask, MaskHead
from fpt.modeling.roi_heads.pooler import RoIPooler
from fpt.modeling.roi_heads.postprocess import DetectionSettings
from fpt.modeling.roi_heads.roi_heads import MaskBranch, RoIHeads
from fpt.modeling.sampling import RoISampling
from fpt.modeling.settings import (
    CONVENTIONS,
    BoxHeadSettings,
    HeadEntry,
    KeypointHeadSettings,
    MaskHeadSettings,
    Res5,
)
from fpt.structures.boxes import BoxCoder
from fpt.utils.errors import UserError
from fpt.utils.parts import find_part


def make_mlp_head(settings: BoxHeadSettings, *, has_norm: bool = False) -> MLPBoxHead:
    """Two fully connected layers."""
    return MLPBoxHead(
        in_channels=settings.in_channels,
        resolution=settings.resolution,
        hidden_channels=settings.hidden_channels,
        num_inputs=settings.num_inputs,
        norm=settings.norm if has_norm else None,
    )


def make_conv_head(settings: BoxHeadSettings, *, has_norm: bool = False) -> ConvBoxHead:
    """Convolutions and a fully connected layer."""
    return ConvBoxHead(
        in_channels=settings.in_channels,
        resolution=settings.resolution,
        conv_channels=settings.conv_channels,
        num_convs=settings.num_convs,
        hidden_channels=settings.hidden_channels,
        num_inputs=settings.num_inputs,
        norm=settings.norm if has_norm else None,
    )


def make_conv5_box_head(settings: BoxHeadSettings) -> Conv5BoxHead:
    """The res5 that the backbone lacks."""
    res5 = _need_res5(settings.res5, "FAST_RCNN.ROI_BOX_HEAD ResNet.ResNet_roi_conv5_head")
    return Conv5BoxHead(res5=res5.make(stride=res5_stride(settings.resolution)), out_channels=res5.out_channels)


def make_conv5_mask_head(settings: MaskHeadSettings, *, is_shared: bool) -> Conv5MaskHead:
    """The masks of C4 models, after a res5 of their own or the box head's."""
    res5 = _need_res5(settings.res5, "MRCNN.ROI_MASK_HEAD mask_rcnn_fcn_head_v0up and v0upshare")
    own = None if is_shared else res5.make(stride=res5_stride(settings.resolution), dilation=settings.dilation)
    return Conv5MaskHead(
        res5=own,
        in_channels=res5.out_channels,
        channels=settings.channels,
        num_masks=settings.num_masks,
        init=settings.init,
    )


def _need_res5(res5: Res5 | None, option: str) -> Res5:
    if res5 is None:
        raise UserError(f"{option} need a backbone without res5, such as MODEL.CONV_BODY ResNet.ResNet50_conv4_body")
    return res5


def make_mask_head(
    settings: MaskHeadSettings,
    *,
    num_convs: int | None = None,
    has_norm: bool = False,
    has_fully_connected: bool = False,
) -> MaskHead:
    """Convolutions and an upsampling, with or without the fully connected branch."""
    norm = settings.norm if has_norm else None
    fully_connected = None
    if has_fully_connected:
        fully_connected = FullyConnectedMask(
            channels=settings.channels, resolution=settings.resolution, norm=norm, init=settings.init
        )
    return MaskHead(
        in_channels=settings.in_channels,
        channels=settings.channels,
        num_convs=settings.num_convs if num_convs is None else num_convs,
        num_masks=settings.num_masks,
        num_inputs=settings.num_inputs,
        norm=norm,
        dilation=settings.dilation,
        init=settings.init,
        fully_connected=fully_connected,
    )


def make_keypoint_head(settings: KeypointHeadSettings) -> KeypointHead:
    """Convolutions, a transposed one and a bilinear enlargement.

    Raises:
        UserError: the heat maps are to have another size than it makes.
    """
    made = UPSAMPLING * settings.resolution
    if settings.size != made:
        raise UserError(
            f"KRCNN.HEATMAP_SIZE is {settings.size}, but the head makes heat maps of {UPSAMPLING} x "
            f"KRCNN.ROI_XFORM_RESOLUTION ({settings.resolution}) cells: set it to {made}"
        )
    return KeypointHead(
        in_channels=settings.in_channels,
        channels=settings.channels,
        num_convs=settings.num_convs,
        num_keypoints=settings.num_keypoints,
        init=settings.init,
        fades_at_border=settings.fades_at_border,
    )


_mlp_head_gn = partial(make_mlp_head, has_norm=True)
_conv_head_gn = partial(make_conv_head, has_norm=True)
_mask_head_gn = partial(make_mask_head, num_convs=4, has_norm=True)

BOX_HEADS: dict[str, HeadEntry[BoxHeadSettings]] = {
    "ResNet.ResNet_roi_conv5_head": HeadEntry(make_conv5_box_head),
    "fast_rcnn_heads.roi_2mlp_head": HeadEntry(make_mlp_head),
    "fast_rcnn_heads.roi_2mlp_head_gn": HeadEntry(_mlp_head_gn),
    "fast_rcnn_heads.roi_2mlp_head_gn_fptnet": HeadEntry(_mlp_head_gn, is_adaptive=True),
    "fast_rcnn_heads.roi_Xconv1fc_head": HeadEntry(make_conv_head),
    "fast_rcnn_heads.roi_Xconv1fc_gn_head": HeadEntry(_conv_head_gn),
    "fast_rcnn_heads.roi_Xconv1fc_gn_head_fptnet": HeadEntry(_conv_head_gn, is_adaptive=True),
}

MASK_HEADS: dict[str, HeadEntry[MaskHeadSettings]] = {
    "mask_rcnn_heads.mask_rcnn_fcn_head_v0up": HeadEntry(partial(make_conv5_mask_head, is_shared=False)),
    "mask_rcnn_heads.mask_rcnn_fcn_head_v0upshare": HeadEntry(
        partial(make_conv5_mask_head, is_shared=True), shares_res5=True
    ),
    "mask_rcnn_heads.mask_rcnn_fcn_head_v1upXconvs": HeadEntry(make_mask_head),
    "mask_rcnn_heads.mask_rcnn_fcn_head_v1upXconvs_gn": HeadEntry(partial(make_mask_head, has_norm=True)),
    "mask_rcnn_heads.mask_rcnn_fcn_head_v1up": HeadEntry(partial(make_mask_head, num_convs=2)),
    "mask_rcnn_heads.mask_rcnn_fcn_head_v1up4convs": HeadEntry(partial(make_mask_head, num_convs=4)),
    "mask_rcnn_heads.mask_rcnn_fcn_head_v1up4convs_gn": HeadEntry(_mask_head_gn),
    "mask_rcnn_heads.mask_rcnn_fcn_head_v1up4convs_gn_adp": HeadEntry(_mask_head_gn, is_adaptive=True),
    "mask_rcnn_heads.mask_rcnn_fcn_head_v1up4convs_gn_adp_ff": HeadEntry(
        partial(_mask_head_gn, has_fully_connected=True), is_adaptive=True
    ),
}

KEYPOINT_HEADS: dict[str, HeadEntry[KeypointHeadSettings]] = {
    "keypoint_rcnn_heads.roi_pose_head_v1convX": HeadEntry(make_keypoint_head),
}


def check_head_names(cfg: CfgNode) -> None:
    """Raise UserError where the option of a head that is on names one that there is not."""
    _find_box_head(cfg)
    if cfg.MODEL.MASK_ON:
        _find_mask_head(cfg)
    if cfg.MODEL.KEYPOINTS_ON:
        _find_keypoint_head(cfg)


def build_roi_heads(
    cfg: CfgNode,
    *,
    in_channels: int,
    strides: tuple[int, ...],
    num_classes: int,
    norm: NormBuilder,
    res5: Res5 | None = None,
) -> RoIHeads:
    """The box head, the mask branch if MODEL.MASK_ON, and the keypoint branch if MODEL.KEYPOINTS_ON.

    Args:
        cfg: the whole configuration.
        in_channels: channels of each map of the neck.
        strides: their strides, finest first.
        num_classes: background included.
        norm: builder of GroupNorm.
        res5: the stage that the backbone lacks.

    Raises:
        UserError: a head's name is unknown, or the neck lacks a level.
    """
    options = cfg.FAST_RCNN
    entry = _find_box_head(cfg)
    pooler = _build_pooler(cfg, cfg.FAST_RCNN, strides, is_adaptive=entry.is_adaptive)
    head = entry.make(
        BoxHeadSettings(
            in_channels=in_channels,
            resolution=options.ROI_XFORM_RESOLUTION,
            num_inputs=pooler.num_outputs,
            hidden_channels=options.MLP_HEAD_DIM,
            conv_channels=options.CONV_HEAD_DIM,
            num_convs=options.NUM_STACKED_CONVS,
            norm=norm,
            res5=res5,
        )
    )
    return RoIHeads(
        box_pooler=pooler,
        box_head=head,
        box_predictor=BoxPredictor(
            in_channels=head.out_channels,  # type: ignore[arg-type]
            num_classes=num_classes,
            is_class_agnostic=cfg.MODEL.CLS_AGNOSTIC_BBOX_REG,
        ),
        box_coder=BoxCoder(weights=cfg.MODEL.BBOX_REG_WEIGHTS),
        sampling=_build_sampling(cfg),
        detection_settings=DetectionSettings(
            score_threshold=cfg.TEST.SCORE_THRESH,
            nms_threshold=cfg.TEST.NMS,
            max_detections=cfg.TEST.DETECTIONS_PER_IM,
            has_regression=cfg.TEST.BBOX_REG,
        ),
        mask_branch=_build_mask_branch(cfg, in_channels, strides, num_classes, norm, res5, head)
        if cfg.MODEL.MASK_ON
        else None,
        keypoint_branch=_build_keypoint_branch(cfg, in_channels, strides, norm) if cfg.MODEL.KEYPOINTS_ON else None,
        over_batch=CONVENTIONS[cfg.MODEL.LEGACY].over_batch,
        box_beta=CONVENTIONS[cfg.MODEL.LEGACY].box_beta,
    )


def _build_sampling(cfg: CfgNode) -> RoISampling:
    train = cfg.TRAIN
    return RoISampling(
        num_samples=train.BATCH_SIZE_PER_IM,
        foreground_fraction=train.FG_FRACTION,
        foreground_iou=train.FG_THRESH,
        background_high=train.BG_THRESH_HI,
        background_low=train.BG_THRESH_LO,
        crowd_threshold=train.CROWD_FILTER_THRESH or 1.0,
    )


def _find_box_head(cfg: CfgNode) -> HeadEntry[BoxHeadSettings]:
    return find_part(BOX_HEADS, cfg.FAST_RCNN.ROI_BOX_HEAD, option="FAST_RCNN.ROI_BOX_HEAD")


def _find_mask_head(cfg: CfgNode) -> HeadEntry[MaskHeadSettings]:
    return find_part(MASK_HEADS, cfg.MRCNN.ROI_MASK_HEAD, option="MRCNN.ROI_MASK_HEAD")


def _find_keypoint_head(cfg: CfgNode) -> HeadEntry[KeypointHeadSettings]:
    return find_part(KEYPOINT_HEADS, cfg.KRCNN.ROI_KEYPOINTS_HEAD, option="KRCNN.ROI_KEYPOINTS_HEAD")


def _build_mask_branch(
    cfg: CfgNode,
    in_channels: int,
    strides: tuple[int, ...],
    num_classes: int,
    norm: NormBuilder,
    res5: Res5 | None,
    box_head: nn.Module,
) -> MaskBranch:
    options = cfg.MRCNN
    entry = _find_mask_head(cfg)
    if entry.shares_res5 and not isinstance(box_head, Conv5BoxHead):
        raise UserError(
            f"MRCNN.ROI_MASK_HEAD {options.ROI_MASK_HEAD} shares the res5 of FAST_RCNN.ROI_BOX_HEAD "
            f"ResNet.ResNet_roi_conv5_head, but that is {cfg.FAST_RCNN.ROI_BOX_HEAD}"
        )
    pooled = cfg.FAST_RCNN if entry.shares_res5 else options
    pooler = _build_pooler(cfg, pooled, strides, is_adaptive=entry.is_adaptive)
    head = entry.make(
        MaskHeadSettings(
            in_channels=in_channels,
            resolution=options.ROI_XFORM_RESOLUTION,
            num_inputs=pooler.num_outputs,
            num_masks=num_classes if options.CLS_SPECIFIC_MASK else 1,
            channels=options.DIM_REDUCED,
            dilation=options.DILATION,
            init=options.CONV_INIT,
            norm=norm,
            num_convs=options.NUM_STACKED_CONVS,
            res5=res5,
        )
    )
    return MaskBranch(
        pooler=pooler,
        head=head,
        loss_weight=options.WEIGHT_LOSS_MASK,
        shares_res5=entry.shares_res5,
        over_batch=CONVENTIONS[cfg.MODEL.LEGACY].over_batch,
    )


def _build_keypoint_branch(
    cfg: CfgNode, in_channels: int, strides: tuple[int, ...], norm: NormBuilder
) -> KeypointBranch:
    options, conventions = cfg.KRCNN, CONVENTIONS[cfg.MODEL.LEGACY]
    if not options.NUM_KEYPOINTS:
        raise UserError(
            "KRCNN.NUM_KEYPOINTS is 0, which takes the number from a data set, but there is none here: set it"
        )
    entry = _find_keypoint_head(cfg)
    pooler = _build_pooler(cfg, options, strides, is_adaptive=entry.is_adaptive)
    head = entry.make(
        KeypointHeadSettings(
            in_channels=in_channels,
            resolution=options.ROI_XFORM_RESOLUTION,
            num_inputs=pooler.num_outputs,
            num_keypoints=options.NUM_KEYPOINTS,
            size=options.HEATMAP_SIZE,
            channels=options.CONV_HEAD_DIM,
            num_convs=options.NUM_STACKED_CONVS,
            init=options.CONV_INIT,
            norm=norm,
            fades_at_border=conventions.fades_at_border,
        )
    )
    every = round(cfg.TRAIN.BATCH_SIZE_PER_IM * cfg.TRAIN.FG_FRACTION) * options.NUM_KEYPOINTS
    return KeypointBranch(
        pooler=pooler,
        head=head,
        num_keypoints=options.NUM_KEYPOINTS,
        size=options.HEATMAP_SIZE,
        loss_weight=options.LOSS_WEIGHT,
        points_per_image=0 if options.NORMALIZE_BY_VISIBLE_KEYPOINTS else every,
        over_batch=conventions.over_batch,
        margin=conventions.roi_margin,
    )


def _build_pooler(cfg: CfgNode, head: CfgNode, strides: tuple[int, ...], *, is_adaptive: bool) -> RoIPooler:
    levels: tuple[int, ...] = (0,)
    if len(strides) > 1:
        levels = select_levels(
            strides,
            low=cfg.FPN.ROI_MIN_LEVEL,
            high=cfg.FPN.ROI_MAX_LEVEL,
            options="FPN.ROI_MIN_LEVEL to FPN.ROI_MAX_LEVEL",
        )
    if not is_adaptive:
        levels = coarsest_of_each_stride(levels, strides)
    return RoIPooler(
        levels=levels,
        strides=[strides[level] for level in levels],
        output_size=head.ROI_XFORM_RESOLUTION,
        sampling_ratio=head.ROI_XFORM_SAMPLING_RATIO,
        is_adaptive=is_adaptive,
        canonical_scale=cfg.FPN.ROI_CANONICAL_SCALE,
        canonical_level=cfg.FPN.ROI_CANONICAL_LEVEL,
        is_aligned=CONVENTIONS[cfg.MODEL.LEGACY].is_aligned,
        margin=CONVENTIONS[cfg.MODEL.LEGACY].roi_margin,
    )
