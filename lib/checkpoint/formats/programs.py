"""What parameters are called in other programs: one table each, read in both directions.

Sources: the lists of blobs and parameters in their published files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from fpt.checkpoint.formats.renaming import Renaming, Rule

PARAMETER = {"weight": "w", "bias": "b"}
SCALE = {"weight": "s", "bias": "b"}
STATISTIC = {name: name for name in ("weight", "bias", "running_mean", "running_var")}
BOTH = {"weight": "weight", "bias": "bias"}
_PREDICTORS = {name: name for name in ("cls_score", "bbox_pred")}
_WORDS = {"x": _PREDICTORS, "p": PARAMETER, "a": SCALE, "n": STATISTIC, "q": BOTH, "l": {"1": "a", "2": "b", "3": "c"}}

_HEAD = "roi_heads"
_BOX = f"{_HEAD}.box_head"
_MASK = f"{_HEAD}.mask_branch.head"
_KEYPOINT = f"{_HEAD}.keypoint_branch.head"
_NECK = "neck.pyramid"


@dataclass(frozen=True)
class Layout:
    """What a table depends on.

    Attributes:
        blocks: index of the last block of res2 .. res5.
        lowest: number of the pyramid's finest level.
        is_c4: res5 stands in the box head.
        has_mlp: the box head has two fully connected layers, not convolutions.
        has_norm: the pyramid's convolutions are followed by GroupNorm.
        has_mask_norm: those of the mask head are.
        norms: what the backbone's normalisations are called, the one that it has first.
    """

    blocks: tuple[int, int, int, int] = (2, 3, 5, 2)
    lowest: int = 2
    is_c4: bool = False
    has_mlp: bool = True
    has_norm: bool = False
    has_mask_norm: bool = False
    norms: tuple[str, str] = ("bn", "gn")


@dataclass(frozen=True)
class Program:
    """A program whose weight files are read and written.

    Attributes:
        name: for messages, and for ``fpt-convert --to``.
        conventions: value of MODEL.LEGACY that its whole models need; "off" where they need none.
        recognise: whether names are of this program.
        layout: of the names there.
        rules: of a layout.
        orphans: pattern of names that have no place here, and need none.
    """

    name: str
    conventions: str
    recognise: Callable[[Collection[str]], bool]
    layout: Callable[[Collection[str]], Layout]
    rules: Callable[[Layout], Iterable[Rule]]
    orphans: str

    def renaming(self, layout: Layout) -> Renaming:
        """The table for a layout."""
        return Renaming(list(self.rules(layout)), _WORDS)


def our_layout(names: Collection[str]) -> Layout:
    """The layout of a model of ours."""
    text = "\n".join(names)
    blocks = [_last(names, rf"(?:backbone\.)?layer{stage}\.(\d+)\.conv1\.weight") for stage in (1, 2, 3, 4)]
    return Layout(
        blocks=(blocks[0], blocks[1], blocks[2], blocks[3] if blocks[3] >= 0 else 2),
        lowest=3 if "head.cls_tower." in text else 2,
        is_c4=f"{_BOX}.res5." in text,
        has_mlp=f"{_BOX}.fc1." in text or f"{_BOX}.fc." not in text,
        has_norm=f"{_NECK}.laterals.0.norm.weight" in text,
        has_mask_norm=f"{_MASK}.conv1.layers.0.1.weight" in text,
        norms=("bn", "gn") if "backbone.bn1.running_mean" in text else ("gn", "bn"),
    )


def _last(names: Iterable[str], pattern: str) -> int:
    numbers = [int(match[1]) for name in names if (match := re.fullmatch(pattern, name))]
    return max(numbers, default=-1)


# --- Detectron: blobs of Caffe2 ---------------------------------------------------------------------------------------


def _detectron_layout(names: Collection[str]) -> Layout:
    blocks = [_last(names, rf"res{stage}_(\d+)_branch2a_w") for stage in (2, 3, 4, 5)]
    has_heads = "cls_score_w" in names
    return Layout(
        blocks=(blocks[0], blocks[1], blocks[2], max(blocks[3], 0)),
        lowest=3 if any(name.startswith("retnet_") for name in names) else 2,
        is_c4=has_heads and not any(name.startswith(("fc6_", "fpn_")) for name in names),
        has_mlp="fc7_w" in names or "fc6_w" not in names,
    )


def _detectron_rules(layout: Layout) -> Iterable[Rule]:
    stages = (2, 3, 4) if layout.is_c4 else (2, 3, 4, 5)
    yield Rule("backbone.conv1.weight", "conv1_w")
    for norm in layout.norms:
        yield Rule("backbone.bn1.{a}", "conv1_gn_{a}" if norm == "gn" else "res_conv1_bn_{a}")
    for stage in stages:
        yield from _detectron_stage(f"backbone.layer{stage - 1}", f"res{stage}", layout)
    if layout.is_c4:
        yield from _detectron_stage(f"{_BOX}.res5", "res5", layout)
    yield from _detectron_stage(f"{_MASK}.res5", "_[mask]_res5", layout)
    for stage, last in zip((2, 3, 4, 5), layout.blocks, strict=True):
        if stage < layout.lowest:
            continue
        index, lateral = stage - layout.lowest, "" if stage == 5 else "_lateral"
        for ours, theirs in (
            (f"laterals.{index}", f"fpn_inner_res{stage}_{last}_sum{lateral}"),
            (f"outputs.{index}", f"fpn_res{stage}_{last}_sum"),
        ):
            yield Rule(f"{_NECK}.{ours}.conv.{{p}}", f"{theirs}_{{p}}")
            yield Rule(f"{_NECK}.{ours}.norm.{{a}}", f"{theirs}_gn_{{a}}")
    yield Rule("neck.extra_levels.{i}.conv.{p}", "fpn_{i+6}_{p}")
    level = "" if layout.is_c4 else "_fpn2"
    yield Rule("rpn.head.conv.{p}", f"conv_rpn{level}_{{p}}")
    yield Rule("rpn.head.objectness.{p}", f"rpn_cls_logits{level}_{{p}}")
    yield Rule("rpn.head.offsets.{p}", f"rpn_bbox_pred{level}_{{p}}")
    yield from _detectron_heads(layout)


def _detectron_stage(ours: str, theirs: str, layout: Layout) -> Iterable[Rule]:
    yield Rule(f"{ours}.{{b}}.conv{{l}}.weight", f"{theirs}_{{b}}_branch2{{l}}_w")
    yield Rule(f"{ours}.{{b}}.downsample.0.weight", f"{theirs}_{{b}}_branch1_w")
    for norm in layout.norms:
        yield Rule(f"{ours}.{{b}}.bn{{l}}.{{a}}", f"{theirs}_{{b}}_branch2{{l}}_{norm}_{{a}}")
        yield Rule(f"{ours}.{{b}}.downsample.1.{{a}}", f"{theirs}_{{b}}_branch1_{norm}_{{a}}")


def _detectron_heads(layout: Layout) -> Iterable[Rule]:
    if layout.has_mlp:
        yield Rule(f"{_BOX}.fc1.layers.0.0.{{p}}", "fc6_{p}")
        yield Rule(f"{_BOX}.fc2.0.{{p}}", "fc7_{p}")
    else:
        yield Rule(f"{_BOX}.fc.0.{{p}}", "fc6_{p}")
    yield from _first_and_others(_BOX, "head_conv", 1)
    yield Rule(f"{_HEAD}.box_predictor.cls_score.{{p}}", "cls_score_{p}")
    yield Rule(f"{_HEAD}.box_predictor.bbox_pred.{{p}}", "bbox_pred_{p}", "agnostic_boxes")
    yield from _first_and_others(_MASK, "_[mask]_fcn", 1)
    yield from _first_and_others(_MASK, "_mask_fcn", 1)
    yield Rule(f"{_MASK}.upsample.{{p}}", "conv5_mask_{p}")
    yield Rule(f"{_MASK}.predictor.{{p}}", "mask_fcn_logits_{p}")
    yield Rule(f"{_KEYPOINT}.convs.{{i-1}}.0.{{p}}", "conv_fcn{i}_{p}")
    yield Rule(f"{_KEYPOINT}.upsample.{{p}}", "kps_score_lowres_{p}")
    yield Rule("head.cls_tower.{i}.0.{p}", "retnet_cls_conv_n{i}_fpn3_{p}")
    yield Rule("head.box_tower.{i}.0.{p}", "retnet_bbox_conv_n{i}_fpn3_{p}")
    yield Rule("head.cls_logits.{p}", "retnet_cls_pred_fpn3_{p}", "octaves")
    yield Rule("head.bbox_pred.{p}", "retnet_bbox_pred_fpn3_{p}", "octaves")


def _first_and_others(ours: str, theirs: str, start: int) -> Iterable[Rule]:
    """Convolutions of a head: the first one may have several inputs here, and stands apart."""
    yield Rule(f"{ours}.conv1.layers.0.0.{{p}}", f"{theirs}{start}_{{p}}")
    yield Rule(f"{ours}.conv1.layers.0.1.{{a}}", f"{theirs}{start}_gn_{{a}}")
    yield Rule(f"{ours}.convs.{{i-2}}.0.{{p}}", f"{theirs}{{i}}_{{p}}")
    yield Rule(f"{ours}.convs.{{i-2}}.1.{{a}}", f"{theirs}{{i}}_gn_{{a}}")


DETECTRON = Program(
    name="detectron",
    conventions="detectron",
    recognise=lambda names: any(re.fullmatch(r"res[2-5]_\d+_branch2[abc]_w", name) for name in names),
    layout=_detectron_layout,
    rules=_detectron_rules,
    orphans=r"conv1_b|fc1000_[wb]|pred_[wb]|kps_score_[wb]|lr|.*_momentum|.*_w_1|.*_b_1",
)

# --- Detectron2 -------------------------------------------------------------------------------------------------------


def _detectron2_layout(names: Collection[str]) -> Layout:
    return Layout(
        lowest=3 if any(name.startswith("head.cls_") for name in names) else 2,
        is_c4=any(name.startswith("roi_heads.res5.") for name in names),
        has_mlp="roi_heads.box_head.fc2.weight" in names or "roi_heads.box_head.conv1.weight" not in names,
        has_mask_norm="roi_heads.mask_head.mask_fcn1.norm.weight" in names,
    )


def _detectron2_rules(layout: Layout) -> Iterable[Rule]:
    trunk = "backbone" if layout.is_c4 else "backbone.bottom_up"
    yield Rule("backbone.conv1.weight", f"{trunk}.stem.conv1.weight")
    yield Rule("backbone.bn1.{n}", f"{trunk}.stem.conv1.norm.{{n}}")
    pairs = [(f"backbone.layer{stage - 1}", f"{trunk}.res{stage}") for stage in (2, 3, 4, 5)]
    if layout.is_c4:
        pairs[-1] = (f"{_BOX}.res5", "roi_heads.res5")
    for ours, theirs in pairs:
        yield Rule(f"{ours}.{{b}}.conv{{i}}.weight", f"{theirs}.{{b}}.conv{{i}}.weight")
        yield Rule(f"{ours}.{{b}}.bn{{i}}.{{n}}", f"{theirs}.{{b}}.conv{{i}}.norm.{{n}}")
        yield Rule(f"{ours}.{{b}}.downsample.0.weight", f"{theirs}.{{b}}.shortcut.weight")
        yield Rule(f"{ours}.{{b}}.downsample.1.{{n}}", f"{theirs}.{{b}}.shortcut.norm.{{n}}")
    for ours, theirs in (("laterals", "fpn_lateral"), ("outputs", "fpn_output")):
        for level in range(layout.lowest, 6):
            yield Rule(f"{_NECK}.{ours}.{level - layout.lowest}.conv.{{q}}", f"backbone.{theirs}{level}.{{q}}")
            yield Rule(f"{_NECK}.{ours}.{level - layout.lowest}.norm.{{q}}", f"backbone.{theirs}{level}.norm.{{q}}")
    yield Rule("neck.extra_levels.{i-6}.conv.{q}", "backbone.top_block.p{i}.{q}")
    yield Rule("rpn.head.conv.{q}", "proposal_generator.rpn_head.conv.{q}")
    yield Rule("rpn.head.objectness.{q}", "proposal_generator.rpn_head.objectness_logits.{q}")
    yield Rule("rpn.head.offsets.{q}", "proposal_generator.rpn_head.anchor_deltas.{q}")
    yield from _detectron2_heads(layout)


def _detectron2_heads(layout: Layout) -> Iterable[Rule]:
    if layout.has_mlp:
        yield Rule(f"{_BOX}.fc1.layers.0.0.{{q}}", "roi_heads.box_head.fc1.{q}")
        yield Rule(f"{_BOX}.fc2.0.{{q}}", "roi_heads.box_head.fc2.{q}")
    else:
        yield Rule(f"{_BOX}.fc.0.{{q}}", "roi_heads.box_head.fc1.{q}")
    for ours, theirs in ((_BOX, "roi_heads.box_head.conv"), (_MASK, "roi_heads.mask_head.mask_fcn")):
        yield Rule(f"{ours}.conv1.layers.0.0.{{q}}", f"{theirs}1.{{q}}")
        yield Rule(f"{ours}.conv1.layers.0.1.{{q}}", f"{theirs}1.norm.{{q}}")
        yield Rule(f"{ours}.convs.{{i-2}}.0.{{q}}", f"{theirs}{{i}}.{{q}}")
        yield Rule(f"{ours}.convs.{{i-2}}.1.{{q}}", f"{theirs}{{i}}.norm.{{q}}")
    predictor = f"{_HEAD}.box_predictor"
    yield Rule(f"{predictor}.cls_score.{{q}}", "roi_heads.box_predictor.cls_score.{q}", "background_last")
    yield Rule(f"{predictor}.bbox_pred.{{q}}", "roi_heads.box_predictor.bbox_pred.{q}", "no_background_boxes")
    yield Rule(f"{_MASK}.upsample.{{q}}", "roi_heads.mask_head.deconv.{q}")
    yield Rule(f"{_MASK}.predictor.{{q}}", "roi_heads.mask_head.predictor.{q}", "no_background_masks")
    yield Rule(f"{_KEYPOINT}.convs.{{i-1}}.0.{{q}}", "roi_heads.keypoint_head.conv_fcn{i}.{q}")
    yield Rule(f"{_KEYPOINT}.upsample.{{q}}", "roi_heads.keypoint_head.score_lowres.{q}")


DETECTRON2 = Program(
    name="detectron2",
    conventions="off",
    recognise=lambda names: any(re.search(r"(^|\.)(stem\.conv1\.norm|res[2-5]\.\d+\.conv1\.norm)\.", n) for n in names),
    layout=_detectron2_layout,
    rules=_detectron2_rules,
    orphans=r"pixel_(mean|std)|(proposal_generator\.)?anchor_generator\.cell_anchors\.\d+|.*num_batches_tracked"
    r"|(stem\.)?fc\.(weight|bias)|linear\.(weight|bias)",
)

# --- torchvision (and timm, whose ResNets have the same names) --------------------------------------------------------


def _torchvision_layout(names: Collection[str]) -> Layout:
    return Layout(lowest=3 if any(name.startswith("head.classification_head.") for name in names) else 2)


def _torchvision_rules(layout: Layout) -> Iterable[Rule]:
    yield Rule("backbone.conv1.weight", "backbone.body.conv1.weight")
    yield Rule("backbone.bn1.{n}", "backbone.body.bn1.{n}")
    yield Rule("backbone.layer{s}.{b}.conv{i}.weight", "backbone.body.layer{s}.{b}.conv{i}.weight")
    yield Rule("backbone.layer{s}.{b}.bn{i}.{n}", "backbone.body.layer{s}.{b}.bn{i}.{n}")
    yield Rule("backbone.layer{s}.{b}.downsample.0.weight", "backbone.body.layer{s}.{b}.downsample.0.weight")
    yield Rule("backbone.layer{s}.{b}.downsample.1.{n}", "backbone.body.layer{s}.{b}.downsample.1.{n}")
    for ours, theirs in (("laterals", "inner_blocks"), ("outputs", "layer_blocks")):
        yield Rule(f"{_NECK}.{ours}.{{i}}.conv.{{q}}", f"backbone.fpn.{theirs}.{{i}}.0.{{q}}")
        yield Rule(f"{_NECK}.{ours}.{{i}}.norm.{{n}}", f"backbone.fpn.{theirs}.{{i}}.1.{{n}}")
        yield Rule(f"{_NECK}.{ours}.{{i}}.conv.{{q}}", f"backbone.fpn.{theirs}.{{i}}.{{q}}")
    yield Rule("neck.extra_levels.{i-6}.conv.{q}", "backbone.fpn.extra_blocks.p{i}.{q}")
    yield Rule("rpn.head.conv.{q}", "rpn.head.conv.0.0.{q}")
    yield Rule("rpn.head.conv.{q}", "rpn.head.conv.{q}")
    yield Rule("rpn.head.objectness.{q}", "rpn.head.cls_logits.{q}")
    yield Rule("rpn.head.offsets.{q}", "rpn.head.bbox_pred.{q}")
    yield Rule(f"{_BOX}.fc1.layers.0.0.{{q}}", "roi_heads.box_head.fc6.{q}")
    yield Rule(f"{_BOX}.fc2.0.{{q}}", "roi_heads.box_head.fc7.{q}")
    yield Rule(f"{_HEAD}.box_predictor.{{x}}.{{q}}", "roi_heads.box_predictor.{x}.{q}")
    yield Rule(f"{_MASK}.conv1.layers.0.0.{{q}}", "roi_heads.mask_head.0.0.{q}")
    yield Rule(f"{_MASK}.convs.{{i-1}}.0.{{q}}", "roi_heads.mask_head.{i}.0.{q}")
    yield Rule(f"{_MASK}.conv1.layers.0.0.{{q}}", "roi_heads.mask_head.mask_fcn1.{q}")
    yield Rule(f"{_MASK}.convs.{{i-2}}.0.{{q}}", "roi_heads.mask_head.mask_fcn{i}.{q}")
    yield Rule(f"{_MASK}.upsample.{{q}}", "roi_heads.mask_predictor.conv5_mask.{q}")
    yield Rule(f"{_MASK}.predictor.{{q}}", "roi_heads.mask_predictor.mask_fcn_logits.{q}")
    for index in range(16):  # a convolution and a ReLU in turn
        yield Rule(f"{_KEYPOINT}.convs.{index}.0.{{q}}", f"roi_heads.keypoint_head.{2 * index}.{{q}}")
    yield Rule(f"{_KEYPOINT}.upsample.{{q}}", "roi_heads.keypoint_predictor.kps_score_lowres.{q}")
    yield from _torchvision_retinanet()


def _torchvision_retinanet() -> Iterable[Rule]:
    for ours, theirs in (("cls_tower", "classification_head"), ("box_tower", "regression_head")):
        yield Rule(f"head.{ours}.{{i}}.0.{{q}}", f"head.{theirs}.conv.{{i}}.0.{{q}}")
        for index in range(8):  # older files: a convolution and a ReLU in turn
            yield Rule(f"head.{ours}.{index}.0.{{q}}", f"head.{theirs}.conv.{2 * index}.{{q}}")
    yield Rule("head.cls_logits.{q}", "head.classification_head.cls_logits.{q}", "first_class_unused")
    yield Rule("head.bbox_pred.{q}", "head.regression_head.bbox_reg.{q}")


TORCHVISION = Program(
    name="torchvision",
    conventions="torchvision",
    recognise=lambda names: any(name.startswith("backbone.body.") for name in names),
    layout=_torchvision_layout,
    rules=_torchvision_rules,
    orphans=r".*num_batches_tracked",
)

# --- Detectron.pytorch, and what was built from it (FPT's own release) ------------------------------------------------


def _pytorch_layout(names: Collection[str]) -> Layout:
    return Layout(
        is_c4=any(name.startswith("Box_Head.res5.") for name in names),
        has_mlp="Box_Head.fc2.weight" in names or "Box_Head.fc.weight" not in names,
        has_norm="Conv_Body.conv_top.1.weight" in names,
        has_mask_norm="Mask_Head.conv_fcn.1.weight" in names,
    )


def _pytorch_rules(layout: Layout) -> Iterable[Rule]:
    prefix = "Conv_Body" if layout.is_c4 else "Conv_Body.conv_body"
    yield Rule("backbone.conv1.weight", f"{prefix}.res1.conv1.weight")
    for norm in layout.norms:
        yield Rule("backbone.bn1.{n}", f"{prefix}.res1.{norm}1.{{n}}")
    pairs = [(f"backbone.layer{stage - 1}", f"{prefix}.res{stage}") for stage in (2, 3, 4, 5)]
    if layout.is_c4:
        pairs[-1] = (f"{_BOX}.res5", "Box_Head.res5")
    for ours, theirs in pairs:
        yield Rule(f"{ours}.{{b}}.conv{{i}}.weight", f"{theirs}.{{b}}.conv{{i}}.weight")
        for norm in layout.norms:
            yield Rule(f"{ours}.{{b}}.bn{{i}}.{{n}}", f"{theirs}.{{b}}.{norm}{{i}}.{{n}}")
        yield Rule(f"{ours}.{{b}}.downsample.0.weight", f"{theirs}.{{b}}.downsample.0.weight")
        yield Rule(f"{ours}.{{b}}.downsample.1.{{n}}", f"{theirs}.{{b}}.downsample.1.{{n}}")
    conv = ".0" if layout.has_norm else ""
    parts = [("laterals.3", "conv_top")]
    parts += [(f"laterals.{2 - index}", f"topdown_lateral_modules.{index}.conv_lateral") for index in range(3)]
    parts += [(f"outputs.{3 - index}", f"posthoc_modules.{index}") for index in range(4)]
    for ours, theirs in parts:  # the coarsest level comes first there
        yield Rule(f"{_NECK}.{ours}.conv.{{q}}", f"Conv_Body.{theirs}{conv}.{{q}}")
        yield Rule(f"{_NECK}.{ours}.norm.{{q}}", f"Conv_Body.{theirs}.1.{{q}}")
    yield Rule("neck.extra_levels.{i}.conv.{q}", "Conv_Body.extra_pyramid_modules.{i}.{q}")
    level = "" if layout.is_c4 else "FPN_"
    yield Rule("rpn.head.conv.{q}", f"RPN.{level}RPN_conv.{{q}}")
    yield Rule("rpn.head.objectness.{q}", f"RPN.{level}RPN_cls_score.{{q}}")
    yield Rule("rpn.head.offsets.{q}", f"RPN.{level}RPN_bbox_pred.{{q}}")
    yield from _pytorch_heads(layout)


def _pytorch_heads(layout: Layout) -> Iterable[Rule]:
    if layout.has_mlp:
        yield Rule(f"{_BOX}.fc1.layers.0.0.{{q}}", "Box_Head.fc1.{q}")
        yield Rule(f"{_BOX}.fc2.0.{{q}}", "Box_Head.fc2.{q}")
    else:
        yield Rule(f"{_BOX}.fc.0.{{q}}", "Box_Head.fc.{q}")
    yield from _sequence(_BOX, "Box_Head.convs", has_norm=True)
    yield Rule(f"{_HEAD}.box_predictor.cls_score.{{q}}", "Box_Outs.cls_score.{q}")
    yield Rule(f"{_HEAD}.box_predictor.bbox_pred.{{q}}", "Box_Outs.bbox_pred.{q}", "agnostic_boxes")
    yield from _sequence(_MASK, "Mask_Head.conv_fcn", has_norm=layout.has_mask_norm)
    yield Rule(f"{_MASK}.upsample.{{q}}", "Mask_Head.upconv5.{q}")
    yield Rule(f"{_MASK}.upsample.{{q}}", "Mask_Head.upconv.{q}")
    yield Rule(f"{_MASK}.predictor.{{q}}", "Mask_Outs.classify.{q}")
    for index in range(16):
        yield Rule(f"{_KEYPOINT}.convs.{index}.0.{{q}}", f"Keypoint_Head.conv_fcn.{2 * index}.{{q}}")
    yield Rule(f"{_KEYPOINT}.upsample.{{q}}", "Keypoint_Outs.classify.{q}")


def _sequence(ours: str, theirs: str, *, has_norm: bool) -> Iterable[Rule]:
    """Convolutions that stand with their normalisations and ReLUs in one sequence there."""
    step = 3 if has_norm else 2
    for index in range(16):
        place = "conv1.layers.0" if index == 0 else f"convs.{index - 1}"
        yield Rule(f"{ours}.{place}.0.{{q}}", f"{theirs}.{step * index}.{{q}}")
        if has_norm:
            yield Rule(f"{ours}.{place}.1.{{q}}", f"{theirs}.{step * index + 1}.{{q}}")


DETECTRON_PYTORCH = Program(
    name="detectron.pytorch",
    conventions="detectron",
    recognise=lambda names: any(name.startswith("Conv_Body.") for name in names),
    layout=_pytorch_layout,
    rules=_pytorch_rules,
    orphans=r".*num_batches_tracked|Keypoint_Outs\.upsample\..*|.*\.upsample\.up\..*",
)

_OWN = re.compile(r"rpn\.head\.objectness\.|head\.cls_tower\.|neck\.pyramid\.")

FPT = Program(
    name="fpt",
    conventions="off",
    recognise=lambda names: any(_OWN.match(name) for name in names),
    layout=lambda names: Layout(),
    rules=lambda layout: (),
    orphans=r"",
)
"""This program: weights under its own names, without the rest of a checkpoint."""

PROGRAMS = (DETECTRON, DETECTRON_PYTORCH, DETECTRON2, TORCHVISION)
"""In the order in which they are recognised."""
