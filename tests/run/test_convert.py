"""Weights go from any program to any other and back, bit by bit."""

import dataclasses
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from fpt.checkpoint.checkpoint import Checkpoint, load_checkpoint, load_weights, save_checkpoint
from fpt.checkpoint.formats.reader import read_weight_file
from fpt.cli.convert import main
from fpt.core.config import load_cfg
from fpt.modeling.build import build_model
from fpt.run.convert import FORMATS, TARGETS, convert
from fpt.utils.errors import UserError

OPTIONS = (
    *("MODEL.CONV_BODY", "FPN.ResNet50_conv5_body", "RESNETS.BASE_CHANNELS", "16", "FPN.DIM", "16"),
    *("FAST_RCNN.MLP_HEAD_DIM", "16", "MRCNN.DIM_REDUCED", "16", "MODEL.MASK_ON", "True"),
)
CLASSES = ["box", "cup", "pen"]


def _model(*options: str) -> nn.Module:
    torch.manual_seed(0)
    return build_model(load_cfg(None, [*OPTIONS, *options]), num_classes=4)


def _fill(model: nn.Module, *, is_affine: bool) -> None:
    for name, value in model.named_buffers():
        if name.endswith(("weight", "bias")):
            value.uniform_(0.5, 1.5)
        elif name.endswith("running_var"):
            value.fill_(1 - 1e-5) if is_affine else value.uniform_(0.5, 2)
        elif name.endswith("running_mean") and not is_affine:
            value.uniform_(-1, 1)
    if is_affine:  # a background is never decoded: programs without one have no weights for it
        predictor, masks = model.roi_heads.box_predictor, model.roi_heads.mask_branch.head.predictor
        for value in (predictor.bbox_pred.weight.data[:4], predictor.bbox_pred.bias.data[:4]):
            value.zero_()
        masks.weight.data[:1].zero_()
        masks.bias.data[:1].zero_()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    model = _model()
    _fill(model, is_affine=True)
    path = tmp_path / "model_step3.pth"
    config = load_cfg(None, list(OPTIONS)).dump()
    save_checkpoint(path, Checkpoint(model=model.state_dict(), classes=CLASSES, config=config, step=3))
    return path


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("program", TARGETS)
def test_there_and_back(tmp_path: Path, checkpoint: Path, program: str, suffix: str) -> None:
    there, back = tmp_path / f"there{suffix}", tmp_path / "back.safetensors"
    assert convert(checkpoint, there, program=program) == []
    assert convert(there, back) == []
    original, returned = load_checkpoint(checkpoint).model, load_checkpoint(back)
    model = _model()
    load_weights(model, returned, source=back)
    assert {name for name, value in model.state_dict().items() if not torch.equal(value, original[name])} == set()
    assert returned.classes == (CLASSES if program == "fpt" else ["class 1", "class 2", "class 3"])
    assert returned.origin.conventions == {"torchvision": "torchvision", "fpt": "off", "detectron2": "off"}.get(
        program, "detectron"
    )
    assert read_weight_file(there).tensors.keys() != original.keys() or program == "fpt"


@pytest.mark.parametrize("program", [name for name in TARGETS if name != "fpt"])
def test_key_points_there_and_back(tmp_path: Path, program: str) -> None:
    options = ("MODEL.KEYPOINTS_ON", "True", "KRCNN.NUM_KEYPOINTS", "5", "KRCNN.CONV_HEAD_DIM", "16")
    model = _model(*options)
    _fill(model, is_affine=True)
    config = load_cfg(None, [*OPTIONS, *options]).dump()
    save_checkpoint(tmp_path / "a.pth", Checkpoint(model=model.state_dict(), classes=CLASSES, config=config, step=3))
    assert convert(tmp_path / "a.pth", tmp_path / "there.pkl", program=program) == []
    convert(tmp_path / "there.pkl", tmp_path / "back.pth")
    returned = load_checkpoint(tmp_path / "back.pth").model
    names = [name for name in returned if ".keypoint_branch." in name]
    assert len(names) == 18
    assert all(torch.equal(returned[name], model.state_dict()[name]) for name in names)


@pytest.mark.parametrize("program", ["detectron", "detectron.pytorch"])
def test_statistics_become_a_scale_and_a_bias(tmp_path: Path, program: str) -> None:
    model = _model()
    _fill(model, is_affine=False)
    source = tmp_path / "a.pth"
    config = load_cfg(None, list(OPTIONS)).dump()
    save_checkpoint(source, Checkpoint(model=model.state_dict(), classes=CLASSES, config=config, step=3))
    convert(source, tmp_path / "b.pkl", program=program)
    other = _model()
    load_weights(other, load_checkpoint(tmp_path / "b.pkl"), source="b.pkl")
    for old, new in zip(model.backbone.bn1.fold(), other.backbone.bn1.fold(), strict=True):
        torch.testing.assert_close(new, old)


