"""Names of backbones and necks."""

import pytest

from fpt.modeling.backbone_name import BackboneName, parse_backbone_name

NECKS = ("FPN", "BFP", "BPA", "Mine")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("FPN.ResNet50_conv5_body_fpt", BackboneName("FPN", "ResNet50_conv5_body", True)),
        ("FPN.fpn_ResNet101_conv5_body", BackboneName("FPN", "ResNet101_conv5_body", False)),
        ("BFP.ResNet18_conv5_body", BackboneName("BFP", "ResNet18_conv5_body", False)),
        ("torchvision.mobilenet_v2", BackboneName("FPN", "torchvision.mobilenet_v2", False)),
        ("BPA.torchvision.regnet_y_400mf_fpt", BackboneName("BPA", "torchvision.regnet_y_400mf", True)),
        ("Mine.plain_fpt", BackboneName("Mine", "plain", True)),
        ("Yours.plain", BackboneName("FPN", "Yours.plain", False)),
        ("", BackboneName("FPN", "", False)),
    ],
)
def test_parts_of_a_name(name: str, expected: BackboneName) -> None:
    assert parse_backbone_name(name, necks=NECKS) == expected
    assert parse_backbone_name(str(expected), necks=NECKS) == expected
