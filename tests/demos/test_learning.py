"""What the recipes of the demo folder learn on the built-in data set, in minutes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fpt.core.config import load_cfg
from fpt.run.options import RunOptions
from fpt.run.train import train
from fpt.synthetic.shapes import generate_shapes

pytestmark = pytest.mark.slow
SHARED = Path(os.environ.get("FPT_SHARED", "shared"))


def _metrics(name: str, data: Path, run: Path, *options: str) -> dict[str, dict[str, float]]:
    cfg = load_cfg(name, ["DATA_DIR", str(data), *options]).clone()
    cfg.TRAIN.EVAL_PERIOD = cfg.SOLVER.MAX_ITER
    return train(cfg, RunOptions(output_dir=run)).metrics


def test_key_points(tmp_path: Path) -> None:
    generate_shapes(tmp_path / "data" / "shapes")
    metrics = _metrics("demo/shapes_keypoints_R-18", tmp_path / "data", tmp_path / "run")
    assert metrics["keypoints"]["AP"] >= 0.5
    assert metrics["bbox"]["AP"] >= 0.5


def test_one_stage_beside_two(tmp_path: Path) -> None:
    """RetinaNet is no more than 0.05 behind Faster R-CNN on one schedule, both from ImageNet weights."""
    weights = SHARED / "weights" / "mobilenet_v2-b0353104.pth"
    if not weights.is_file():
        pytest.skip(f"weights are absent: {weights} (set FPT_SHARED to the folder over theirs)")
    data = tmp_path / "data"
    generate_shapes(data / "shapes", num_train=6000, num_val=300, size=128)
    common = ("RESNETS.IMAGENET_PRETRAINED_WEIGHTS", str(weights), "MODEL.CONV_BODY", "FPN.torchvision.mobilenet_v2")
    one = ("RETINANET.RETINANET_ON", "True", "RETINANET.USE_GN", "True", "FPN.RPN_MAX_LEVEL", "5")
    faster = _metrics("paper/learning/shapes", data, tmp_path / "two", *common)["bbox"]["AP"]
    retinanet = _metrics("paper/learning/shapes", data, tmp_path / "one", *common, *one)["bbox"]["AP"]
    assert faster > 0.6
    assert retinanet > faster - 0.05
