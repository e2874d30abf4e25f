"""Options that must fit together: each function yields a message for what doesn't."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from fpt.core.config_node import CfgNode

_LOGGER = logging.getLogger("fpt")


def _mask_resolution(cfg: CfgNode) -> Iterator[str]:
    mask = cfg.MRCNN
    if cfg.MODEL.MASK_ON and mask.RESOLUTION != 2 * mask.ROI_XFORM_RESOLUTION:
        yield (
            f"MRCNN.RESOLUTION is {mask.RESOLUTION}, but the mask heads double MRCNN.ROI_XFORM_RESOLUTION "
            f"({mask.ROI_XFORM_RESOLUTION}): set it to {2 * mask.ROI_XFORM_RESOLUTION}"
        )


def _levels(cfg: CfgNode) -> Iterator[str]:
    fpn = cfg.FPN
    for kind in ("ROI", "RPN"):
        low, high = fpn[f"{kind}_MIN_LEVEL"], fpn[f"{kind}_MAX_LEVEL"]
        if low > high:
            yield f"FPN.{kind}_MIN_LEVEL is {low}, but must not be above FPN.{kind}_MAX_LEVEL ({high})"
    if fpn.COARSEST_STRIDE % 32:
        yield f"FPN.COARSEST_STRIDE is {fpn.COARSEST_STRIDE}, but must be a multiple of 32, the stride of res5"


def _anchors(cfg: CfgNode) -> Iterator[str]:
    if not cfg.FPN.RPN_ASPECT_RATIOS:
        yield "FPN.RPN_ASPECT_RATIOS is empty, but the RPN needs one anchor at least"
    low, high = cfg.TRAIN.RPN_NEGATIVE_OVERLAP, cfg.TRAIN.RPN_POSITIVE_OVERLAP
    if low > high:
        yield f"TRAIN.RPN_NEGATIVE_OVERLAP is {low}, but must not be above TRAIN.RPN_POSITIVE_OVERLAP ({high})"


def _rois(cfg: CfgNode) -> Iterator[str]:
    train = cfg.TRAIN
    if train.BG_THRESH_LO > train.BG_THRESH_HI:
        yield f"TRAIN.BG_THRESH_LO is {train.BG_THRESH_LO}, but must not be above BG_THRESH_HI ({train.BG_THRESH_HI})"
    if train.BG_THRESH_HI > train.FG_THRESH:
        yield f"TRAIN.BG_THRESH_HI is {train.BG_THRESH_HI}, but must not be above FG_THRESH ({train.FG_THRESH})"


def _scales(cfg: CfgNode) -> Iterator[str]:
    if not cfg.TRAIN.SCALES:
        yield "TRAIN.SCALES is empty, but one length of the shorter side is needed at least"


def _schedule(cfg: CfgNode) -> Iterator[str]:
    solver = cfg.SOLVER
    steps = solver.STEPS
    if any(later <= earlier for earlier, later in zip(steps, steps[1:], strict=False)):
        yield f"SOLVER.STEPS is {steps!r}, but must rise from each to the next"
    if solver.LR_POLICY == "steps_with_lrs" and len(solver.LRS) != len(steps):
        yield (
            f"SOLVER.LRS has {len(solver.LRS)} rates and SOLVER.STEPS has {len(steps)} steps, but steps_with_lrs "
            "needs one rate for each step"
        )
    if solver.LR_POLICY == "steps_with_lrs" and steps[:1] != (0,):
        yield f"SOLVER.STEPS is {steps!r}, but steps_with_lrs needs a rate from step 0 on: begin with 0"


def _transformers(cfg: CfgNode) -> Iterator[str]:
    fpt = cfg.MODEL.FPT
    if fpt.LOCAL_WINDOW and fpt.LOCAL_WINDOW % 2 == 0:
        yield f"MODEL.FPT.LOCAL_WINDOW is {fpt.LOCAL_WINDOW}, but a window needs a centre: an odd side, or 0 for none"
    if len(set(fpt.INTERACTIONS)) < len(fpt.INTERACTIONS):
        yield f"MODEL.FPT.INTERACTIONS is {fpt.INTERACTIONS!r}, but each may stand once only"
    key_dim = fpt.KEY_DIM or cfg.FPN.DIM // 2
    name = f"MODEL.FPT.KEY_DIM is {fpt.KEY_DIM}" if fpt.KEY_DIM else f"half of FPN.DIM is {key_dim}"
    for kind, mixtures in (("SELF", fpt.NUM_MIXTURES_SELF), ("GROUNDING", fpt.NUM_MIXTURES_GROUNDING)):
        if kind.lower() in fpt.INTERACTIONS and cfg.MODEL.CONV_BODY.endswith("_fpt") and key_dim % mixtures:
            yield f"{name}, but must be a multiple of MODEL.FPT.NUM_MIXTURES_{kind} ({mixtures})"


RELATIONS: tuple[Callable[[CfgNode], Iterator[str]], ...] = (
    _mask_resolution,
    _levels,
    _anchors,
    _rois,
    _scales,
    _schedule,
    _transformers,
)


def warn_about_normalisation(cfg: CfgNode) -> None:
    """Log when a torchvision backbone meets the means of the caffe backbones: it trains, but badly."""
    is_caffe_like = cfg.PIXEL_FORMAT == "BGR" and all(std == 1 for std in cfg.PIXEL_STDS)
    if "torchvision." in cfg.MODEL.CONV_BODY and is_caffe_like:
        _LOGGER.warning(
            "MODEL.CONV_BODY is %s, but the images are prepared as caffe backbones expect them. "
            "torchvision's weights expect: PIXEL_FORMAT: RGB, PIXEL_MEANS: (123.675, 116.28, 103.53), "
            "PIXEL_STDS: (58.395, 57.12, 57.375)",
            cfg.MODEL.CONV_BODY,
        )
