"""Trainings as Python calls them: run folder, repeatability, resume, evaluation, precision, what a start takes over."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from fpt.checkpoint.checkpoint import load_checkpoint
from fpt.core.config import load_cfg, parse_cfg
from fpt.dataloaders.collate import Batch
from fpt.engine.bad_sample_report import BadSampleReport
from fpt.engine.train_step import NonFiniteLossError
from fpt.engine.writers import ProgressWriter
from fpt.run.evaluate import evaluate, evaluate_checkpoint
from fpt.run.options import RunOptions
from fpt.run.train import train
from fpt.utils.errors import LoaderError, UserError


@pytest.fixture(autouse=True)
def _messages(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fpt")


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
    names = {path.name for path in run.glob("[!.]*")} - {"test"}
    assert names == {"ckpt", "config.yaml", "environment.json", "metrics.jsonl", "log.txt", "run.json"}
    assert json.loads((run / "environment.json").read_text())["command"] == "fpt.train"
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
    whole, parts, longer = tmp_path / "whole", tmp_path / "parts", ("SOLVER.MAX_ITER", 3)
    trained.train(whole, disp_interval=1, opts=longer)
    assert losses_of(whole)[:2] == losses_of(trained.folder / "run")
    assert trained.train(parts, disp_interval=1).step == 2
    result = trained.train(parts, disp_interval=1, resume="yes", opts=longer)
    assert losses_of(parts) == losses_of(whole)
    names = ["manifest.json", "model_step2.pth", "model_step3.pth"]
    assert sorted(p.name for p in (parts / "ckpt").iterdir()) == names
    assert (result.step, result.checkpoint, result.signal) == (3, parts / "ckpt" / "model_step3.pth", None)
    assert (result.class_names, result.best_checkpoint, result.metrics) == (("red", "green"), None, None)


def test_periodic_evaluation_keeps_the_best(tiny) -> None:
    run = tiny.folder / "run"
    result = tiny.train(run, opts=("TRAIN.EVAL_PERIOD", 1))
    records = [json.loads(line) for line in (run / "eval.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2]
    assert {"step": 2, **result.metrics} == records[-1]
    assert result.best_checkpoint == run / "ckpt" / "model_best.pth"
    assert load_checkpoint(result.best_checkpoint).best == max(record["segm"]["AP"] for record in records)
    with (run / "eval.jsonl").open("a") as file:
        file.write('{"step": 3, "bbox": {}}\n')
    more = {"resume": "yes", "load_ckpt": run / "ckpt" / "model_step2.pth"}
    tiny.train(run, **more, opts=("SOLVER.MAX_ITER", 3, "TRAIN.EVAL_PERIOD", 1))
    records = [json.loads(line) for line in (run / "eval.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2, 3]
    assert "AP" in records[-1]["bbox"]


def test_evaluation_does_not_disturb_training(trained, tmp_path: Path) -> None:
    trained.train(tmp_path / "a", disp_interval=1, opts=("TRAIN.EVAL_PERIOD", 1))
    assert losses_of(tmp_path / "a") == losses_of(trained.folder / "run")


def test_images_of_a_training_do_not_disturb_it(trained, tmp_path: Path) -> None:
    opts = ("TRAIN.VIS_PERIOD", 1, "SOLVER.EMA_DECAY", 0.5, "VIS_TH", 0.05)
    trained.train(tmp_path / "a", disp_interval=1, writers=("tensorboard",), opts=opts)
    assert losses_of(tmp_path / "a") == losses_of(trained.folder / "run")
    ours, theirs = (load_checkpoint(path).model for path in (tmp_path / "a/ckpt/model_step2.pth", trained.checkpoint))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    drawn = sorted(path.relative_to(tmp_path / "a" / "images") for path in tmp_path.glob("a/images/*/*.png"))
    assert [str(path) for path in drawn] == ["step1/1.png", "step1/2.png", "step2/1.png", "step2/2.png"]
    (events,) = (tmp_path / "a" / "tensorboard").glob("events*")
    content = events.read_bytes()
    for name in (b"loss_mask", b"lr", b"gradient_norm", b"images_per_second", b"memory_mib", b"images/1"):
        assert name in content


def test_profile_writes_a_trace_and_names_the_slowest_parts(tiny, caplog: pytest.LogCaptureFixture) -> None:
    run = tiny.folder / "run"
    tiny.train(run, saves_checkpoints=False, profiles=True, opts=("SOLVER.MAX_ITER", 6))
    assert "profile of 3 steps" in caplog.text
    assert "aten::convolution_backward" in caplog.text
    assert json.loads((run / "profile" / "trace.json").read_text())["traceEvents"]
    assert {"backbone", "neck", "rpn"} <= {
        line.split()[0] for line in (run / "profile" / "slowest.txt").read_text().splitlines() if line
    }


@pytest.mark.slow
def test_compiled_backbone_learns_the_same_and_its_checkpoints_load_either_way(trained, tmp_path: Path) -> None:
    sgd = ("SOLVER.TYPE", "SGD")
    for name in ("True", "False"):
        trained.train(tmp_path / name, disp_interval=1, opts=(*sgd, "MODEL.COMPILE", name))
    for compiled, plain in zip(losses_of(tmp_path / "True"), losses_of(tmp_path / "False"), strict=True):
        assert compiled["loss"] == pytest.approx(plain["loss"], rel=1e-3)
    assert trained.train(tmp_path / "True", resume="yes", opts=(*sgd, "SOLVER.MAX_ITER", 3)).step == 3


def test_half_precision_trains_and_evaluates(tiny, trained) -> None:
    run, bf16 = tiny.folder / "run", ("SOLVER.AMP", "bf16")
    result = tiny.train(run, disp_interval=1, opts=bf16)
    assert_nearly_that_of_float32(run, trained)
    cfg = load_cfg(tiny.cfg, bf16)
    in_hand = evaluate(cfg, result.model, "tiny_val")
    assert "AP" in in_hand["bbox"]
    assert evaluate_checkpoint(cfg, result.checkpoint).metrics == {"tiny_val": in_hand}


def test_weights_alone_start_a_data_set_of_other_classes(
    trained, tmp_path: Path, tiny_factory: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    other = tiny_factory(tmp_path, ("red", "green", "blue"))
    more = {"load_ckpt": trained.checkpoint, "saves_checkpoints": False}
    assert other.train(tmp_path / "run", **more, opts=("SOLVER.MAX_ITER", 1)).step == 1
    fresh = "roi_heads.box_predictor, roi_heads.mask_branch.head.predictor"
    assert f"has no fitting weights for these parts, which start afresh: {fresh}\n" in caplog.text
    assert "trained on other classes: red, green" in caplog.text


def test_weights_of_boxes_alone_start_a_model_with_masks(tiny, caplog: pytest.LogCaptureFixture) -> None:
    once = ("SOLVER.MAX_ITER", 1)
    boxes = tiny.train(tiny.folder / "boxes", opts=(*once, "MODEL.MASK_ON", False))
    more = {"load_ckpt": boxes.checkpoint, "saves_checkpoints": False}
    tiny.train(tiny.folder / "masks", **more, opts=once)
    assert "which start afresh: roi_heads.mask_branch\n" in caplog.text
    with pytest.raises(UserError, match="holds another network"):
        tiny.train(tiny.folder / "other", **more, opts=(*once, "MODEL.CONV_BODY", "FPN.ResNet50_conv5_body"))


def _learn_by_heart(tiny, steps: int, *more: object) -> dict:
    """Metrics of the two training images after so many steps."""
    run = tiny.folder / "run"
    opts = (*more, "SOLVER.MAX_ITER", steps, "SOLVER.BASE_LR", 0.002, "SOLVER.LR_POLICY", "cosine")
    result = tiny.train(run, opts=(*opts, "SOLVER.WARM_UP_ITERS", 10))
    losses = losses_of(run)
    assert losses[-1]["loss"] < losses[0]["loss"] / 10
    return evaluate_checkpoint(load_cfg(tiny.cfg, [str(value) for value in opts]), result.checkpoint).metrics[
        "tiny_val"
    ]


def test_all_objects_of_two_images_are_learnt(tiny) -> None:
    metrics = _learn_by_heart(tiny, 140)
    assert metrics["bbox"]["AP50"] > 0.99
    assert metrics["segm"]["AP50"] > 0.99


@pytest.mark.slow
def test_two_images_are_learnt_by_heart(tiny) -> None:
    metrics = _learn_by_heart(tiny, 320, "RESNETS.BASE_CHANNELS", 64, "GROUP_NORM.NUM_GROUPS", 32)
    assert metrics["bbox"]["AP"] > 0.9
    assert metrics["segm"]["AP"] > 0.9


def test_float16_trains_with_a_scaler_that_a_resume_keeps(tiny, trained) -> None:
    run, fp16 = tiny.folder / "run", ("SOLVER.AMP", "fp16")
    result = tiny.train(run, opts=fp16)
    assert_nearly_that_of_float32(run, trained)
    assert load_checkpoint(result.checkpoint).scaler["scale"] <= 65536
    assert tiny.train(run, resume="yes", opts=(*fp16, "SOLVER.MAX_ITER", 3)).step == 3


def test_frozen_parts_keep_their_weights(tiny) -> None:
    run = tiny.folder / "run"
    frozen = ("TRAIN.FREEZE", "('backbone.*', 'roi_heads.mask_branch.*')", "TRAIN.SNAPSHOT_ITERS", 1)
    tiny.train(run, opts=frozen)
    first, last = (load_checkpoint(run / "ckpt" / f"model_step{step}.pth").model for step in (1, 2))
    changed = {name.split(".")[0] for name in first if not torch.equal(first[name], last[name])}
    assert changed == {"neck", "rpn", "roi_heads"}
    assert not any("mask_branch" in name for name in first if not torch.equal(first[name], last[name]))
    with pytest.raises(UserError, match=r"no parameter has a name like 'bodi\.\*'; there are backbone\.\*, neck\.\*"):
        tiny.train(tiny.folder / "b", opts=("TRAIN.FREEZE", "('bodi.*',)"))


def test_statistics_of_frozen_parts_rest(tiny) -> None:
    run = tiny.folder / "run"
    norm = ("RESNETS.USE_GN", "False", "RESNETS.USE_SYNC_BN", "True", "RESNETS.FREEZE_AT", 0, "TRAIN.SNAPSHOT_ITERS", 1)
    tiny.train(run, opts=("TRAIN.FREEZE", "('backbone.layer1.*',)", *norm))
    first, last = (load_checkpoint(run / "ckpt" / f"model_step{step}.pth").model for step in (1, 2))
    rest = {name for name in first if "running" in name and torch.equal(first[name], last[name])}
    assert rest
    assert rest == {name for name in first if "running" in name and name.startswith("backbone.layer1.")}


def test_resume_auto_starts_or_goes_on(tiny, caplog: pytest.LogCaptureFixture) -> None:
    run = tiny.folder / "run"
    tiny.train(run, resume="auto", opts=("SOLVER.MAX_ITER", 1))
    assert "resumed from" not in caplog.text
    tiny.train(run, resume="auto", opts=("SOLVER.MAX_ITER", 2))
    assert "model_step1.pth at step 1" in caplog.text
    start = run.with_name("start") / "ckpt" / "model_step9.pth"
    start.parent.mkdir(parents=True)
    shutil.copy(run / "ckpt" / "model_step2.pth", start)
    for steps in (1, 2):  # the same command for the first time and for every time after
        caplog.clear()
        other = run.with_name("from weights")
        tiny.train(other, resume="auto", load_ckpt=start, opts=("SOLVER.MAX_ITER", steps))
    assert f"resumed from {other / 'ckpt' / 'model_step1.pth'} at step 1" in caplog.text
    assert f"--load_ckpt {start} is not read: {other} has checkpoints of its own" in caplog.text
    assert not list(other.rglob("superseded*"))
    with pytest.raises(UserError, match="--resume auto and torchrun --max-restarts need --output_dir DIR"):
        train(load_cfg(tiny.cfg), RunOptions(resume="auto"))


def test_two_trainings_of_one_program_keep_their_logs_apart(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("fpt")
    logger.setLevel(logging.NOTSET)
    before, once = list(logger.handlers), ("SOLVER.MAX_ITER", 1)
    for name in ("a", "b"):
        tiny.train(tiny.folder / name, opts=once, saves_checkpoints=False)
    assert (logger.level, logger.handlers) == (logging.NOTSET, before)
    for name in ("a", "b"):
        log = (tiny.folder / name / "log.txt").read_text()
        assert log.count("run folder: ") == log.count("step 1/1") == 1
        assert "batch of 2 images on cpu" in log


def test_a_training_may_run_beside_the_main_thread(tiny) -> None:
    steps: list[int] = []
    once = ("SOLVER.MAX_ITER", 1)
    thread = threading.Thread(target=lambda: steps.append(tiny.train(tiny.folder / "run", opts=once).step))
    thread.start()
    thread.join()
    assert steps == [1]


def test_the_configuration_of_the_caller_stays_as_it_is_and_is_checked(tiny) -> None:
    cfg = load_cfg(tiny.cfg).clone()
    before = cfg.to_dict()
    train(cfg, RunOptions(output_dir=tiny.folder / "run", batch_size=1, saves_checkpoints=False))
    assert cfg.to_dict() == before
    assert not cfg.is_frozen
    cfg.SOLVER.GAMMA = 7.0
    with pytest.raises(UserError, match="SOLVER.GAMMA is 7.0, but must be at most 1"):
        train(cfg, RunOptions(output_dir=tiny.folder / "other"))
    assert not (tiny.folder / "other").exists()
    cfg.SOLVER.GAMMA, cfg.TRAIN.MAXSIZE = 0.1, 72
    with pytest.raises(
        UserError, match=r"TRAIN.MAXSIZE is unknown; the nearest known key is TRAIN.MAX_SIZE \(in the pro"
    ):
        train(cfg, RunOptions(output_dir=tiny.folder / "other"))
    assert not (tiny.folder / "other").exists()


def test_a_configuration_of_other_types_trains_as_one_of_yaml_and_its_checkpoint_loads(tiny) -> None:
    cfg = load_cfg(tiny.cfg).clone()
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.SOLVER.BASE_LR = 1.0, [1, 2], np.float32(0.01)
    cfg.MODEL.MASK_ON, cfg.PIXEL_MEANS, cfg.DATA_DIR = "False", np.array([1, 2, 3]), Path(cfg.DATA_DIR or ".")
    cfg.TRAIN.EVAL_PERIOD = 0
    result = train(cfg.freeze(), RunOptions(output_dir=tiny.folder / "run"))
    assert not any("mask" in name for name, _ in result.model.named_parameters())
    loaded = parse_cfg(load_checkpoint(result.checkpoint).config, source="the checkpoint")
    assert (loaded.SOLVER.STEPS, loaded.PIXEL_MEANS, loaded.MODEL.MASK_ON) == ((1, 2), (1.0, 2.0, 3.0), False)
    assert loaded.SOLVER.BASE_LR == pytest.approx(0.01)


def test_a_signal_stops_after_the_step_and_the_result_says_so(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(writer: ProgressWriter, record: dict[str, float]) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(ProgressWriter, "__call__", interrupt)
    before = signal.getsignal(signal.SIGTERM)
    result = tiny.train(tiny.folder / "run", opts=("SOLVER.MAX_ITER", 50))
    assert (result.step, result.signal, result.exit_status) == (1, signal.SIGTERM, 143)
    assert result.checkpoint == tiny.folder / "run" / "ckpt" / "model_step1.pth"
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_diverged_training_raises_and_keeps_the_last_good_weights(tiny) -> None:
    opts = ("SOLVER.BASE_LR", 1e30, "SOLVER.TYPE", "SGD", "SOLVER.CLIP_GRAD_NORM", 0, "SOLVER.MAX_SKIPPED_STEPS", 3)
    with pytest.raises(NonFiniteLossError, match="3 steps in a row had no finite loss or gradient"):
        tiny.train(tiny.folder / "run", opts=(*opts, "SOLVER.MAX_ITER", 50))
    saved = load_checkpoint(tiny.folder / "run" / "ckpt" / "model_step3.pth")
    assert all(torch.isfinite(value).all() for value in saved.model.values())


def test_a_lost_worker_raises_and_the_run_goes_on(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(report: BadSampleReport, batches: Iterable[Batch], **more: int) -> Iterator[Batch]:
        yield next(iter(batches))
        raise LoaderError("loader worker 7 was killed by SIGKILL")

    with monkeypatch.context() as patch:
        patch.setattr(BadSampleReport, "watch", lose)
        with pytest.raises(LoaderError, match="SIGKILL"):
            tiny.train(tiny.folder / "run")
    assert tiny.train(tiny.folder / "run", resume="yes").step == 2
