"""What MODEL.CONV_BODY says."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

DEFAULT_NECK = "FPN"
_TRANSFORMER = "_fpt"


@dataclass(frozen=True)
class BackboneName:
    """Parts of the name of a backbone with its neck.

    Attributes:
        neck: name of the neck, such as ``FPN`` (top-down path), ``BFP`` (laterals alone) or ``BPA`` (bottom-up path
            after the top-down one).
        backbone: name of the backbone.
        has_transformer: the Feature Pyramid Transformer follows the neck.
    """

    neck: str
    backbone: str
    has_transformer: bool

    def __str__(self) -> str:
        return f"{self.neck}.{self.backbone}{_TRANSFORMER if self.has_transformer else ''}"


def parse_backbone_name(text: str, *, necks: Collection[str]) -> BackboneName:
    """Read ``[<neck>.]<backbone>[_fpt]``, such as ``BFP.ResNet50_conv5_body_fpt`` or ``torchvision.mobilenet_v2``.

    Without a neck it is an FPN; Detectron's ``FPN.fpn_ResNet50_conv5_body`` means the same.

    Args:
        text: the name.
        necks: names of the necks that there are.
    """
    first, _, rest = text.partition(".")
    neck, backbone = (first, rest) if first in necks else (DEFAULT_NECK, text)
    return BackboneName(
        neck=neck,
        backbone=backbone.removeprefix("fpn_").removesuffix(_TRANSFORMER),
        has_transformer=backbone.endswith(_TRANSFORMER),
    )
