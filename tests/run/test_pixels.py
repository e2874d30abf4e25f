"""What a run writes down of the pixels is concrete, and a checkpoint's own values count for `auto`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fpt.checkpoint.checkpoint import load_checkpoint
from fpt.core.config import load_cfg, parse_cfg
from fpt.run.options import RunOptions
from fpt.run.pixels import resolve_pixels
from fpt.run.train import train
from fpt.run.trained_model import load_trained_model


def test_auto_becomes_concrete() -> None:
    cfg = resolve_pixels(load_cfg(None, ["MODEL.CONV_BODY", "torchvision.mobilenet_v2"]))
    assert (cfg.PIXEL_FORMAT, cfg.PIXEL_MEANS) == ("RGB", (123.675, 116.28, 103.53))
    assert cfg.is_frozen
    assert resolve_pixels(cfg) == cfg
    assert resolve_pixels(load_cfg(None)).PIXEL_FORMAT == "BGR"


def test_a_checkpoint_keeps_them_for_all_that_comes_after(tiny) -> None:
    given = ["PIXEL_FORMAT", "RGB", "PIXEL_MEANS", "(1, 2, 3)"]
    result = train(load_cfg(tiny.cfg, given), RunOptions(output_dir=tiny.folder / "run"))
    written = parse_cfg(load_checkpoint(result.checkpoint).config, source="it")
    expected = ("RGB", (1.0, 2.0, 3.0), (1.0, 1.0, 1.0))
    assert (written.PIXEL_FORMAT, written.PIXEL_MEANS, written.PIXEL_STDS) == expected
    assert "auto" not in [line.partition(": ")[2] for line in _pixel_lines(tiny.folder / "run")]
    trained = load_trained_model(result.checkpoint, load_cfg(tiny.cfg))
    assert trained.cfg.PIXEL_MEANS == expected[1]
    assert not trained.model.normalizer.is_reversed
    other = load_trained_model(result.checkpoint, load_cfg(tiny.cfg, ["PIXEL_MEANS", "(7, 7, 7)"]))
    assert (other.cfg.PIXEL_FORMAT, other.cfg.PIXEL_MEANS) == ("RGB", (7.0, 7.0, 7.0))
    resumed = train(
        load_cfg(tiny.cfg, ["SOLVER.MAX_ITER", "3"]), RunOptions(output_dir=tiny.folder / "run", resume="yes")
    )
    assert torch.equal(resumed.model.normalizer.means.flatten(), torch.tensor([1.0, 2.0, 3.0]))
    assert parse_cfg(load_checkpoint(resumed.checkpoint).config, source="it").PIXEL_MEANS == expected[1]


def _pixel_lines(folder: Path) -> list[str]:
    lines = [line for path in folder.glob("*.yaml") for line in path.read_text().splitlines()]
    found = [line for line in lines if line.startswith("PIXEL_")]
    assert len(found) == 3
    return found


def test_unusable_names_are_refused_before_anything_is_read(tiny) -> None:
    with pytest.raises(ValueError, match="SOLVER.TYPE is 'Lion'"):
        train(load_cfg(tiny.cfg, ["SOLVER.TYPE", "Lion", "DATASETS.tiny_train.ANN_FILE", "missing.json"]))
