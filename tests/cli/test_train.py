"""The training command: run folder, repeatability, resume, batch size, messages."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from fpt.checkpoint.checkpoint import load_checkpoint
from fpt.cli import train
from fpt.engine.writers import ProgressWriter


def records_of(run: Path) -> list[dict[str, float]]:
    """The records of metrics.jsonl."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def losses_of(run: Path) -> list[dict[str, float]]:
    """Losses of each record."""
    return [{name: value for name, value in record.items() if name.startswith("loss")} for record in records_of(run)]


def test_resume_of_a_finished_run_does_nothing(trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--resume", "--load_ckpt", trained.checkpoint, "--output_dir", tmp_path / "a")
    assert train.main(trained.arguments(*arguments)) == 0
    assert "nothing to train: 2 steps are done" in capsys.readouterr().out


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_the_run_with_a_checkpoint(tiny, monkeypatch: pytest.MonkeyPatch, number: int, status: int) -> None:
    def interrupt(writer: ProgressWriter, record: dict[str, float]) -> None:
        if record["step"] == 1:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(ProgressWriter, "__call__", interrupt)
    assert train.main(tiny.arguments("--output_dir", tiny.folder / "run", "--set", "SOLVER.MAX_ITER", "50")) == status
    names = [path.name for path in (tiny.folder / "run" / "ckpt").glob("*.pth")]
    assert names == ["model_step1.pth"]


def test_default_run_folder_and_no_save(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--no_save", "--use_tfboard", "--set", "SOLVER.MAX_ITER", "1", "OUTPUT_DIR", tiny.folder / "Outputs")
    assert train.main(tiny.arguments("--dataset", "tiny", *more)) == 0
    runs = list((tiny.folder / "Outputs" / "tiny").iterdir())
    assert len(runs) == 1
    assert not (runs[0] / "ckpt").exists()
    assert list((runs[0] / "tensorboard").glob("events*"))


def test_batch_size_adapts_the_schedule_and_says_so(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny.folder / "run"
    more = ("--bs", "1", "--lr_decay_gamma", "0.5", "--nw", "0", "--no_save", "--o", "SGD")
    assert train.main(tiny.arguments("--output_dir", run, *more)) == 0
    out = capsys.readouterr().out
    assert "adapted SOLVER.BASE_LR: 0.001 -> 0.0005 (x 0.5: images an update 2 -> 1)" in out
    assert "adapted TRAIN.IMS_PER_BATCH: 2 -> 1" in out
    assert "adapted SOLVER.GAMMA: 0.1 -> 0.5 (--lr_decay_gamma)" in out
    assert "adapted SOLVER.TYPE: AdamW -> SGD (--o)" in out
    assert "adapted SOLVER.MAX_ITER" in out
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["SOLVER"]["BASE_LR"], config["TRAIN"]["IMS_PER_BATCH"]) == (0.0005, 1)


def test_as_many_images_an_update_in_several_batches_change_no_rate(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(tiny.arguments("--output_dir", tiny.folder / "run", "--bs", "1", "--iter_size", "2")) == 0
    out = capsys.readouterr().out
    assert "2 batches an update" in out
    changes = re.findall(r"adapted SOLVER.*", out)
    assert changes == ["adapted SOLVER.IMS_PER_UPDATE: 0 -> 2 (batch of 1 on 1 device)"]
    config = tiny.folder / "run" / "config.yaml"
    again = ["--cfg", str(config), "--output_dir", str(tiny.folder / "again"), "--bs", "1", "--iter_size", "2"]
    assert train.main(again) == 0
    assert "adapted SOLVER" not in capsys.readouterr().out


def test_explicit_rate_and_set_values_are_not_scaled(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--bs", "1", "--lr", "0.007", "--no_save", "--set", "SOLVER.MAX_ITER", "1")
    assert train.main(tiny.arguments("--output_dir", tiny.folder / "run", *more)) == 0
    out = capsys.readouterr().out
    assert "adapted SOLVER.BASE_LR: 0.001 -> 0.007 (--lr)" in out
    assert "step 1/1" in out
    assert "lr 0.007" in out


def test_diverged_training_ends_with_status_1(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--lr", "1e30", "--o", "SGD", "--set", "SOLVER.MAX_ITER", "50", "SOLVER.CLIP_GRAD_NORM", "0")
    run = tiny.folder / "run"
    assert train.main(tiny.arguments("--output_dir", run, *more, "SOLVER.MAX_SKIPPED_STEPS", "3")) == 1
    error = capsys.readouterr().err
    assert "training diverged: 3 steps in a row had no finite loss or gradient" in error
    assert "image ids [" in error
    assert "Lower SOLVER.BASE_LR" in error
    assert "Traceback" not in error
    skipped = [json.loads(line) for line in (run / "skipped_steps.jsonl").read_text().splitlines()]
    assert [record["step"] for record in skipped] == [2, 3]
    assert all(sorted(record["image_ids"]) == [1, 2] for record in skipped)
    saved = load_checkpoint(run / "ckpt" / "model_step3.pth")
    assert all(torch.isfinite(value).all() for value in saved.model.values())
    assert train.main(tiny.arguments("--output_dir", run, "--resume", "--set", "SOLVER.MAX_ITER", "4")) == 2
    assert "resume with --o SGD" in capsys.readouterr().err


def test_new_run_does_not_write_among_the_checkpoints_of_another(trained, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(trained.arguments("--output_dir", trained.folder / "run")) == 2
    assert "holds checkpoints of an earlier run; give --resume" in capsys.readouterr().err


def test_package_that_is_absent_is_named_before_anything_is_written(
    tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert train.main(tiny.arguments("--use_mlflow", "--output_dir", tiny.folder / "run")) == 2
    assert "--use_mlflow needs the package mlflow: pip install mlflow" in capsys.readouterr().err
    assert not (tiny.folder / "run").exists()


def test_resume_alone_finds_the_newest_run(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.folder)
    assert train.main(tiny.arguments("--set", "SOLVER.MAX_ITER", "1")) == 0
    assert train.main(tiny.arguments("--resume", "--set", "SOLVER.MAX_ITER", "2")) == 0
    (run,) = (tiny.folder / "Outputs" / "tiny").iterdir()
    assert [record["step"] for record in records_of(run)] == [1, 2]


BAD_INPUT = [
    (["--resume"], "nothing to resume: no run in Outputs/tiny holds a checkpoint"),
    (["--resume", "--output_dir", "{folder}/none"], "nothing to resume"),
    (["--load_ckpt", "{folder}/none.pth"], "none.pth does not exist"),
    (["--load_detectron", "{folder}/model.pkl"], "does not exist"),
    (["--dataset", "tinny"], "unknown data set 'tinny'; did you mean 'tiny"),
    (["--set", "SOLVER.BASE_RL", "1"], "SOLVER.BASE_LR"),
    (["--set", "SOLVER.BASE_LR"], "--set takes pairs"),
    (["--set", "SOLVER.TYPE", "Lion"], "Lion"),
    (["--set", "DATASETS.tiny_train.ANN_FILE", "none.json"], "none.json"),
    (["--set", "TRAIN.DATASETS", "()"], "--dataset"),
    (["--set", "TRAIN.EVAL_PERIOD", "1", "TEST.DATASETS", "()"], "TEST.DATASETS names no data set"),
]


@pytest.mark.parametrize(("more", "message"), BAD_INPUT)
def test_bad_input_is_one_message(
    tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, more: list[str], message: str
) -> None:
    monkeypatch.chdir(tiny.folder)
    arguments = [word.format(folder=tiny.folder) for word in more]
    before = set(tiny.folder.iterdir())
    assert train.main(tiny.arguments(*arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in error
    assert {path.name for path in set(tiny.folder.iterdir()) - before} <= {"tiny.json.fptcache"}


def test_missing_and_broken_yaml(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--cfg", str(tiny.folder / "tinny.yaml")]) == 2
    assert "tinny.yaml does not exist; files with a similar name: " in (error := capsys.readouterr().err)
    assert str(tiny.cfg) in error
    (tiny.folder / "below").mkdir()
    (tiny.folder / "below" / "tinny.yaml").touch()
    assert train.main(["--cfg", str(tiny.folder / "tinny.yaml")]) == 2
    assert "below" not in capsys.readouterr().err
    tiny.cfg.write_text("MODEL: {CONV_BODY: [\n")
    assert train.main(tiny.arguments()) == 2
    assert "tiny.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--bs", "--iter_size", "--disp_interval"])
def test_counts_must_be_positive(tiny, capsys: pytest.CaptureFixture[str], option: str) -> None:
    with pytest.raises(SystemExit) as stop:
        train.main(tiny.arguments(option, "0"))
    assert stop.value.code == 2
    assert "0 is not a positive number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "legal"),
    [("--lr", "-1", "0 and 1e+30"), ("--lr", "nan", "0 and"), ("--lr_decay_gamma", "3", "0 and 1")],
)
def test_rates_must_be_legal(tiny, capsys: pytest.CaptureFixture[str], option: str, value: str, legal: str) -> None:
    with pytest.raises(SystemExit) as stop:
        train.main(tiny.arguments(option, value))
    assert stop.value.code == 2
    assert f"{value} is not between {legal}" in capsys.readouterr().err


def test_resume_with_another_optimizer_is_refused(trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--resume", "--load_ckpt", trained.checkpoint, "--o", "SGD", "--output_dir", tmp_path / "a")
    assert train.main(trained.arguments(*more)) == 2
    assert "was trained with AdamW, not SGD: resume with --o AdamW" in capsys.readouterr().err


def test_resume_with_another_batch_size_says_so(trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--resume", "--load_ckpt", trained.checkpoint, "--output_dir", tmp_path / "a", "--no_save", "--bs", "1")
    assert train.main(trained.arguments(*more, "--set", "SOLVER.MAX_ITER", "3")) == 0
    out = capsys.readouterr().out
    assert "2 steps have seen 4 images so far, but a step takes 1 now; the schedule goes on by steps" in out
    assert "step 3/3" in out


def test_output_folder_that_is_a_file_is_one_message(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(tiny.arguments("--output_dir", tiny.cfg)) == 2
    assert f"output folder {tiny.cfg} cannot be written: " in capsys.readouterr().err


def test_resume_with_other_classes_is_refused(
    trained, tmp_path: Path, tiny_factory: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny_factory(tmp_path, ("red", "blue"))
    more = ("--resume", "--load_ckpt", trained.checkpoint, "--output_dir", tmp_path / "a")
    assert train.main(other.arguments(*more)) == 2
    assert "was trained on the 2 classes [red, green], but data set tiny_train has" in capsys.readouterr().err
