"""The demo makes, trains, evaluates and draws; twice is fine; its last words can be pasted."""

from __future__ import annotations

import importlib.util
import json
import shlex
import subprocess
from pathlib import Path
from types import ModuleType

import pytest


def load_demo(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo_demo", root / "demos" / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SMALL = ["--num_train", "8", "--num_val", "3", "--set", "SOLVER.MAX_ITER", "2", "TRAIN.EVAL_PERIOD", "2"]
SMALL += ["TRAIN.SCALES", "(64,)", "TEST.SCALE", "64", "DATA_LOADER.NUM_THREADS", "0"]


def test_the_whole_way_twice_and_the_commands_that_it_names(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    demo = load_demo(root)
    arguments = ["--output_dir", "outputs/demo", "--data_dir", "data", *SMALL]
    assert demo.main(arguments) == 0
    first = capsys.readouterr().out
    assert "== 4/4 Images" in first
    assert "box AP " in first
    assert "mask AP " in first
    run = tmp_path / "outputs" / "demo"
    assert set(json.loads((run / "metrics.json").read_text())) == {"bbox", "segm"}
    assert len(list((run / "images").glob("*.png"))) == 3
    assert demo.main(arguments) == 0
    again = capsys.readouterr().out
    assert "going on with the demo" in again
    assert "nothing to train: 2 steps are done" in again
    commands = [line.strip() for line in again.splitlines() if "tools/infer_simple.py" in line]
    assert len(commands) == 1
    shown = subprocess.run(shlex.split(commands[0]), capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert "3 of 3 images done" in shown.stdout


def test_a_folder_that_holds_something_else_is_one_message(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shapes").mkdir()
    (tmp_path / "shapes" / "mine.txt").write_text("x")
    assert load_demo(root).main(["--output_dir", str(tmp_path / "out"), "--data_dir", str(tmp_path)]) == 2
    assert "holds something else" in capsys.readouterr().err
    assert (tmp_path / "shapes" / "mine.txt").read_text() == "x"


def test_classes_of_pixels(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--num_train", "8", "--num_val", "3", "--set", "SOLVER.MAX_ITER", "2", "DATA_LOADER.NUM_THREADS", "0"]
    folders = ["--output_dir", str(tmp_path / "out"), "--data_dir", str(tmp_path / "data")]
    assert load_demo(root).main(["--recipe", "semantic", *folders, *small]) == 0
    assert "mIoU 0." in capsys.readouterr().out
    written = sorted(path.name for path in (tmp_path / "out" / "images").iterdir() if not path.name.startswith("."))
    assert written == [f"{index:06d}.{end}" for index in range(3) for end in ("ids.png", "json", "png")]
