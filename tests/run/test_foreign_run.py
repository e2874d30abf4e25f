"""A run of Detectron.pytorch goes on here: its weights, momentum, step and classes that it does not name."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from fpt.checkpoint.checkpoint import load_checkpoint
from fpt.checkpoint.formats.programs import DETECTRON_PYTORCH, our_layout
from fpt.core.config import load_cfg
from fpt.core.config_node import CfgNode
from fpt.modeling.build import build_model
from fpt.run.evaluate import evaluate_checkpoint
from fpt.run.options import EvaluationOptions, RunOptions
from fpt.run.train import train
from fpt.synthetic.shapes import generate_shapes

OLD_FILE = """
MODEL: {TYPE: generalized_rcnn, CONV_BODY: FPN.fpn_ResNet50_conv5_body, FASTER_RCNN: True, NUM_CLASSES: 8}
FPN: {FPN_ON: True, MULTILEVEL_ROIS: True, MULTILEVEL_RPN: True}
FAST_RCNN: {ROI_BOX_HEAD: fast_rcnn_heads.roi_2mlp_head}
SOLVER: {BASE_LR: 0.01, MAX_ITER: 9, STEPS: [], WARM_UP_ITERS: 0}
"""
SMALL = (
    *("RESNETS.BASE_CHANNELS", "16", "FPN.DIM", "16", "FAST_RCNN.MLP_HEAD_DIM", "16", "TRAIN.IMS_PER_BATCH", "2"),
    *("TRAIN.SCALES", "(64,)", "TEST.SCALE", "64", "TRAIN.RPN_POST_NMS_TOP_N", "20", "DATA_LOADER.NUM_THREADS", "0"),
    *("TRAIN.DATASETS", "('shapes_train',)", "TEST.DATASETS", "('shapes_val',)", "DEVICE", "cpu"),
)


def _cfg(folder: Path) -> CfgNode:
    (folder / "old.yaml").write_text(OLD_FILE)
    names = [
        (f"shapes_{split}", f"shapes/images/{split}", f"shapes/annotations/{split}.json") for split in ("train", "val")
    ]
    declared = ", ".join(f"{name}: {{IMAGE_DIR: {images}, ANN_FILE: {file}}}" for name, images, file in names)
    return load_cfg(folder / "old.yaml", [*SMALL, "DATASETS", f"{{{declared}}}", "DATA_DIR", str(folder)])


def _write_their_checkpoint(path: Path, cfg: CfgNode) -> dict[str, float]:
    """Step 5 of a run there, the sixth; the momentum of each trained parameter is its number: these, by our names."""
    torch.manual_seed(1)
    model = build_model(cfg, num_classes=8)
    renaming = DETECTRON_PYTORCH.renaming(our_layout(model.state_dict()))
    theirs = {renaming.to_theirs(name)[0]: (name, value) for name, value in model.state_dict().items()}
    trained = [
        (key, name)
        for key, (name, _) in theirs.items()
        if not name.startswith(("backbone.conv1", "backbone.bn1", "backbone.layer1")) and ".bn" not in name
        if ".downsample.1" not in name
    ]
    weights = [pair for pair in trained if "bias" not in pair[0]]
    biases = [pair for pair in trained if "bias" in pair[0]]
    order = [*weights, *biases]
    state = {
        number: {"momentum_buffer": torch.full_like(theirs[key][1], number / 1e4)}
        for number, (key, _) in enumerate(order)
    }
    groups = [
        {"params": list(range(len(weights))), "lr": 0.01, "momentum": 0.9},
        {"params": list(range(len(weights), len(order))), "lr": 0.02, "momentum": 0.9},
        {"params": [], "lr": 0.0, "momentum": 0.9},
    ]
    content = {
        "step": 5,
        "train_size": 6,
        "batch_size": 2,
        "model": {f"module.{key}": value for key, (_, value) in theirs.items()},
        "optimizer": {"state": state, "param_groups": groups},
    }
    torch.save(content, path)
    return {name: number / 1e4 for number, (_, name) in enumerate(order)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("theirs")
    generate_shapes(folder / "shapes", num_train=6, num_val=2, size=64)
    return folder


def test_the_run_goes_on(folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = _cfg(folder)
    momentum = _write_their_checkpoint(folder / "model_step5.pth", cfg)
    before = load_checkpoint(folder / "model_step5.pth").model
    taken: dict[str, torch.Tensor] = {}

    def note(optimizer: torch.optim.SGD, closure: None = None) -> None:
        """Keep the buffers that the first step meets."""
        if not taken:
            taken.update({id(p): state["momentum_buffer"].clone() for p, state in optimizer.state.items()})
        step(optimizer, closure)

    step = torch.optim.SGD.step
    monkeypatch.setattr(torch.optim.SGD, "step", note)
    options = RunOptions(output_dir=folder / "run", load_ckpt=folder / "model_step5.pth", resume="yes", disp_interval=1)
    with caplog.at_level(logging.INFO, logger="fpt"):
        result = train(cfg, options)
    assert result.step == 9
    assert "model_step5.pth at step 6" in caplog.text
    assert "keeps no names of classes" in caplog.text
    assert f"momentum of {len(momentum)} of {len(momentum)} trained parameters" in caplog.text
    assert "MODEL.LEGACY is set to detectron" in caplog.text
    for name, parameter in result.model.named_parameters():
        if parameter.requires_grad:
            assert (taken[id(parameter)] == momentum[name]).all(), name
            assert not torch.equal(parameter, before[name])
    assert result.class_names[0] == "square"
    assert load_checkpoint(result.checkpoint).classes[0] == "square"


def test_it_is_evaluated(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    cfg = _cfg(folder)
    _write_their_checkpoint(folder / "other.pth", cfg)
    with caplog.at_level(logging.INFO, logger="fpt"):
        done = evaluate_checkpoint(cfg, folder / "other.pth", EvaluationOptions(output_dir=folder / "test"))
    assert "they are taken to be those of data set shapes_val" in caplog.text
    assert set(done.metrics["shapes_val"]["bbox"]["per_class"]) >= {"square", "star"}
