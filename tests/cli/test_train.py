"""The training command: run folder, repeatability, resume, batch size, messages."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from fpt.checkpoint.checkpoint import load_checkpoint
from fpt.cli import test as evaluate
from fpt.cli import train
from fpt.engine.writers import ProgressWriter


def records_of(run: Path) -> list[dict[str, float]]:
    """The records of metrics.jsonl."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def losses_of(run: Path) -> list[dict[str, float]]:
    """Losses of each record."""
    return [{name: value for name, value in record.items() if name.startswith("loss")} for record in records_of(run)]


def assert_nearly_that_of_float32(run: Path, trained) -> None:
    """The loss of the first step is near that of float32, but not the same."""
    half, single = (losses_of(folder)[0]["loss"] for folder in (run, trained.folder / "run"))
    assert half != single
    assert half == pytest.approx(single, rel=0.02)


def test_run_folder_says_what_it_holds(trained) -> None:
    run = trained.folder / "run"
    names = {path.name for path in run.iterdir()} - {"test"}
    assert names == {"ckpt", "config.yaml", "environment.json", "metrics.jsonl", "log.txt"}
    environment = json.loads((run / "environment.json").read_text())
    assert environment["command"] == "fpt.train"
    assert yaml.safe_load((run / "config.yaml").read_text())["SOLVER"]["MAX_ITER"] == 2
    assert "run folder" in (run / "log.txt").read_text()
    assert "step 2/2" in (run / "log.txt").read_text()
    records = losses_of(run)
    assert len(records) == 2
    assert set(records[0]) == {"loss", "loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox", "loss_mask"}


def test_checkpoint_holds_what_a_resume_needs(trained) -> None:
    checkpoint = load_checkpoint(trained.checkpoint)
    assert (checkpoint.step, checkpoint.images, checkpoint.classes) == (2, 4, ["red", "green"])
    assert checkpoint.optimizer["type"] == "AdamW"
    assert set(checkpoint.loop) == {"skipped", "skipped_in_row", "evaluated", "window"}


