"""Options that must fit together: each function yields a message for what doesn't."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

from fpt.core.assignments import Assignment
from fpt.core.config_node import CfgNode
from fpt.core.values import parse_literal
from fpt.structures.keypoints import flip_order

_LOGGER = logging.getLogger("fpt")
_POLICIES_WITH_STEPS = ("steps_with_decay", "steps_with_lrs")


def _mask_resolution(cfg: CfgNode) -> Iterator[str]:
    mask = cfg.MRCNN
    side, what = mask.ROI_XFORM_RESOLUTION, f"MRCNN.ROI_XFORM_RESOLUTION ({mask.ROI_XFORM_RESOLUTION})"
    if "_v0up" in mask.ROI_MASK_HEAD:
        side = cfg.FAST_RCNN.ROI_XFORM_RESOLUTION if mask.ROI_MASK_HEAD.endswith("share") else side
        side = -(-side // res5_stride(side))
        what = f"the {side} cells that res5 makes of the RoI features"
    if cfg.MODEL.MASK_ON and mask.RESOLUTION != 2 * side:
        yield f"MRCNN.RESOLUTION is {mask.RESOLUTION}, but the mask heads double {what}: set it to {2 * side}"


def res5_stride(resolution: int) -> int:
    """Stride of a res5 that makes about 7 x 7 cells of RoI features of so many cells a side."""
    return max(resolution // 7, 1)


def _levels(cfg: CfgNode) -> Iterator[str]:
    fpn = cfg.FPN
    for kind in ("ROI", "RPN"):
        low, high = fpn[f"{kind}_MIN_LEVEL"], fpn[f"{kind}_MAX_LEVEL"]
        if low > high:
            yield f"FPN.{kind}_MIN_LEVEL is {low}, but must not be above FPN.{kind}_MAX_LEVEL ({high})"


def _anchors(cfg: CfgNode) -> Iterator[str]:
    if not cfg.FPN.RPN_ASPECT_RATIOS:
        yield "FPN.RPN_ASPECT_RATIOS is empty, but the RPN needs one anchor at least"
    for key in ("SIZES", "ASPECT_RATIOS"):
        if not cfg.RPN[key]:
            yield f"RPN.{key} is empty, but the RPN needs one anchor at least"
    low, high = cfg.TRAIN.RPN_NEGATIVE_OVERLAP, cfg.TRAIN.RPN_POSITIVE_OVERLAP
    if low > high:
        yield f"TRAIN.RPN_NEGATIVE_OVERLAP is {low}, but must not be above TRAIN.RPN_POSITIVE_OVERLAP ({high})"


def _retinanet(cfg: CfgNode) -> Iterator[str]:
    options = cfg.RETINANET
    if not options.RETINANET_ON:
        return
    for key, what in (("MASK_ON", "masks"), ("KEYPOINTS_ON", "key points")):
        if cfg.MODEL[key]:
            yield f"RETINANET.RETINANET_ON and MODEL.{key} are True, but RetinaNet has no {what}"
    if not options.ASPECT_RATIOS:
        yield "RETINANET.ASPECT_RATIOS is empty, but one anchor is needed at least"
    if options.NEGATIVE_OVERLAP > options.POSITIVE_OVERLAP:
        yield (
            f"RETINANET.NEGATIVE_OVERLAP is {options.NEGATIVE_OVERLAP}, but must not be above "
            f"RETINANET.POSITIVE_OVERLAP ({options.POSITIVE_OVERLAP})"
        )


def _proposals(cfg: CfgNode) -> Iterator[str]:
    has_files = {phase: bool(cfg[phase].PROPOSAL_FILES) for phase in ("TRAIN", "TEST")}
    if cfg.MODEL.RPN_ONLY:
        for key in ("MASK_ON", "KEYPOINTS_ON"):
            if cfg.MODEL[key]:
                yield f"MODEL.RPN_ONLY and MODEL.{key} are True, but proposals are boxes alone"
        if cfg.RETINANET.RETINANET_ON:
            yield "MODEL.RPN_ONLY and RETINANET.RETINANET_ON are True, but RetinaNet has no proposals"
    for phase, has in has_files.items():
        if has and (cfg.MODEL.RPN_ONLY or cfg.RETINANET.RETINANET_ON):
            yield f"{phase}.PROPOSAL_FILES is given, but this model reads no proposals: it is for Fast R-CNN"
        files, names = cfg[phase].PROPOSAL_FILES, cfg[phase].DATASETS
        if has and len(files) != len(names):
            yield f"{phase}.PROPOSAL_FILES has {len(files)} files, but {phase}.DATASETS {len(names)} names: one each"


def _keypoints(cfg: CfgNode) -> Iterator[str]:
    options = cfg.KRCNN
    count, names = options.NUM_KEYPOINTS, options.KEYPOINT_NAMES
    if len(set(names)) < len(names):
        yield f"KRCNN.KEYPOINT_NAMES is {names!r}, but each may stand once only"
    if count and names and count != len(names):
        yield f"KRCNN.NUM_KEYPOINTS is {count}, but KRCNN.KEYPOINT_NAMES has {len(names)} names"
    if len(options.SKELETON) % 2 or (count and max(options.SKELETON, default=0) > count):
        yield f"KRCNN.SKELETON is {options.SKELETON!r}, but must be pairs of numbers from 1 to the number of points"
    sigmas = cfg.TEST.OKS_SIGMAS
    if sigmas and count and len(sigmas) != count:
        yield f"TEST.OKS_SIGMAS has {len(sigmas)} numbers, but there are {count} key points"
    if names and options.FLIP_PAIRS:
        try:
            flip_order(names, options.FLIP_PAIRS)
        except ValueError as error:
            yield f"KRCNN.FLIP_PAIRS is {options.FLIP_PAIRS!r}: {error}"


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
    steps = cfg.SOLVER.STEPS
    if any(later <= earlier for earlier, later in zip(steps, steps[1:], strict=False)):
        yield f"SOLVER.STEPS is {steps!r}, but must rise from each to the next"


def _transformers(cfg: CfgNode) -> Iterator[str]:
    fpt = cfg.MODEL.FPT
    if fpt.LOCAL_WINDOW and fpt.LOCAL_WINDOW % 2 == 0:
        yield f"MODEL.FPT.LOCAL_WINDOW is {fpt.LOCAL_WINDOW}, but a window needs a centre: an odd side, or 0 for none"
    if len(set(fpt.INTERACTIONS)) < len(fpt.INTERACTIONS):
        yield f"MODEL.FPT.INTERACTIONS is {fpt.INTERACTIONS!r}, but each may stand once only"


def _semantic(cfg: CfgNode) -> Iterator[str]:
    options = cfg.SEMANTIC
    if cfg.RESNETS.USE_GN and cfg.RESNETS.USE_SYNC_BN:
        yield "RESNETS.USE_GN and RESNETS.USE_SYNC_BN are True, but a network has one kind of normalisation"
    for key, count in (("CROP_SIZE", 2), ("SCALE_RANGE", 2)):
        if len(options[key]) != count:
            yield f"SEMANTIC.{key} is {options[key]!r}, but must be {count} numbers"
    if len(options.WINDOW) not in (0, 2):
        yield f"SEMANTIC.WINDOW is {options.WINDOW!r}, but must be height and width, or () for the whole image"
    if len(options.SCALE_RANGE) == 2 and options.SCALE_RANGE[0] > options.SCALE_RANGE[1]:
        yield f"SEMANTIC.SCALE_RANGE is {options.SCALE_RANGE!r}, but must be the lowest and the highest factor"
    if any(kernel % 2 == 0 for kernel in options.UFP_KERNELS):
        yield f"SEMANTIC.UFP_KERNELS is {options.UFP_KERNELS!r}, but a kernel needs a centre: odd sides"
    for key in ("UFP_KERNELS", "PPM_BINS", "ASPP_RATES", "TEST_SCALES"):
        if not options[key]:
            yield f"SEMANTIC.{key} is empty, but one is needed at least"


def _precision(cfg: CfgNode) -> Iterator[str]:
    if cfg.DEVICE == "mps" and cfg.SOLVER.AMP != "off":
        yield f"SOLVER.AMP is {cfg.SOLVER.AMP}, but DEVICE mps computes in float32: set it to off"


RELATIONS: tuple[Callable[[CfgNode], Iterator[str]], ...] = (
    _mask_resolution,
    _levels,
    _anchors,
    _retinanet,
    _proposals,
    _keypoints,
    _rois,
    _scales,
    _schedule,
    _transformers,
    _semantic,
    _precision,
)


def log_unreached_steps(cfg: CfgNode, written: Sequence[Assignment]) -> None:
    """Warn of SOLVER.STEPS that lie at or beyond SOLVER.MAX_ITER, with the steps of the file's proportions.

    Args:
        cfg: the checked tree.
        written: the values of the file, whose MAX_ITER its STEPS were written for.
    """
    solver = cfg.SOLVER
    late = [step for step in solver.STEPS if step >= solver.MAX_ITER]
    if not late or solver.LR_POLICY not in _POLICIES_WITH_STEPS:
        return
    former = {item.key: parse_literal(item.value) for item in written}.get("SOLVER.MAX_ITER")
    advice = "set SOLVER.STEPS"
    if isinstance(former, (int, float)) and former > max(late):
        steps = [min(round(step * solver.MAX_ITER / former), solver.MAX_ITER - 1) for step in solver.STEPS]
        advice = f'in the proportions of MAX_ITER {former:g}: --set SOLVER.STEPS "{tuple(dict.fromkeys(steps))}"'
    _LOGGER.warning(
        "SOLVER.MAX_ITER is %d, so that the rate never changes at %s of SOLVER.STEPS; %s",
        solver.MAX_ITER,
        ", ".join(map(str, late)),
        advice,
    )
