"""What MODEL.CONV_BODY says."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fpt.modeling.backbone.resnet import BLOCKS
from fpt.utils.errors import UserError

PYRAMIDS = ("FPN", "BFP", "BPA")

_PATTERN = re.compile(
    r"(?:(?P<pyramid>FPN|BFP|BPA)\.)?(?:fpn_)?(?:ResNet(?P<depth>\d+)_conv5_body|torchvision\.(?P<name>\w+?))(?P<fpt>_fpt)?"
)


@dataclass(frozen=True)
class BackboneName:
    """Parts of the name of a backbone with its neck.

    Args:
        pyramid: ``FPN`` (top-down path), ``BFP`` (laterals alone) or ``BPA`` (bottom-up path after the top-down one).
        resnet_depth: of our ResNet, or None for a torchvision model.
        torchvision_name: as in torchvision.models, or None.
        has_transformer: the Feature Pyramid Transformer follows.
    """

    pyramid: str
    resnet_depth: int | None
    torchvision_name: str | None
    has_transformer: bool


def parse_backbone_name(name: str) -> BackboneName:
    """Read ``[FPN.|BFP.|BPA.]ResNet50_conv5_body[_fpt]`` or ``[FPN.|BFP.|BPA.]torchvision.mobilenet_v2[_fpt]``.

    Without a prefix the pyramid is an FPN; Detectron's ``FPN.fpn_ResNet50_conv5_body`` means the same.

    Raises:
        UserError: the name has another form.
    """
    match = _PATTERN.fullmatch(name)
    depth = int(match["depth"]) if match and match["depth"] else None
    if match is None or (depth is not None and depth not in BLOCKS):
        depths = "|".join(str(item) for item in BLOCKS)
        raise UserError(
            f"MODEL.CONV_BODY is {name!r}, expected [FPN.|BFP.|BPA.]ResNet<{depths}>_conv5_body[_fpt] or "
            "[FPN.|BFP.|BPA.]torchvision.<name>[_fpt], such as FPN.ResNet50_conv5_body_fpt or torchvision.mobilenet_v2"
        )
    return BackboneName(
        pyramid=match["pyramid"] or "FPN",
        resnet_depth=depth,
        torchvision_name=match["name"],
        has_transformer=match["fpt"] is not None,
    )
