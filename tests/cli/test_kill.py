"""kill -9 at any moment: the run goes on from its newest checkpoint and ends with the bits of the unbroken one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fpt.checkpoint.checkpoint import load_checkpoint

STEPS = 4
OPTIONS = ["--disp_interval", "2", "--bs", "1", "--set", "SOLVER.MAX_ITER", str(STEPS), "TRAIN.SNAPSHOT_ITERS", "1"]
OPTIONS += ["TRAIN.KEEP_CHECKPOINTS", "2", "SOLVER.EMA_DECAY", "0.9", "MODEL.MASK_ON", "False", "FPN.DIM", "16"]
KILLED = -9
BESIDE = ["TRAIN.EVAL_PERIOD", "2", "DATA_LOADER.NUM_THREADS", "1"]
BESIDE += ["TRAIN.SNAPSHOT_ITERS", "2", "TRAIN.SNAPSHOT_MINUTES", "0.000001"]
"""Evaluations, the best checkpoint, temporary ones and a loader worker are other things that a kill can strike."""


def run_trainings(tiny, folder: Path, kills: list[dict[str, Any]], more: Sequence[str] = ()) -> list[dict[str, Any]]:
    """An unbroken training in ``whole``; one in ``<i>`` for each kill, then another that goes on from it."""
    trainings = [{"run": str(folder / "whole"), "kill": None}]
    for number, kill in enumerate(kills):
        trainings += [
            {"run": str(folder / str(number)), "kill": kill},
            {"run": str(folder / str(number)), "kill": None},
        ]
    work = {"arguments": tiny.arguments(), "options": [*OPTIONS, *more], "trainings": trainings}
    (folder / "work.json").write_text(json.dumps(work))
    command = [sys.executable, str(Path(__file__).with_name("kills.py")), str(folder / "work.json")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return [json.loads(line) for line in done.stdout.splitlines()]


def content_of(run: Path) -> dict[str, Any]:
    content = vars(load_checkpoint(run / "ckpt" / f"model_step{STEPS}.pth"))
    return {name: value for name, value in content.items() if name != "config"}


def is_equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(is_equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(is_equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def test_equality_sees_a_single_bit() -> None:
    a = {"w": [torch.zeros(3)], "n": 1}
    assert is_equal(a, {"w": [torch.zeros(3)], "n": 1})
    assert not is_equal(a, {"w": [torch.tensor([0.0, 0.0, 1e-45])], "n": 1})
    assert not is_equal(a, {"w": [torch.zeros(3)], "n": 2})


def test_killed_in_a_step_in_a_file_and_between_file_and_manifest(tiny, tmp_path: Path) -> None:
    moments = [("update_weights", 3), ("_save", 2), ("enter_file", 3), ("forget_file", 2)]
    whole, *records = run_trainings(tiny, tmp_path, [{"at": name, "call": call} for name, call in moments])
    assert whole["status"] == 0
    expected = content_of(tmp_path / "whole")
    for number, (name, _) in enumerate(moments):
        killed, resumed = records[2 * number : 2 * number + 2]
        assert (killed["status"], resumed["status"], resumed["resumed"]) == (KILLED, 0, True), name
        assert killed["half_written"] == (name in ("_save", "forget_file")), name
        assert not resumed["half_written"], name
        assert is_equal(content_of(tmp_path / str(number)), expected), name


@pytest.mark.slow
def test_killed_at_fifty_random_moments(tiny, tmp_path: Path) -> None:
    (whole,) = run_trainings(tiny, tmp_path, [], BESIDE)
    moments = np.random.default_rng(0).uniform(0.1, whole["seconds"], size=50)
    (tmp_path / "more").mkdir()
    _, *records = run_trainings(tiny, tmp_path / "more", [{"seconds": float(moment)} for moment in moments], BESIDE)
    expected = content_of(tmp_path / "whole")
    killed, resumed = records[0::2], records[1::2]
    assert all(record["status"] == 0 for record in resumed)
    lost = [number for number in range(50) if not is_equal(content_of(tmp_path / "more" / str(number)), expected)]
    sys.stdout.write(
        f"{sum(record['status'] == KILLED for record in killed)} of 50 were killed before their end, "
        f"{sum(record['resumed'] for record in resumed)} had a checkpoint to go on from, "
        f"{sum(record['half_written'] for record in killed)} were killed in a checkpoint's writing; "
        f"other final weights than the unbroken run: {len(lost)}\n"
    )
    assert all(record["status"] == KILLED for record in killed)
    assert not lost
