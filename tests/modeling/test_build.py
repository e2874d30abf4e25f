"""From options to a model."""

import logging
from pathlib import Path

import pytest
import torch

from fpt.core.config import get_cfg, load_cfg
from fpt.core.config_node import CfgNode
from fpt.layers.norm import FrozenBatchNorm2d
from fpt.modeling.build import build_backbone, build_model, load_pretrained_backbone
from fpt.utils.errors import UserError

MOBILENET = "mobilenet_v2-b0353104.pth"


def _mobilenet(weights: str) -> CfgNode:
    cfg = get_cfg()
    cfg.MODEL.CONV_BODY = "torchvision.mobilenet_v2"
    cfg.FPN.DIM = cfg.FAST_RCNN.MLP_HEAD_DIM = 16
    cfg.RESNETS.IMAGENET_PRETRAINED_WEIGHTS = weights
    return cfg


def _meta(cfg: CfgNode, num_classes: int = 5):
    with torch.device("meta"):
        return build_model(cfg, num_classes=num_classes)


@pytest.mark.parametrize("name", ["det", "det_2fc", "mask"])
def test_recipes_build_on_the_meta_device(root: Path, name: str) -> None:
    cfg = load_cfg(root / "configs" / f"e2e_fptnet_R-50_{name}.yaml")
    model = _meta(cfg, num_classes=81)
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert model.has_masks == (name == "mask")
    assert model.roi_heads.box_pooler.num_outputs == 4
    assert model.roi_heads.box_predictor.cls_score.out_features == 81


@pytest.mark.parametrize("pyramid", ["FPN", "BFP", "BPA"])
@pytest.mark.parametrize("suffix", ["", "_fpt"])
@pytest.mark.parametrize("norm", ["GN", "SyncBN", "none"])
def test_necks(pyramid: str, suffix: str, norm: str) -> None:
    cfg = get_cfg()
    cfg.MODEL.CONV_BODY = f"{pyramid}.ResNet18_conv5_body{suffix}"
    cfg.MODEL.FPT.NORM = norm
    neck = _meta(cfg).neck
    assert (neck.transformer is not None) == bool(suffix)
    assert (len(neck.pyramid.outputs) == 0) == (pyramid == "BFP")
    assert (len(neck.pyramid.merges) > 0) == (pyramid == "BPA")
    assert neck.out_channels == cfg.FPN.DIM


def test_levels_and_anchors_follow_the_options() -> None:
    cfg = get_cfg()
    cfg.FPN.RPN_MIN_LEVEL, cfg.FPN.RPN_MAX_LEVEL = 3, 5
    cfg.FPN.ROI_MIN_LEVEL, cfg.FPN.ROI_MAX_LEVEL = 3, 4
    cfg.FPN.RPN_ASPECT_RATIOS = (1.0,)
    cfg.FPN.RPN_ANCHOR_START_SIZE = 24
    model = build_model(cfg, num_classes=3)
    assert model.rpn.levels == ("res3", "res4", "res5")
    assert not model.neck.has_p6
    assert model.roi_heads.box_pooler.levels == ("res3", "res4")
    assert model.roi_heads.box_pooler.strides == (8, 16)
    cells = model.rpn.anchor_generator.cells
    assert (cells[:, 0, 2] - cells[:, 0, 0]).tolist() == [24, 48, 96]


def test_frozen_or_group_norm_and_frozen_backbone() -> None:
    cfg = get_cfg()
    cfg.MODEL.CONV_BODY = "FPN.ResNet18_conv5_body"
    assert isinstance(build_backbone(cfg).bn1, FrozenBatchNorm2d)
    cfg.RESNETS.USE_GN = True
    cfg.GROUP_NORM.NUM_GROUPS = 16
    assert build_backbone(cfg).bn1.num_groups == 16
    cfg.TRAIN.FREEZE_CONV_BODY = True
    assert not any(p.requires_grad for p in build_backbone(cfg).parameters())


def test_number_of_classes_may_not_contradict_the_data() -> None:
    cfg = get_cfg()
    cfg.MODEL.NUM_CLASSES = 81
    with pytest.raises(UserError, match=r"MODEL\.NUM_CLASSES is 81, but the data set has 4 classes"):
        build_model(cfg, num_classes=5)
    assert _meta(cfg, num_classes=81).num_classes == 81


def test_pretrained_backbone(shared_weights: Path) -> None:
    cfg = _mobilenet(str(shared_weights / MOBILENET))
    model = build_model(cfg, num_classes=3)
    load_pretrained_backbone(model, cfg)
    weights = torch.load(shared_weights / MOBILENET, weights_only=True)
    torch.testing.assert_close(model.backbone.get_parameter("features.0.0.weight").data, weights["features.0.0.weight"])


def test_missing_weights_say_where_to_put_them_and_how_to_go_without(tmp_path: Path) -> None:
    cfg = _mobilenet("pretrained/nowhere.pth")
    cfg.DATA_DIR = str(tmp_path)
    model = _meta(cfg)
    with pytest.raises(UserError) as error:
        load_pretrained_backbone(model, cfg)
    for part in (
        "RESNETS.IMAGENET_PRETRAINED_WEIGHTS",
        str(tmp_path / "pretrained/nowhere.pth"),
        "--set MODEL.LOAD_IMAGENET_PRETRAINED_WEIGHTS False",
    ):
        assert part in str(error.value)


def test_going_without_weights_is_said(caplog: pytest.LogCaptureFixture) -> None:
    cfg = _mobilenet("pretrained/nowhere.pth")
    cfg.MODEL.LOAD_IMAGENET_PRETRAINED_WEIGHTS = False
    with caplog.at_level(logging.WARNING, logger="fpt"):
        load_pretrained_backbone(_meta(cfg), cfg)
    assert "random weights" in caplog.text
    assert "RESNETS.FREEZE_AT 0" in caplog.text


def test_frozen_backbone_of_torchvision_stays_in_evaluation_mode() -> None:
    cfg = get_cfg()
    cfg.MODEL.CONV_BODY = "torchvision.efficientnet_b0"
    cfg.TRAIN.FREEZE_CONV_BODY = True
    backbone = build_backbone(cfg).train()
    drops = [module for module in backbone.modules() if type(module).__name__ == "StochasticDepth"]
    assert drops
    assert not any(module.training for module in drops)
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
