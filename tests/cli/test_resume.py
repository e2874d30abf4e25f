"""A run that was stopped, failed or killed goes on as if nothing had happened: weights and log lines, bit by bit."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fpt.checkpoint.checkpoint import load_checkpoint
from fpt.checkpoint.store import load_newest
from fpt.cli import train
from fpt.engine import train_step

STEPS = 6
OPTIONS = ("--disp_interval", "2", "--iter_size", "2", "--bs", "1", "--set", "SOLVER.MAX_ITER", str(STEPS))
OPTIONS += ("SOLVER.EMA_DECAY", "0.9", "TRAIN.EVAL_PERIOD", "4", "SOLVER.LR_POLICY", "cosine")
OPTIONS += ("DATA_LOADER.NUM_THREADS",)


def arguments(tiny, run: Path, *more: str, workers: int = 0) -> list[str]:
    return tiny.arguments("--output_dir", run, *more, *OPTIONS, str(workers))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, tiny_factory: Callable) -> Any:
    """A run without interruption, in ``run``."""
    tiny = tiny_factory(tmp_path_factory.mktemp("unbroken"))
    assert train.main(arguments(tiny, tiny.folder / "run")) == 0
    return tiny


def after_step(monkeypatch: pytest.MonkeyPatch, number: int, action: Callable[[], None]) -> None:
    """Let `action` happen within the update of step `number`."""
    calls, update = itertools.count(1), train_step.update_weights

    def update_and_act(state: Any) -> None:
        update(state)
        if next(calls) == number:
            action()

    monkeypatch.setattr(train_step, "update_weights", update_and_act)


def assert_equal(a: Any, b: Any, where: str = "") -> None:
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_equal(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for number, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{where}[{number}]")
    else:
        assert a == b, where


def lines_of(file: Path) -> list[dict[str, Any]]:
    """Records without what depends on the clock."""
    records = [json.loads(line) for line in file.read_text().splitlines()]
    clock = ("seconds_per_step", "data_seconds", "eta_seconds", "memory_mib", "images_per_second")
    return [{name: value for name, value in record.items() if name not in clock} for record in records]


def assert_same_end(run: Path, expected: Path) -> None:
    """The last checkpoints are equal in everything, and so are the records."""
    name = f"model_step{STEPS}.pth"
    ours, theirs = (vars(load_checkpoint(folder / "ckpt" / name)) for folder in (run, expected))
    assert_equal({**ours, "config": None}, {**theirs, "config": None})
    assert lines_of(run / "metrics.jsonl") == lines_of(expected / "metrics.jsonl")
    assert lines_of(run / "eval.jsonl") == lines_of(expected / "eval.jsonl")
    best = (load_checkpoint(folder / "ckpt" / "model_best.pth").step for folder in (run, expected))
    assert_equal(*best)


SLOW = [pytest.param(*values, marks=pytest.mark.slow) for values in ((2, 0), (3, 1), (5, 0))]


@pytest.mark.parametrize(("number", "workers"), [(1, 0), (4, 2), *SLOW])
def test_stopped_run_ends_as_the_unbroken_one(
    unbroken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, workers: int
) -> None:
    with monkeypatch.context() as patch:
        after_step(patch, number, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert train.main(arguments(unbroken, tmp_path, workers=workers)) == 143
    assert load_newest(tmp_path)[1].step == number
    assert train.main(arguments(unbroken, tmp_path, "--resume", workers=2 - workers)) == 0
    assert_same_end(tmp_path, unbroken.folder / "run")


RECIPES = {
    "fp16": ("SOLVER.AMP", "fp16", "SOLVER.TYPE", "SGD", "SOLVER.LR_POLICY", "poly"),
    "bf16": ("SOLVER.AMP", "bf16", "SOLVER.TYPE", "Adam", "SOLVER.LR_POLICY", "step", "SOLVER.STEP_SIZE", "2"),
    "FPT": ("MODEL.CONV_BODY", "FPN.ResNet18_conv5_body_fpt", "MODEL.FPT.DROPBLOCK_KEEP_PROB", "0.9"),
    "BatchNorm": ("MODEL.CONV_BODY", "FPN.ResNet18_conv5_body_fpt", "MODEL.FPT.NORM", "SyncBN"),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_kind_of_state_goes_on_exactly(
    tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train.main([*arguments(tiny, whole), *RECIPES[recipe]]) == 0
    with monkeypatch.context() as patch:
        after_step(patch, 3, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        assert train.main([*arguments(tiny, parts), *RECIPES[recipe]]) == 138
    assert train.main([*arguments(tiny, parts, "--resume"), *RECIPES[recipe]]) == 0
    assert_same_end(parts, whole)


def test_signal_in_the_last_step_leaves_the_evaluation_to_the_resume(
    unbroken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        after_step(patch, STEPS, lambda: os.kill(os.getpid(), signal.SIGINT))
        assert train.main(arguments(unbroken, tmp_path)) == 130
    assert [record["step"] for record in lines_of(tmp_path / "eval.jsonl")] == [4]
    assert train.main(arguments(unbroken, tmp_path, "--resume")) == 0
    assert [record["step"] for record in lines_of(tmp_path / "eval.jsonl")] == [4, 6]
    assert lines_of(tmp_path / "metrics.jsonl") == lines_of(unbroken.folder / "run" / "metrics.jsonl")


def test_signal_during_evaluation_stops_it_and_the_resume_makes_up_for_it(
    unbroken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fpt.engine import inference

    def detect(*args: Any, **more: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return inference_of_batch(*args, **more)

    inference_of_batch = inference.detect_batch
    with monkeypatch.context() as patch:
        patch.setattr(inference, "detect_batch", detect)
        assert train.main(arguments(unbroken, tmp_path)) == 143
    assert load_newest(tmp_path)[1].step == 4
    assert not (tmp_path / "eval.jsonl").exists()
    assert train.main(arguments(unbroken, tmp_path, "--resume")) == 0
    assert_same_end(tmp_path, unbroken.folder / "run")


def test_evaluation_that_fails_lets_the_training_go_on_and_the_resume_makes_up_for_it(
    unbroken, tmp_path: Path, tiny_factory: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = tiny_factory(tmp_path)
    (tmp_path / "val").mkdir()
    for image in (tmp_path / "images").iterdir():
        (tmp_path / "val" / image.name).write_bytes(image.read_bytes())
    broken = tmp_path / "val" / "2.png"
    content = broken.read_bytes()
    broken.write_bytes(content[:-30])
    run, more = tmp_path / "run", ("DATASETS.tiny_val.IMAGE_DIR", "val", "TRAIN.VIS_PERIOD", "5")
    assert train.main([*arguments(tiny, run), *more]) == 2
    shown = capsys.readouterr()
    assert "the evaluation after step 4 has failed" in shown.out
    assert "no images after step 5" in shown.out
    assert "all 6 steps are done, but the evaluation after step 6 has failed" in shown.err
    assert "2.png" in shown.err
    assert lines_of(run / "metrics.jsonl") == lines_of(unbroken.folder / "run" / "metrics.jsonl")
    broken.write_bytes(content)
    assert train.main([*arguments(tiny, run, "--resume"), *more]) == 0
    assert lines_of(run / "eval.jsonl") == lines_of(unbroken.folder / "run" / "eval.jsonl")[-1:]


def test_run_goes_on_from_an_earlier_checkpoint_and_not_from_the_damaged_or_abandoned_ones(
    unbroken, tmp_path: Path
) -> None:
    more = ("TRAIN.SNAPSHOT_ITERS", "2", "TRAIN.KEEP_CHECKPOINTS", "1", "TRAIN.KEEP_EVERY", "4")
    assert train.main([*arguments(unbroken, tmp_path), *more]) == 0
    os.truncate(tmp_path / "ckpt" / "model_step6.pth", 5000)
    assert train.main([*arguments(unbroken, tmp_path, "--resume"), *more]) == 0
    assert_same_end(tmp_path, unbroken.folder / "run")
    names = {path.name for path in (tmp_path / "ckpt").glob("*.pth")}
    assert names == {"model_best.pth", "model_step4.pth", "model_step6.pth", "superseded_step6.pth"}
    earlier = ("--resume", "--load_ckpt", str(tmp_path / "ckpt" / "model_step4.pth"))
    assert train.main([*arguments(unbroken, tmp_path, *earlier), *more, "SOLVER.MAX_ITER", "5"]) == 0
    assert load_newest(tmp_path)[1].step == 5


def test_signal_while_a_checkpoint_is_written_lets_it_be_finished(
    unbroken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_and_save(content: Any, file: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        torch.save(content, file)

    with monkeypatch.context() as patch:
        patch.setattr("fpt.checkpoint.checkpoint._save", stop_and_save)
        more = ("TRAIN.SNAPSHOT_ITERS", "3", "TRAIN.EVAL_PERIOD", "0")
        assert train.main([*arguments(unbroken, tmp_path), *more]) == 143
    assert load_newest(tmp_path)[1].step == 3


def test_failure_leaves_a_checkpoint_of_the_last_finished_step(
    unbroken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, backward = itertools.count(1), train_step.backward

    def fail(*args: Any, **more: Any) -> Any:
        if next(calls) == 8:  # the second batch of step 4
            raise MemoryError
        return backward(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(train_step, "backward", fail)
        with pytest.raises(MemoryError):
            train.main(arguments(unbroken, tmp_path))
    assert load_newest(tmp_path)[1].step == 3
    assert train.main(arguments(unbroken, tmp_path, "--resume")) == 0
    assert_same_end(tmp_path, unbroken.folder / "run")


def test_run_that_is_continued_beyond_its_end_is_that_of_the_longer_schedule(tiny, tmp_path: Path) -> None:
    def run(folder: Path, steps: int, *more: str) -> None:
        options = ("--disp_interval", "4", *more, "--set", "SOLVER.MAX_ITER", str(steps))
        assert train.main(tiny.arguments("--output_dir", folder, *options)) == 0

    run(tmp_path / "whole", 5)
    run(tmp_path / "parts", 2)
    run(tmp_path / "parts", 5, "--resume")
    ours, theirs = (vars(load_checkpoint(tmp_path / name / "ckpt" / "model_step5.pth")) for name in ("parts", "whole"))
    assert_equal({**ours, "config": None}, {**theirs, "config": None})
    assert lines_of(tmp_path / "parts" / "metrics.jsonl") == lines_of(tmp_path / "whole" / "metrics.jsonl")
