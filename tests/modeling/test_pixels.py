"""Order, means and standard deviations of the channels follow the weights, unless the options say otherwise."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from fpt.core.config import get_cfg
from fpt.core.config_node import CfgNode
from fpt.modeling.backbone.build import BACKBONES, make_resnet
from fpt.modeling.build import build_model
from fpt.modeling.pixels.build import CAFFE, pixel_values
from fpt.modeling.settings import PixelValues

IMAGENET = PixelValues("RGB", means=(123.675, 116.28, 103.53), stds=(58.395, 57.12, 57.375))


def cfg_of(name: str, weights: str = "") -> CfgNode:
    cfg = get_cfg()
    cfg.MODEL.CONV_BODY = name
    cfg.RESNETS.IMAGENET_PRETRAINED_WEIGHTS = weights
    return cfg


@pytest.mark.parametrize(
    ("name", "weights", "values"),
    [
        ("FPN.torchvision.mobilenet_v2_fpt", "mobilenet_v2-b0353104.pth", IMAGENET),
        ("FPN.torchvision.mobilenet_v2_fpt", "", IMAGENET),
        ("torchvision.resnet50", "", IMAGENET),
        ("FPN.ResNet50_conv5_body_fpt", "", CAFFE),
        ("FPN.ResNet50_conv5_body_fpt", "data/pretrained_model/resnet50_caffe.pth", CAFFE),
        ("FPN.ResNet50_conv5_body_fpt", "data/pretrained_model/R-50.pkl", CAFFE),
        ("FPN.ResNet50_conv5_body_fpt", "resnet50-0676ba61.pth", IMAGENET),
    ],
)
def test_auto_is_what_the_weights_expect(name: str, weights: str, values: PixelValues) -> None:
    assert pixel_values(cfg_of(name, weights)) == values


def test_the_file_says_whose_it_is_where_its_name_does_not(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    entries = {"bn1.running_var": torch.ones(1)}
    torch.save(entries, path)
    cfg = cfg_of("FPN.ResNet18_conv5_body", str(path))
    assert pixel_values(cfg) == CAFFE
    torch.save({**entries, "bn1.num_batches_tracked": torch.tensor(7)}, path)
    assert pixel_values(cfg) == IMAGENET
    cfg.MODEL.LOAD_IMAGENET_PRETRAINED_WEIGHTS = False
    assert pixel_values(cfg) == CAFFE


def test_a_backbone_of_ones_own_says_what_it_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    own = PixelValues("RGB", means=(1.0, 2.0, 3.0), stds=(4.0, 5.0, 6.0))

    def factory(settings) -> nn.Module:
        module = make_resnet(settings, depth=18)
        module.pixel_values = own
        return module

    monkeypatch.setitem(BACKBONES, "own", factory)
    before = torch.random.get_rng_state()
    assert pixel_values(cfg_of("own")) == own
    assert torch.equal(torch.random.get_rng_state(), before)


def test_given_values_win_and_the_others_follow_their_order() -> None:
    cfg = cfg_of("torchvision.mobilenet_v2")
    cfg.PIXEL_FORMAT = "BGR"
    assert pixel_values(cfg) == PixelValues("BGR", means=IMAGENET.means[::-1], stds=IMAGENET.stds[::-1])
    cfg.PIXEL_FORMAT, cfg.PIXEL_MEANS = "auto", (1.0, 2.0, 3.0)
    assert pixel_values(cfg) == PixelValues("RGB", means=(1.0, 2.0, 3.0), stds=IMAGENET.stds)
    cfg.PIXEL_STDS = (2.0, 2.0, 2.0)
    assert pixel_values(cfg).stds == (2.0, 2.0, 2.0)


def test_the_model_has_them_and_nothing_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "fpt"), torch.device("meta"):
        model = build_model(cfg_of("FPN.torchvision.mobilenet_v2_fpt"), num_classes=2)
    assert not model.normalizer.is_reversed
    assert not caplog.records
    model = build_model(cfg_of("FPN.ResNet18_conv5_body"), num_classes=2)
    assert model.normalizer.is_reversed
    assert model.normalizer.means.flatten().tolist() == pytest.approx(CAFFE.means)
