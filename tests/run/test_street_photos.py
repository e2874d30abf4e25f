"""Real street photos, with the example recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fpt.core.config import load_cfg
from fpt.run.options import RunOptions
from fpt.run.train import train

NAMES = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]


def _run(data: Path, weights: Path, output_dir: Path, *options: str) -> dict[str, Any]:
    (file,) = weights.glob("mobilenet_v2-*.pth")
    fixed = ("DATA_DIR", str(data), "RESNETS.IMAGENET_PRETRAINED_WEIGHTS", str(file), "SEMANTIC.TEST_SCALES", "(1.0,)")
    fixed += ("SEMANTIC.TEST_FLIP", "False")
    cfg = load_cfg("examples/camvid_ufp_mobilenet", [*fixed, *options])
    return train(cfg, RunOptions(output_dir=output_dir)).metrics["semantic"]


def test_the_recipe_trains_and_evaluates(shared_data: Path, shared_weights: Path, tmp_path: Path) -> None:
    options = ("SOLVER.MAX_ITER", "2", "TRAIN.EVAL_PERIOD", "2", "SEMANTIC.CROP_SIZE", "(64, 64)")
    result = _run(shared_data, shared_weights, tmp_path / "run", *options, "SEMANTIC.SHORT_SIDE", "90")
    assert list(result["per_class_IoU"]) == NAMES
    assert 0 < result["mIoU"] < 1
    assert np.isfinite(result["pAcc"])


@pytest.mark.slow
def test_streets_are_learnt_in_a_minute(shared_data: Path, shared_weights: Path, tmp_path: Path) -> None:
    options = ("SOLVER.MAX_ITER", "60", "TRAIN.EVAL_PERIOD", "60", "MODEL.CONV_BODY", "UFP.torchvision.mobilenet_v2")
    assert _run(shared_data, shared_weights, tmp_path / "run", *options)["mIoU"] > 0.2