def test_numbers_beyond_float16_are_named(tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = load_checkpoint(checkpoint)
    weights.model["rpn.head.conv.bias"][0] = 1e5
    save_checkpoint(tmp_path / "large.pth", weights)
    assert main([str(tmp_path / "large.pth"), str(tmp_path / "half.safetensors"), "--half"]) == 2
    assert "--half: rpn.head.conv.bias has numbers up to 100000, and float16 ends at 65504" in capsys.readouterr().err
    assert not (tmp_path / "half.safetensors").exists()


@pytest.mark.parametrize("program", ["detectron", "detectron.pytorch", "detectron2"])
def test_a_box_for_all_classes_where_there_is_one(tmp_path: Path, program: str) -> None:
    options = [*OPTIONS, "MODEL.CLS_AGNOSTIC_BBOX_REG", "True"]
    torch.manual_seed(0)
    model, other = (build_model(load_cfg(None, options), num_classes=2) for _ in range(2))
    config = load_cfg(None, options).dump()
    save_checkpoint(tmp_path / "a.pth", Checkpoint(model=model.state_dict(), classes=["a"], config=config, step=3))
    there = tmp_path / ("there.pkl" if program != "detectron.pytorch" else "there.pth")
    convert(tmp_path / "a.pth", there, program=program)
    load_weights(other, load_checkpoint(there), source="there")
    for ours, theirs in zip(
        model.roi_heads.box_predictor.parameters(), other.roi_heads.box_predictor.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("program", ["detectron", "detectron.pytorch"])
def test_a_box_for_all_classes_has_one_of_the_background_beside_it_in_detectron(tmp_path: Path, program: str) -> None:
    model = _model("MODEL.CLS_AGNOSTIC_BBOX_REG", "True")
    _fill(model, is_affine=True)
    names = Checkpoint(model=model.state_dict(), classes=CLASSES, config="", step=3)
    config = load_cfg(None, [*OPTIONS, "MODEL.CLS_AGNOSTIC_BBOX_REG", "True"]).dump()
    save_checkpoint(tmp_path / "a.pth", dataclasses.replace(names, config=config))
    there = tmp_path / ("there.pkl" if program == "detectron" else "there.pth")
    convert(tmp_path / "a.pth", there, program=program)
    predictor = model.roi_heads.box_predictor.bbox_pred
    (theirs,) = (
        v
        for k, v in read_weight_file(there).tensors.items()
        if "bbox_pred" in k and "rpn" not in k.lower() and v.ndim == 2
    )
    assert theirs.shape[0] == 8
    assert torch.equal(theirs[4:], predictor.weight)
    other = _model("MODEL.CLS_AGNOSTIC_BBOX_REG", "True")
    load_weights(other, load_checkpoint(there), source="there")
    assert torch.equal(other.roi_heads.box_predictor.bbox_pred.weight, predictor.weight)
    assert torch.equal(other.roi_heads.box_predictor.bbox_pred.bias, predictor.bias)


def test_half_is_half_the_size(tmp_path: Path, checkpoint: Path) -> None:
    convert(checkpoint, tmp_path / "whole.safetensors")
    assert main([str(checkpoint), str(tmp_path / "half.safetensors"), "--half"]) == 0
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.55 * sizes[1]
    model = _model()
    load_weights(model, load_checkpoint(tmp_path / "half.safetensors"), source="half")
    for name, value in load_checkpoint(checkpoint).model.items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=5e-4, atol=1e-6)


def test_what_has_no_place_is_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    options = ["MODEL.CONV_BODY", "FPN.ResNet50_conv5_body_fpt"]
    model = _model(*options)
    source = tmp_path / "a.pth"
    config = load_cfg(None, [*OPTIONS, *options]).dump()
    save_checkpoint(source, Checkpoint(model=model.state_dict(), classes=CLASSES, config=config, step=3))
    assert main([str(source), str(tmp_path / "b.pkl")]) == 0
    assert "without a place there, and left out: neck.transformer." in capsys.readouterr().out
    blobs = pickle.loads((tmp_path / "b.pkl").read_bytes())["blobs"]
    assert blobs["fpn_res2_2_sum_w"].shape == (16, 16, 3, 3)


def test_files_of_the_user_stay(tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "mine.pkl").write_text("mine")
    before = checkpoint.read_bytes()
    for target in ("mine.pkl", checkpoint.name):
        assert main([str(checkpoint), str(tmp_path / target)]) == 2
        assert target in capsys.readouterr().err
    assert (tmp_path / "mine.pkl").read_text() == "mine"
    assert checkpoint.read_bytes() == before
    with pytest.raises(UserError, match="it must be one of .pkl, .pth, .safetensors"):
        convert(checkpoint, tmp_path / "a.npz")
