"""What the recipes of the demo folder learn on the built-in data set, in minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fpt.core.config import load_cfg
from fpt.run.options import RunOptions
from fpt.run.train import train
from fpt.synthetic.shapes import generate_shapes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    generate_shapes(folder / "shapes")
    return folder


def _metrics(name: str, data: Path, run: Path, *options: str) -> dict[str, dict[str, float]]:
    cfg = load_cfg(f"demo/{name}", ["DATA_DIR", str(data), *options]).clone()
    cfg.TRAIN.EVAL_PERIOD = cfg.SOLVER.MAX_ITER
    return train(cfg, RunOptions(output_dir=run)).metrics


def test_key_points(data: Path, tmp_path: Path) -> None:
    metrics = _metrics("shapes_keypoints_R-18", data, tmp_path / "run")
    assert metrics["keypoints"]["AP"] >= 0.5
    assert metrics["bbox"]["AP"] >= 0.5


def test_one_stage_beside_two(data: Path, tmp_path: Path) -> None:
    """RetinaNet and Faster R-CNN on one schedule."""
    two = ("RETINANET.RETINANET_ON", "False", "FPN.RPN_MAX_LEVEL", "6")
    retinanet = _metrics("shapes_retinanet_R-18", data, tmp_path / "one")["bbox"]["AP"]
    faster = _metrics("shapes_retinanet_R-18", data, tmp_path / "two", *two)["bbox"]["AP"]
    assert faster > 0.4
    assert abs(retinanet - faster) <= 0.05
