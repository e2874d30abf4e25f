"""The command that shows where a model looks."""

from __future__ import annotations

import cv2
import pytest
import torch

from fpt.checkpoint.checkpoint import Checkpoint, save_checkpoint
from fpt.cli.attention import main
from fpt.core.config import load_cfg
from fpt.modeling.build import build_model

BACKBONE = ["--set", "MODEL.CONV_BODY", "FPN.ResNet18_conv5_body_fpt"]


@pytest.fixture
def checkpoint(tiny):
    """An untrained model with a transformer."""
    cfg = load_cfg(tiny.cfg, BACKBONE[1:])
    torch.manual_seed(0)
    model = build_model(cfg, num_classes=3)
    path = tiny.folder / "model.pth"
    save_checkpoint(
        path, Checkpoint(model=model.state_dict(), classes=["red", "green"], config=cfg.dump(), step=0, images=0)
    )
    return path


def test_a_figure_for_each_image_and_point(tiny, checkpoint):
    target = tiny.folder / "figures"
    options = ["--images", tiny.folder / "images/1.png", "--points", "5,6", "60.5,3", "--output_dir", target]
    assert main(tiny.arguments("--load_ckpt", checkpoint, *options, *BACKBONE)) == 0
    assert sorted(path.name for path in target.glob("[!.]*")) == ["1_5_6.png", "1_60.5_3.png"]
    assert cv2.imread(str(target / "1_5_6.png")).std() > 20


@pytest.mark.parametrize(
    ("points", "backbone", "words"),
    [
        (["64,3"], BACKBONE, "the point 64,3 is outside of"),
        (["5,6"], [], "has no transformer"),
    ],
)
def test_wrong_input_is_named(tiny, trained, checkpoint, points, backbone, words, capsys):
    source = checkpoint if backbone else trained.checkpoint
    options = ["--load_ckpt", source, "--images", tiny.folder / "images/1.png", "--points", *points]
    assert main(tiny.arguments(*options, "--output_dir", tiny.folder / "figures", *backbone)) == 2
    assert words in capsys.readouterr().err


def test_a_point_that_is_none_is_named(tiny, checkpoint, capsys):
    with pytest.raises(SystemExit):
        main(tiny.arguments("--load_ckpt", checkpoint, "--images", "a.png", "--points", "middle"))
    assert "is not X,Y" in capsys.readouterr().err


def test_images_of_sub_folders(tiny, checkpoint):
    (tiny.folder / "images" / "x").mkdir()
    (tiny.folder / "images" / "1.png").rename(tiny.folder / "images" / "x" / "1.png")
    target = tiny.folder / "figures"
    options = ["--image_dir", tiny.folder / "images", "--recursive", "--points", "5,6", "--output_dir", target]
    assert main(tiny.arguments("--load_ckpt", checkpoint, *options, *BACKBONE)) == 0
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*.png")) == ["2_5_6.png", "x/1_5_6.png"]
