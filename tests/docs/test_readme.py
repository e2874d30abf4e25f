"""The yaml file of README.md for one's own images is complete, and its lines of Python run."""

from __future__ import annotations

import logging
import re
import shutil
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fpt.core.config import load_cfg
from fpt.modeling.build import build_model
from fpt.run.options import RunOptions
from fpt.run.predictor import Predictor
from fpt.run.train import train
from fpt.utils.errors import UserError


def _yaml(root: Path) -> str:
    page = (root / "README.md").read_text(encoding="utf-8")
    section = page.split("## Your own images")[1]
    return textwrap.dedent(re.search(r"\n((?:    .*\n)+)", section).group(1))


def test_it_trains_from_any_folder(
    root: Path, tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tiny.folder / "mine.yaml"
    text = re.sub(r"nuts/annotations/\w+\.json", "tiny.json", _yaml(root))
    weights = tiny.folder / "mobilenet_v2-b0353104.pth"
    text = text.replace("nuts/images", "images").replace(
        "data/pretrained_model/mobilenet_v2-b0353104.pth", weights.name
    )
    path.write_text(text)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    small = ["TRAIN.SCALES", "(64,)", "TRAIN.MAX_SIZE", "64", "SOLVER.MAX_ITER", "1", "SOLVER.STEPS", "()"]
    small += ["FPN.DIM", "32", "DATA_LOADER.NUM_THREADS", "0", "DEVICE", "cpu"]
    cfg = load_cfg(path, small)
    torch.save(build_model(cfg, num_classes=3).backbone.state_dict(), weights)
    with caplog.at_level(logging.WARNING, "fpt"):
        result = train(cfg, RunOptions(output_dir=tiny.folder / "run"))
    assert result.step == 1
    assert not result.model.normalizer.is_reversed
    assert [record.getMessage() for record in caplog.records] == []


def test_the_lines_of_python_run(root: Path, tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (root / "README.md").read_text(encoding="utf-8")
    lines = textwrap.dedent(re.search(r"\n((?:    .*\n|\n)+)", page.split("## From Python")[1]).group(1))
    assert lines.count("fpt.") >= 4
    monkeypatch.chdir(tiny.folder)
    shutil.copy(tiny.cfg, "mine.yaml")
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save("photo.jpg")
    exec(lines, {})
    assert Path("found.png").stat().st_size > 0


def test_a_checkpoint_that_is_none_is_explained() -> None:
    with pytest.raises(UserError, match=r"the checkpoint is None, .* its newest is result.checkpoint"):
        Predictor(None)


def test_as_it_stands_nothing_is_warned_of(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(_yaml(root))
    with caplog.at_level(logging.WARNING, "fpt"), torch.device("meta"):
        build_model(load_cfg(path), num_classes=4)
    assert not caplog.records
