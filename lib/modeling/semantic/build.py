"""The model of semantic segmentation from the configuration."""

from __future__ import annotations

from typing import Any

from torch import nn

from fpt.core.config_node import CfgNode
from fpt.layers.norm import NormBuilder
from fpt.modeling.neck.compose import PyramidNeck
from fpt.modeling.semantic.head import SemanticHead
from fpt.modeling.semantic.loss import PixelLoss
from fpt.modeling.semantic.segmentor import SemanticSegmentor
from fpt.utils.errors import UserError


def build_segmentor(
    cfg: CfgNode,
    *,
    num_classes: int,
    norm: NormBuilder | None,
    neck: PyramidNeck,
    backbone_channels: tuple[int, ...],
    **parts: nn.Module,
) -> SemanticSegmentor:
    """Heads on a neck.

    Args:
        cfg: the whole configuration.
        num_classes: C, without a background.
        norm: of the heads.
        neck: the neck.
        backbone_channels: channels of the backbone's maps.
        parts: ``normalizer`` and ``backbone``.

    Raises:
        UserError: SEMANTIC.CLASS_WEIGHTS are not as many as the classes.
    """
    options = cfg.SEMANTIC
    if options.CLASS_WEIGHTS and len(options.CLASS_WEIGHTS) != num_classes:
        raise UserError(
            f"SEMANTIC.CLASS_WEIGHTS has {len(options.CLASS_WEIGHTS)} numbers, but there are {num_classes} classes"
        )
    head: dict[str, Any] = {"num_classes": num_classes, "dropout": options.DROPOUT, "norm": norm}
    width = neck.out_channels * len(neck.strides) + sum(neck.context_channels)
    auxiliary = None
    if options.AUXILIARY_WEIGHT and len(backbone_channels) > 1:
        auxiliary = SemanticHead(in_channels=backbone_channels[-2], channels=options.AUXILIARY_DIM, **head)
    return SemanticSegmentor(
        neck=neck,
        head=SemanticHead(in_channels=width, channels=options.HEAD_DIM, **head),
        auxiliary_head=auxiliary,
        auxiliary_weight=options.AUXILIARY_WEIGHT,
        loss=PixelLoss(
            class_weights=options.CLASS_WEIGHTS,
            label_smoothing=options.LABEL_SMOOTHING,
            hard_below=options.OHEM_BELOW,
            min_hard=options.OHEM_MIN_PIXELS,
        ),
        num_classes=num_classes,
        **parts,  # type: ignore[arg-type]
    )
