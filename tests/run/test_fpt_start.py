"""FPT put into a trained detector, and checkpoints from before it could start as the identity."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from fpt.checkpoint.checkpoint import Checkpoint, load_checkpoint, load_fitting_weights, load_weights, save_checkpoint
from fpt.core.config import load_cfg
from fpt.core.config_node import CfgNode
from fpt.modeling.build import build_model
from fpt.run.predictor import Predictor
from fpt.utils.errors import UserError

FPT = ["MODEL.CONV_BODY", "FPN.ResNet18_conv5_body_fpt"]


def _checkpoint(cfg: CfgNode, *, config: str) -> Checkpoint:
    torch.manual_seed(0)
    model = build_model(cfg, num_classes=3)
    return Checkpoint(model=model.state_dict(), classes=["a", "b"], config=config, step=1)


def test_a_trained_detector_finds_the_same_the_moment_fpt_is_put_in(trained) -> None:
    plain, with_fpt = (build_model(load_cfg(trained.cfg, more), num_classes=3).eval() for more in ([], FPT))
    for model in (plain, with_fpt):
        fresh, unused = load_fitting_weights(model, load_checkpoint(trained.checkpoint), source="it")
        assert (fresh, unused) == (["neck.transformer"] if model is with_fpt else [], [])
    images = [torch.randint(0, 256, (3, h, w), dtype=torch.uint8) for h, w in ((64, 64), (50, 62))]
    with torch.no_grad():
        before, after = plain(images), with_fpt(images)
    for a, b in zip(before, after, strict=True):
        assert len(a["boxes"]) > 0
        for key, value in a.items():
            torch.testing.assert_close(b[key], value, rtol=0, atol=1e-5)


START, OWN = ["MODEL.FPT.START", "paper"], ["MODEL.FPT.SHARE_DOWNSAMPLING", "False"]
PAPER = [*START, "MODEL.FPT.FUSION", "concat", "MODEL.FPT.QUERY_STRIDE", "1", *OWN]


def test_a_checkpoint_from_before_these_options_is_one_of_the_papers_form(trained, tmp_path: Path) -> None:
    cfg = load_cfg(trained.cfg, [*FPT, *PAPER])
    content = cfg.to_dict()
    for name in PAPER[::2]:
        del content["MODEL"]["FPT"][name.rpartition(".")[2]]
    config = yaml.safe_dump(json.loads(json.dumps(content)))
    save_checkpoint(tmp_path / "old.pth", _checkpoint(cfg, config=config))
    options = Predictor(tmp_path / "old.pth", device="cpu").cfg.MODEL.FPT
    assert (options.START, options.FUSION, options.QUERY_STRIDE) == ("paper", "concat", 1)
    assert not options.SHARE_DOWNSAMPLING
    advice = (
        r"Set MODEL.FPT.FUSION to concat \(and QUERY_STRIDE to 1 if that is not in its yaml file\) and "
        "MODEL.FPT.SHARE_DOWNSAMPLING to False and MODEL.FPT.START to paper: that is how its transformer was trained"
    )
    with pytest.raises(UserError, match=advice):
        Predictor(tmp_path / "old.pth", cfg=load_cfg(trained.cfg, FPT))


def test_a_checkpoint_of_today_says_how_it_was_trained(trained, tmp_path: Path) -> None:
    cfg = load_cfg(trained.cfg, FPT)
    save_checkpoint(tmp_path / "new.pth", _checkpoint(cfg, config=cfg.dump()))
    options = Predictor(tmp_path / "new.pth", device="cpu").cfg.MODEL.FPT
    assert (options.START, options.FUSION, options.QUERY_STRIDE) == ("identity", "separable", 8)
    assert options.SHARE_DOWNSAMPLING
    shared = "MODEL.FPT.SHARE_DOWNSAMPLING to True"
    for pairs, advice in (
        (PAPER, f"Set MODEL.FPT.FUSION to separable and {shared} and MODEL.FPT.START to identity"),
        (OWN, f"Set {shared}:"),
        (["MODEL.FPT.FUSION", "bottleneck"], "Set MODEL.FPT.FUSION to separable:"),
        (["MODEL.FPT.FUSION", "coarse"], "Set MODEL.FPT.FUSION to separable:"),
    ):
        with pytest.raises(UserError, match=advice):
            Predictor(tmp_path / "new.pth", cfg=load_cfg(trained.cfg, [*FPT, *pairs]))


@pytest.mark.parametrize("fusion", ["coarse", "bottleneck"])
def test_a_checkpoint_with_another_fusion_names_it(trained, tmp_path: Path, fusion: str) -> None:
    cfg = load_cfg(trained.cfg, [*FPT, "MODEL.FPT.FUSION", fusion])
    save_checkpoint(tmp_path / "other.pth", _checkpoint(cfg, config=cfg.dump()))
    assert Predictor(tmp_path / "other.pth", device="cpu").cfg.MODEL.FPT.FUSION == fusion
    with pytest.raises(UserError, match=f"Set MODEL.FPT.FUSION to {fusion}:"):
        Predictor(tmp_path / "other.pth", cfg=load_cfg(trained.cfg, FPT))


def test_a_fusion_of_another_form_starts_afresh_and_the_rest_is_taken(trained) -> None:
    bottleneck = [*FPT, "MODEL.FPT.FUSION", "bottleneck"]
    published = _checkpoint(load_cfg(trained.cfg, [*bottleneck, *START]), config="")
    torch.manual_seed(1)
    model = build_model(load_cfg(trained.cfg, bottleneck), num_classes=3)
    fresh, unused = load_fitting_weights(model, published, source="it")
    assert fresh == ["neck.transformer.fusions"]
    assert unused == [f"neck.transformer.fusions.{level}.refine.norm" for level in range(4)]
    own = model.state_dict()
    assert all(torch.equal(own[name], x) for name, x in published.model.items() if ".fusions." not in name)
    assert all(own[name].abs().sum() == 0 for name in own if ".reduction." in name)


def test_a_checkpoint_with_gains_is_named_and_a_start_for_training(trained) -> None:
    cfg = load_cfg(trained.cfg, FPT)
    former = _checkpoint(cfg, config=cfg.dump())
    for level in range(4):
        former.model[f"neck.transformer.gains.{level}"] = torch.ones(32)
        former.model[f"neck.transformer.fusions.{level}.refine.norm.weight"] = torch.ones(32)
    model = build_model(cfg, num_classes=3)
    with pytest.raises(UserError, match="adds maps times learned gains.*--load_ckpt takes all but the fusions"):
        load_weights(model, former, source="it")
    fresh, _ = load_fitting_weights(model, former, source="it")
    assert fresh == ["neck.transformer.fusions"]
