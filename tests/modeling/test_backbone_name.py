"""Names of backbones and necks."""

import pytest

from fpt.modeling.backbone_name import BackboneName, parse_backbone_name
from fpt.utils.errors import UserError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("FPN.ResNet50_conv5_body_fpt", BackboneName("FPN", 50, None, True)),
        ("FPN.fpn_ResNet101_conv5_body", BackboneName("FPN", 101, None, False)),
        ("BFP.ResNet18_conv5_body", BackboneName("BFP", 18, None, False)),
        ("torchvision.mobilenet_v2", BackboneName("FPN", None, "mobilenet_v2", False)),
        ("BPA.torchvision.regnet_y_400mf_fpt", BackboneName("BPA", None, "regnet_y_400mf", True)),
    ],
)
def test_legal_names(name: str, expected: BackboneName) -> None:
    assert parse_backbone_name(name) == expected


@pytest.mark.parametrize(
    "name", ["ResNet51_conv5_body", "FPN.ResNet50", "XYZ.torchvision.resnet18", "", "torchvision."]
)
def test_other_names_are_refused_with_the_legal_forms(name: str) -> None:
    with pytest.raises(UserError, match=r"expected \[FPN\.\|BFP\.\|BPA\.\]ResNet<18\|34\|50\|101\|152>_conv5_body"):
        parse_backbone_name(name)
