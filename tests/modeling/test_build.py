"""From options to a model."""

import logging
import re
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from fpt.core.config import get_cfg, load_cfg
from fpt.core.config_node import CfgNode
from fpt.layers.norm import FrozenBatchNorm2d
from fpt.modeling.backbone.build import BACKBONES
from fpt.modeling.build import build_model, load_pretrained_backbone
from fpt.modeling.neck.build import NECKS
from fpt.modeling.settings import NeckSettings
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
    assert model.rpn.levels == (1, 2, 3)
    assert not model.neck.has_p6
    assert model.roi_heads.box_pooler.levels == (1, 2)
    assert model.roi_heads.box_pooler.strides == (8, 16)
    cells = model.rpn.anchor_generator.cells
    assert (cells[:, 0, 2] - cells[:, 0, 0]).tolist() == [24, 48, 96]


def test_frozen_or_group_norm_and_frozen_backbone() -> None:
    cfg = get_cfg()
    cfg.MODEL.CONV_BODY = "FPN.ResNet18_conv5_body"
    assert isinstance(_meta(cfg).backbone.bn1, FrozenBatchNorm2d)
    cfg.RESNETS.USE_GN = True
    cfg.GROUP_NORM.NUM_GROUPS = 16
    assert _meta(cfg).backbone.bn1.num_groups == 16
    cfg.TRAIN.FREEZE_CONV_BODY = True
    assert not any(p.requires_grad for p in _meta(cfg).backbone.parameters())


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
    backbone = _meta(cfg).backbone.train()
    drops = [module for module in backbone.modules() if type(module).__name__ == "StochasticDepth"]
    assert drops
    assert not any(module.training for module in drops)
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("MODEL.CONV_BODY", "FPN.ResNet51_conv5_body", "its backbone is 'ResNet51_conv5_body'; legal: ResNet18_conv5_"),
        ("MODEL.CONV_BODY", "XYZ.torchvision.resnet18", "its backbone is 'XYZ.torchvision.resnet18'; legal: ResNet18_"),
        ("MODEL.CONV_BODY", "FPN.ResNet50", "torchvision.<model>; the nearest is 'ResNet50_conv5_body'"),
        ("MODEL.CONV_BODY", "torchvision.mobilenet_v9", "no model 'mobilenet_v9'; did you mean mobilenet_v"),
        (
            "FAST_RCNN.ROI_BOX_HEAD",
            "roi_2mlp",
            "ROI_BOX_HEAD is 'roi_2mlp'; legal: ResNet.ResNet_roi_conv5_head, fast_rcnn_heads.roi_2mlp_head, ",
        ),
        ("MRCNN.ROI_MASK_HEAD", "v1up", "nearest is 'mask_rcnn_heads.mask_rcnn_fcn_head_v1up'"),
        ("FPN.COARSEST_STRIDE", "48", "FPN.COARSEST_STRIDE is 48, but must be a multiple of 32"),
        (
            "FPN.RPN_MIN_LEVEL",
            "1",
            "are 1 to 6, but there is no level 1 (stride 2); the pyramid of MODEL.CONV_BODY has",
        ),
        ("FPN.ROI_MAX_LEVEL", "7", "no level 7 (stride 128); .* levels 2 (stride 4), 3 (stride 8), 4 (stride 16), 5"),
        ("MODEL.FPT.KEY_DIM", "30", "MODEL.FPT.KEY_DIM is 30, but must be a multiple of MODEL.FPT.NUM_MIXTURES_GROUND"),
    ],
)
def test_wrong_parts_are_named(option: str, value: str, message: str) -> None:
    cfg = load_cfg(None, ["MODEL.MASK_ON", "True", option, value])
    with pytest.raises(UserError, match=re.escape(message).replace(r"\.\*", ".*")):
        _meta(cfg)


class _Plain(nn.Module):
    """A backbone of plain convolutions; map i has the stride strides[i]."""

    def __init__(self, strides: tuple[int, ...], channels: int = 8) -> None:
        super().__init__()
        self.strides = strides
        self.out_channels = (channels,) * len(strides)
        self.convs = nn.ModuleList(nn.Conv2d(3, channels, 3, stride=stride, padding=1) for stride in strides)

    def forward(self, x: torch.Tensor) -> OrderedDict[str, torch.Tensor]:
        return OrderedDict((f"map{i}", conv(x)) for i, conv in enumerate(self.convs))


def _plain_cfg(monkeypatch: pytest.MonkeyPatch, strides: tuple[int, ...], **fpn: int) -> CfgNode:
    monkeypatch.setitem(BACKBONES, "plain", lambda settings: _Plain(strides))
    cfg = get_cfg()
    cfg.MODEL.CONV_BODY = "FPN.plain_fpt"
    cfg.MODEL.FPT.KEY_DIM = cfg.FPN.DIM = cfg.FAST_RCNN.MLP_HEAD_DIM = 16
    cfg.FPN.COARSEST_STRIDE = strides[-1]
    for key, value in fpn.items():
        cfg.FPN[key] = value
    return cfg