def test_same_seed_same_losses_and_a_resumed_run_continues_them(trained, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    each = ("--disp_interval", "1", "--output_dir")
    assert train.main(trained.arguments(*each, whole, "--set", "SOLVER.MAX_ITER", "3")) == 0
    assert losses_of(whole)[:2] == losses_of(trained.folder / "run")
    assert train.main(trained.arguments(*each, parts)) == 0
    assert train.main(trained.arguments(*each, parts, "--resume", "--set", "SOLVER.MAX_ITER", "3")) == 0
    assert losses_of(parts) == losses_of(whole)
    names = ["manifest.json", "model_step2.pth", "model_step3.pth"]
    assert sorted(p.name for p in (parts / "ckpt").iterdir()) == names


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


def test_periodic_evaluation_keeps_the_best(tiny) -> None:
    run = tiny.folder / "run"
    more = ("--set", "SOLVER.MAX_ITER", "2", "TRAIN.EVAL_PERIOD", "1")
    assert train.main(tiny.arguments("--output_dir", run, *more)) == 0
    records = [json.loads(line) for line in (run / "eval.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2]
    best = load_checkpoint(run / "ckpt" / "model_best.pth")
    assert best.best == max(record["segm"]["AP"] for record in records)
    again = ("--resume", "--load_ckpt", run / "ckpt" / "model_step2.pth", "--output_dir", run)
    with (run / "eval.jsonl").open("a") as file:
        file.write('{"step": 3, "bbox": {}}\n')
    assert train.main(tiny.arguments(*again, "--set", "SOLVER.MAX_ITER", "3", "TRAIN.EVAL_PERIOD", "1")) == 0
    records = [json.loads(line) for line in (run / "eval.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2, 3]
    assert "AP" in records[-1]["bbox"]


def test_evaluation_does_not_disturb_training(trained, tmp_path: Path) -> None:
    more = ("--disp_interval", "1", "--set", "TRAIN.EVAL_PERIOD", "1")
    assert train.main(trained.arguments("--output_dir", tmp_path / "a", *more)) == 0
    assert losses_of(tmp_path / "a") == losses_of(trained.folder / "run")


def test_images_of_a_training_do_not_disturb_it(trained, tmp_path: Path) -> None:
    more = ("--disp_interval", "1", "--use_tfboard", "--set", "TRAIN.VIS_PERIOD", "1", "SOLVER.EMA_DECAY", "0.5")
    assert train.main(trained.arguments("--output_dir", tmp_path / "a", *more, "VIS_TH", "0.05")) == 0
    assert losses_of(tmp_path / "a") == losses_of(trained.folder / "run")
    ours, theirs = (load_checkpoint(path).model for path in (tmp_path / "a/ckpt/model_step2.pth", trained.checkpoint))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    drawn = sorted(path.relative_to(tmp_path / "a" / "images") for path in tmp_path.glob("a/images/*/*.png"))
    assert [str(path) for path in drawn] == ["step1/1.png", "step1/2.png", "step2/1.png", "step2/2.png"]
    (events,) = (tmp_path / "a" / "tensorboard").glob("events*")
    content = events.read_bytes()
    for name in (b"loss_mask", b"lr", b"gradient_norm", b"images_per_second", b"memory_mib", b"images/1"):
        assert name in content


def test_profile_writes_a_trace_and_names_the_slowest_parts(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny.folder / "run"
    more = ("--no_save", "--profile", "--set", "SOLVER.MAX_ITER", "6")
    assert train.main(tiny.arguments("--output_dir", run, *more)) == 0
    out = capsys.readouterr().out
    assert "profile of 3 steps" in out
    assert "aten::convolution_backward" in out
    assert json.loads((run / "profile" / "trace.json").read_text())["traceEvents"]
    assert {"backbone", "neck", "rpn"} <= {
        line.split()[0] for line in (run / "profile" / "slowest.txt").read_text().splitlines() if line
    }


@pytest.mark.slow
def test_compiled_backbone_learns_the_same_and_its_checkpoints_load_either_way(trained, tmp_path: Path) -> None:
    for name in ("True", "False"):
        more = ("--disp_interval", "1", "--o", "SGD", "--set", "MODEL.COMPILE", name)
        assert train.main(trained.arguments("--output_dir", tmp_path / name, *more)) == 0
    for compiled, plain in zip(losses_of(tmp_path / "True"), losses_of(tmp_path / "False"), strict=True):
        assert compiled["loss"] == pytest.approx(plain["loss"], rel=1e-3)
    resumed = ("--resume", "--o", "SGD", "--output_dir", tmp_path / "True", "--set", "SOLVER.MAX_ITER", "3")
    assert train.main(trained.arguments(*resumed)) == 0


def test_batch_size_adapts_the_schedule_and_says_so(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny.folder / "run"
    more = ("--bs", "1", "--iter_size", "2", "--lr_decay_gamma", "0.5", "--nw", "0", "--no_save", "--o", "SGD")
    assert train.main(tiny.arguments("--output_dir", run, *more)) == 0
    out = capsys.readouterr().out
    assert "adapted SOLVER.BASE_LR: 0.001 -> 0.0005 (x 0.5: batch 2 -> 1)" in out
    assert "adapted TRAIN.IMS_PER_BATCH: 2 -> 1" in out
    assert "adapted SOLVER.GAMMA: 0.1 -> 0.5 (--lr_decay_gamma)" in out
    assert "adapted SOLVER.TYPE: AdamW -> SGD (--o)" in out
    assert "MAX_ITER" not in out
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["SOLVER"]["BASE_LR"], config["TRAIN"]["IMS_PER_BATCH"]) == (0.0005, 1)


def test_half_precision_trains_and_evaluates(tiny, trained) -> None:
    run = tiny.folder / "run"
    assert train.main(tiny.arguments("--output_dir", run, "--disp_interval", "1", "--set", "SOLVER.AMP", "bf16")) == 0
    assert_nearly_that_of_float32(run, trained)
    weights = run / "ckpt" / "model_step2.pth"
    assert evaluate.main(tiny.arguments("--load_ckpt", weights, "--set", "SOLVER.AMP", "bf16")) == 0


def test_explicit_rate_and_set_values_are_not_scaled(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--bs", "1", "--lr", "0.007", "--no_save", "--set", "SOLVER.MAX_ITER", "1")
    assert train.main(tiny.arguments("--output_dir", tiny.folder / "run", *more)) == 0
    out = capsys.readouterr().out
    assert "adapted SOLVER.BASE_LR: 0.001 -> 0.007 (--lr)" in out
    assert "step 1/1" in out
    assert "lr 0.007" in out


def test_weights_alone_start_a_data_set_of_other_classes(
    trained, tmp_path: Path, tiny_factory: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny_factory(tmp_path, ("red", "green", "blue"))
    more = ("--load_ckpt", trained.checkpoint, "--no_save", "--output_dir", tmp_path / "run")
    assert train.main(other.arguments(*more, "--set", "SOLVER.MAX_ITER", "1")) == 0
    out = capsys.readouterr().out
    fresh = "roi_heads.box_predictor, roi_heads.mask_branch.head.predictor"
    assert f"has no fitting weights for these parts, which start afresh: {fresh}\n" in out
    assert "trained on other classes: red, green" in out
    assert "step 1/1" in out


def test_weights_of_boxes_alone_start_a_model_with_masks(
    tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes, once = tmp_path / "boxes", ("--set", "SOLVER.MAX_ITER", "1")
    assert train.main(tiny.arguments("--output_dir", boxes, *once, "MODEL.MASK_ON", "False")) == 0
    more = ("--load_ckpt", boxes / "ckpt" / "model_step1.pth", "--no_save", "--output_dir", tmp_path / "masks")
    assert train.main(tiny.arguments(*more, *once)) == 0
    assert "which start afresh: roi_heads.mask_branch\n" in capsys.readouterr().out
    assert train.main(tiny.arguments(*more, *once, "MODEL.CONV_BODY", "FPN.ResNet50_conv5_body")) == 2
    assert "holds another network" in capsys.readouterr().err


def _learn_by_heart(tiny, steps: int, *more: str) -> dict:
    """Metrics of the two training images after so many steps."""
    run = tiny.folder / "run"
    options = (*more, "SOLVER.MAX_ITER", steps, "SOLVER.BASE_LR", "0.002", "SOLVER.LR_POLICY", "cosine")
    options += ("SOLVER.WARM_UP_ITERS", "10")
    assert train.main(tiny.arguments("--output_dir", run, "--set", *options)) == 0
    losses = losses_of(run)
    assert losses[-1]["loss"] < losses[0]["loss"] / 10
    weights = ("--load_ckpt", run / "ckpt" / f"model_step{steps}.pth")
    assert evaluate.main(tiny.arguments(*weights, "--set", *options)) == 0
    return json.loads((run / "test" / "metrics.json").read_text())


def test_all_objects_of_two_images_are_learnt(tiny) -> None:
    metrics = _learn_by_heart(tiny, 140)
    assert metrics["bbox"]["AP50"] > 0.99
    assert metrics["segm"]["AP50"] > 0.99


@pytest.mark.slow
def test_two_images_are_learnt_by_heart(tiny) -> None:
    width = ("RESNETS.BASE_CHANNELS", "64", "GROUP_NORM.NUM_GROUPS", "32")
    metrics = _learn_by_heart(tiny, 320, *width)
    assert metrics["bbox"]["AP"] > 0.9
    assert metrics["segm"]["AP"] > 0.9


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


def test_resume_auto_starts_or_goes_on(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--resume", "auto", "--output_dir", tiny.folder / "run", "--set", "SOLVER.MAX_ITER")
    assert train.main(tiny.arguments(*arguments, "1")) == 0
    assert "resumed from" not in capsys.readouterr().out
    assert train.main(tiny.arguments(*arguments, "2")) == 0
    assert "model_step1.pth at step 1" in capsys.readouterr().out
    assert train.main(tiny.arguments("--resume", "auto")) == 2
    assert "--resume auto and torchrun --max-restarts need --output_dir DIR" in capsys.readouterr().err


def test_resume_alone_finds_the_newest_run(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.folder)
    assert train.main(tiny.arguments("--set", "SOLVER.MAX_ITER", "1")) == 0
    assert train.main(tiny.arguments("--resume", "--set", "SOLVER.MAX_ITER", "2")) == 0
    (run,) = (tiny.folder / "Outputs" / "tiny").iterdir()
    assert [record["step"] for record in records_of(run)] == [1, 2]


def test_float16_trains_with_a_scaler_that_a_resume_keeps(tiny, trained) -> None:
    run = tiny.folder / "run"
    options = ("--output_dir", run, "--set", "SOLVER.AMP", "fp16", "SOLVER.MAX_ITER")
    assert train.main(tiny.arguments(*options, "2")) == 0
    assert_nearly_that_of_float32(run, trained)
    saved = load_checkpoint(run / "ckpt" / "model_step2.pth")
    assert saved.scaler["scale"] <= 65536
    assert train.main(tiny.arguments("--resume", *options, "3")) == 0


def test_frozen_parts_keep_their_weights(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny.folder / "run"
    frozen = ("--set", "TRAIN.FREEZE", "('backbone.*', 'roi_heads.mask_branch.*')", "TRAIN.SNAPSHOT_ITERS", "1")
    assert train.main(tiny.arguments("--output_dir", run, *frozen)) == 0
    first, last = (load_checkpoint(run / "ckpt" / f"model_step{step}.pth").model for step in (1, 2))
    changed = {name.split(".")[0] for name in first if not torch.equal(first[name], last[name])}
    assert changed == {"neck", "rpn", "roi_heads"}
    assert not any("mask_branch" in name for name in first if not torch.equal(first[name], last[name]))
    assert train.main(tiny.arguments("--output_dir", tiny.folder / "b", "--set", "TRAIN.FREEZE", "('bodi.*',)")) == 2
    assert "no parameter has a name like 'bodi.*'; there are backbone.*, neck.*" in capsys.readouterr().err


BAD_INPUT = [
    (["--resume"], "nothing to resume: no run in Outputs/tiny holds a checkpoint"),
    (["--resume", "--output_dir", "{folder}/none"], "nothing to resume"),
    (["--load_ckpt", "{folder}/none.pth"], "none.pth does not exist"),
    (["--load_detectron", "{folder}/model.pkl"], "cannot be read yet"),
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
    [("--lr", "-1", "0 and inf"), ("--lr", "nan", "0 and"), ("--lr_decay_gamma", "3", "0 and 1")],
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
