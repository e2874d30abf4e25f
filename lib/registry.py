"""Parts of one's own by name, without a change of the package: docs/extending.md has an example of each.

A name is registered once, before the configuration that uses it is built; in a program with several processes, in each.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from fpt.annotations.pack import AnnotationReader
from fpt.annotations.readers import DATASET_READERS
from fpt.evaluation.evaluate import EVALUATORS, Evaluator
from fpt.modeling.backbone.build import BACKBONES, backbone_names
from fpt.modeling.neck.build import NECKS
from fpt.modeling.roi_heads.build import BOX_HEADS, KEYPOINT_HEADS, MASK_HEADS
from fpt.modeling.settings import (
    BackboneFactory,
    BoxHeadSettings,
    HeadEntry,
    KeypointHeadSettings,
    MaskHeadSettings,
    NeckFactory,
)
from fpt.solver.lr_schedule import LR_POLICIES, LrPolicy
from fpt.solver.optimizer import OPTIMIZERS, OptimizerFactory
from fpt.utils.errors import UserError
from fpt.utils.parts import add_part


def register_backbone(name: str, factory: BackboneFactory) -> None:
    """Let MODEL.CONV_BODY say ``[<neck>.]<name>[_fpt]``.

    Args:
        name: without a dot and not ending in ``_fpt``, which mean the neck and the transformer.
        factory: BackboneSettings -> module from images [N, 3, H, W] to an OrderedDict of maps, finest first, with the
            attributes ``out_channels`` and ``strides`` (pixels a cell), a whole number for each map.

    Raises:
        UserError: the name is taken or cannot be used.
    """
    _check_name(name, "backbone")
    add_part(BACKBONES, name, factory, kind="backbone")


def register_neck(name: str, factory: NeckFactory) -> None:
    """Let MODEL.CONV_BODY say ``<name>.<backbone>[_fpt]``.

    Args:
        name: without a dot and not ending in ``_fpt``.
        factory: NeckSettings -> module with ``neck(maps, sizes_hw=, padded_hw=)`` from the backbone's maps to maps of
            ``out_channels`` channels, finest first; it says ``strides`` where they are others than the backbone's.

    Raises:
        UserError: the name is taken or cannot be used.
    """
    _check_name(name, "neck")
    add_part(NECKS, name, factory, kind="neck")


def register_box_head(name: str, factory: Callable[[BoxHeadSettings], nn.Module], *, is_adaptive: bool = False) -> None:
    """Let FAST_RCNN.ROI_BOX_HEAD say ``name``.

    Args:
        name: of the head.
        factory: BoxHeadSettings -> module from ``num_inputs`` tensors [R, C, P, P] to [R, out_channels], with the
            attribute ``out_channels``.
        is_adaptive: the inputs are pooled from every level (adaptive feature pooling), not from the one that fits.

    Raises:
        UserError: the name is taken.
    """
    add_part(BOX_HEADS, name, HeadEntry(factory, is_adaptive), kind="box head")


def register_mask_head(
    name: str, factory: Callable[[MaskHeadSettings], nn.Module], *, is_adaptive: bool = False
) -> None:
    """Let MRCNN.ROI_MASK_HEAD say ``name``.

    Args:
        name: of the head.
        factory: MaskHeadSettings -> module from ``num_inputs`` tensors [R, C, P, P] to logits float32
            [R, num_masks, M, M].
        is_adaptive: the inputs are pooled from every level (adaptive feature pooling), not from the one that fits.

    Raises:
        UserError: the name is taken.
    """
    add_part(MASK_HEADS, name, HeadEntry(factory, is_adaptive), kind="mask head")


def register_keypoint_head(
    name: str, factory: Callable[[KeypointHeadSettings], nn.Module], *, is_adaptive: bool = False
) -> None:
    """Let KRCNN.ROI_KEYPOINTS_HEAD say ``name``.

    Args:
        name: of the head.
        factory: KeypointHeadSettings -> module from ``num_inputs`` tensors [R, C, P, P] to logits float32
            [R, num_keypoints, size, size].
        is_adaptive: the inputs are pooled from every level (adaptive feature pooling), not from the one that fits.

    Raises:
        UserError: the name is taken.
    """
    add_part(KEYPOINT_HEADS, name, HeadEntry(factory, is_adaptive), kind="keypoint head")


def register_lr_policy(name: str, policy: LrPolicy) -> None:
    """Let SOLVER.LR_POLICY say ``name``.

    Args:
        name: of the policy.
        policy: ``policy(schedule, step)`` -> rate after `step` finished steps, before the warm-up's factor;
            ``schedule`` holds base_lr, max_iter, gamma, steps and so on.

    Raises:
        UserError: the name is taken.
    """
    add_part(LR_POLICIES, name, policy, kind="policy of the learning rate")


def register_optimizer(name: str, factory: OptimizerFactory) -> None:
    """Let SOLVER.TYPE and ``--o`` say ``name``.

    Args:
        name: of the optimizer.
        factory: ``factory(groups, lr=, momentum=)`` -> optimizer; each group holds ``params`` and ``weight_decay``.

    Raises:
        UserError: the name is taken.
    """
    add_part(OPTIMIZERS, name, factory, kind="optimizer")


def register_dataset_reader(name: str, reader: AnnotationReader) -> None:
    """Let a data set say ``FORMAT: name``.

    Args:
        name: of the format.
        reader: path of ANN_FILE, a file or a folder -> dict of the lists ``images``, ``annotations`` and
            ``categories``, as in COCO's json. It is checked as COCO's json is, and used for evaluation too.

    Raises:
        UserError: the name is taken.
    """
    add_part(DATASET_READERS, name, reader, kind="reader of data sets")


def register_evaluator(name: str, evaluator: Evaluator) -> None:
    """Let TEST.EVALUATOR hold ``name``.

    Args:
        name: of the evaluator.
        evaluator: ``evaluator(dataset, detections)`` -> {kind: {metric: number}}, which joins metrics.json; ``dataset``
            is an EvaluatedDataset, ``detections`` one Detections for each of its images.

    Raises:
        UserError: the name is taken.
    """
    add_part(EVALUATORS, name, evaluator, kind="evaluator")


def names_by_option() -> dict[str, tuple[str, ...]]:
    """The names that an option may have, by its key."""
    necks = "".join(["[", "|".join(f"{neck}." for neck in NECKS), "]"])
    return {
        "TEST.EVALUATOR": tuple(EVALUATORS),
        "MODEL.CONV_BODY": tuple(f"{necks}{backbone}[_fpt]" for backbone in backbone_names()),
        "SOLVER.TYPE": tuple(OPTIMIZERS),
        "SOLVER.LR_POLICY": tuple(LR_POLICIES),
        "FAST_RCNN.ROI_BOX_HEAD": tuple(BOX_HEADS),
        "MRCNN.ROI_MASK_HEAD": tuple(MASK_HEADS),
        "KRCNN.ROI_KEYPOINTS_HEAD": tuple(KEYPOINT_HEADS),
    }


def _check_name(name: str, kind: str) -> None:
    if "." in name or name.endswith("_fpt"):
        raise UserError(
            f"{kind}: it cannot be called {name!r}, as MODEL.CONV_BODY reads what stands before a dot as the neck and "
            "_fpt at the end as the transformer"
        )
