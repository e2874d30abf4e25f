"""Training whose loader hangs or loses a worker."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable

import pytest

from fpt.checkpoint.checkpoint import load_checkpoint
from fpt.cli import test as evaluate
from fpt.cli import train
from fpt.dataloaders.coco import CocoDataset


def _spoil(monkeypatch: pytest.MonkeyPatch, number: int, fail: Callable[[], None]) -> None:
    """Let the `number`-th image that a worker reads fail."""
    read, count, main = CocoDataset.__getitem__, itertools.count(1), os.getpid()

    def read_or_fail(dataset: CocoDataset, key: int):
        if os.getpid() != main and next(count) == number:
            fail()
        return read(dataset, key)

    monkeypatch.setattr(CocoDataset, "__getitem__", read_or_fail)


FAILURES = {
    "killed": (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by SIGKILL: most likely memory ran out"),
    "hangs": (lambda: time.sleep(1000), "the loader has made no batch for 2 seconds (DATA_LOADER.TIMEOUT)"),
    "stopped": (lambda: os.kill(os.getpid(), signal.SIGSTOP), "the loader has made no batch for 2 seconds"),
}


@pytest.mark.parametrize(
    "kind", ["killed", pytest.param("hangs", marks=pytest.mark.slow), pytest.param("stopped", marks=pytest.mark.slow)]
)
def test_training_ends_and_goes_on(
    tiny, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    fail, message = FAILURES[kind]
    run = tiny.folder / "run"
    with monkeypatch.context() as patch:
        _spoil(patch, 7, fail)
        more = ("SOLVER.MAX_ITER", "50", "DATA_LOADER.TIMEOUT", "2")
        assert train.main(tiny.arguments("--output_dir", run, "--nw", "1", "--set", *more)) == 1
    error = capfd.readouterr().err
    assert "stacks of the main process" in error
    assert error.splitlines()[-1].startswith("error: ")
    assert message in error.splitlines()[-1]
    checkpoints = [load_checkpoint(path) for path in (run / "ckpt").glob("*.pth")]
    assert len(checkpoints) == 1
    assert 1 <= checkpoints[0].step <= 3  # ready batches are lost with a worker that is killed or stopped
    assert not list((run / "ckpt").glob(".*"))
    assert train.main(tiny.arguments("--output_dir", run, "--resume", "--set", "SOLVER.MAX_ITER", "4")) == 0


def test_signal_that_kills_the_workers_too_is_no_failure(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    main, run = os.getpid(), tiny.folder / "run"

    def stop() -> None:
        os.kill(main, signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1000)

    _spoil(monkeypatch, 15, stop)  # in the last batch of step 2
    arguments = ("--output_dir", run, "--nw", "1", "--iter_size", "4", "--set", "SOLVER.MAX_ITER", "50")
    assert train.main(tiny.arguments(*arguments)) == 143
    (path,) = (run / "ckpt").glob("*.pth")
    assert load_checkpoint(path).step == 1


def test_evaluation_ends(trained, tmp_path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    _spoil(monkeypatch, 1, FAILURES["killed"][0])
    more = ("--load_ckpt", trained.checkpoint, "--output_dir", tmp_path, "--set", "DATA_LOADER.NUM_THREADS", "1")
    assert evaluate.main(trained.arguments(*more)) == 1
    assert "was killed by SIGKILL" in capfd.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "metrics.json").exists()