@pytest.mark.parametrize(
    ("strides", "low", "high", "rpn", "roi"),
    [
        ((8, 16), 3, 4, (8, 16, 32), (8, 16)),
        ((2, 4, 8), 2, 3, (4, 8, 16), (4, 8)),
        ((8, 16, 16), 3, 4, (8, 16, 16, 32), (8, 16)),
        ((16, 32, 64), 4, 6, (16, 32, 64, 128), (16, 32, 64)),
    ],
)
def test_all_parts_follow_the_strides_of_the_backbone(
    monkeypatch: pytest.MonkeyPatch,
    strides: tuple[int, ...],
    low: int,
    high: int,
    rpn: tuple[int, ...],
    roi: tuple[int, ...],
) -> None:
    levels = {"RPN_MIN_LEVEL": low, "RPN_MAX_LEVEL": high + 1, "ROI_MIN_LEVEL": low, "ROI_MAX_LEVEL": high}
    model = build_model(_plain_cfg(monkeypatch, strides, **levels), num_classes=3)
    assert model.neck.strides == (*strides, 2 * strides[-1])
    assert model.rpn.anchor_generator.strides == rpn
    assert model.roi_heads.box_pooler.strides == roi
    assert model.neck.transformer.level_strides == tuple(b // a for a, b in zip(strides, strides[1:], strict=False))
    images = [torch.rand(3, 70, 130) * 255]
    target = {"boxes": torch.tensor([[8.0, 8.0, 90.0, 60.0]]), "labels": torch.tensor([1])}
    losses = model(images, [target])
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert set(model.eval()(images)[0]) == {"boxes", "labels", "scores"}


@pytest.mark.parametrize(
    ("strides", "message"),
    [
        (
            (8, 16),
            "no level 2 (stride 4); the pyramid of MODEL.CONV_BODY has strides 8, 16, 32: levels 3 (stride 8), 4",
        ),
        (
            (4, 16),
            "needs two levels at least, each of the same or twice the stride of the one before it; the strides are",
        ),
        ((16, 8), "backbone plain (_Plain) has strides (16, 8); it must say pixels a cell of each of its maps, finest"),
        ((), "backbone plain (_Plain) has strides (); it must say"),
    ],
)
def test_strides_that_do_not_do_are_named(
    monkeypatch: pytest.MonkeyPatch, strides: tuple[int, ...], message: str
) -> None:
    cfg = _plain_cfg(monkeypatch, strides or (1,))
    monkeypatch.setitem(BACKBONES, "plain", lambda settings: _Plain(strides))
    with pytest.raises(UserError, match=re.escape(message)):
        _meta(cfg)


def test_a_backbone_must_say_the_channels_of_each_map(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = _plain_cfg(monkeypatch, (8, 16))
    backbone = _Plain((8, 16))
    backbone.out_channels = (8,)
    monkeypatch.setitem(BACKBONES, "plain", lambda settings: backbone)
    with pytest.raises(UserError, match=r"out_channels \(8,\); it must say the channels of each of its 2 maps"):
        build_model(cfg, num_classes=3)


def test_channels_of_keys_are_rounded_up_where_half_of_the_pyramids_do_not_divide() -> None:
    model = _meta(load_cfg(None, ["FPN.DIM", "20"]))
    assert model.neck.transformer.self_transformer(0).query.out_features == 12


def test_torchvision_backbone_with_caffe_means_warns(caplog: pytest.LogCaptureFixture) -> None:
    cfg = get_cfg()
    cfg.MODEL.CONV_BODY = "FPN.torchvision.mobilenet_v2_fpt"
    cfg.PIXEL_FORMAT, cfg.PIXEL_STDS = "BGR", (1.0, 1.0, 1.0)
    with caplog.at_level(logging.WARNING, "fpt"):
        _meta(cfg)
    for line in ("PIXEL_FORMAT: RGB", "PIXEL_MEANS: (123.675", "PIXEL_STDS: (58.395"):
        assert line in caplog.text
    caplog.clear()
    cfg.PIXEL_FORMAT, cfg.PIXEL_STDS = "RGB", (58.0, 57.0, 57.0)
    _meta(cfg)
    assert not caplog.records


class _Halved(nn.Module):
    """A neck that drops the finest map and adds one of twice the coarsest stride."""

    def __init__(self, settings: NeckSettings) -> None:
        super().__init__()
        self.strides = (*settings.strides[1:], 2 * settings.strides[-1])
        self.out_channels = settings.out_channels
        self.laterals = nn.ModuleList(nn.Conv2d(c, settings.out_channels, 1) for c in settings.in_channels[1:])

    def forward(self, maps, sizes_hw=None, padded_hw=None):
        outputs = [lateral(x) for lateral, x in zip(self.laterals, list(maps.values())[1:], strict=True)]
        outputs.append(nn.functional.max_pool2d(outputs[-1], 1, stride=2))
        return OrderedDict((f"level{i}", x) for i, x in enumerate(outputs))


def test_a_neck_says_its_own_strides(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = _plain_cfg(monkeypatch, (4, 8, 16), RPN_MIN_LEVEL=3, RPN_MAX_LEVEL=5, ROI_MIN_LEVEL=3, ROI_MAX_LEVEL=5)
    monkeypatch.setitem(NECKS, "Halved", _Halved)
    cfg.MODEL.CONV_BODY = "Halved.plain_fpt"
    model = build_model(cfg, num_classes=3)
    assert model.neck.strides == model.rpn.anchor_generator.strides == model.roi_heads.box_pooler.strides == (8, 16, 32)
    assert not model.neck.has_p6
    target = {"boxes": torch.tensor([[8.0, 8.0, 90.0, 60.0]]), "labels": torch.tensor([1])}
    assert all(torch.isfinite(loss) for loss in model([torch.rand(3, 64, 96) * 255], [target]).values())
