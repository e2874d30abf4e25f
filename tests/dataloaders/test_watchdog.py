"""A loader that hangs or loses a worker ends in bounded time, with the stacks of all processes."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fpt.dataloaders.coco import CocoDataset
from fpt.dataloaders.loader import ImageLoader
from fpt.dataloaders.samplers import TrainBatchSampler
from fpt.dataloaders.watchdog import watch_workers
from fpt.utils.errors import LoaderError


def _loader(coco_folder, *, num_workers: int = 2, timeout: float = 20.0) -> ImageLoader:
    sampler = TrainBatchSampler(is_wide=np.zeros(3, bool), batch_size=1, seed=0)
    return ImageLoader(coco_folder.open(), batch_sampler=sampler, num_workers=num_workers, timeout=timeout)


def _hang(dataset: CocoDataset, key: int) -> None:
    time.sleep(1000)


def _die(dataset: CocoDataset, key: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_hanging_worker(coco_folder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.setattr(CocoDataset, "__getitem__", _hang)
    loader = _loader(coco_folder, timeout=1.0)
    start = time.perf_counter()
    with pytest.raises(LoaderError, match=r"no batch for 1 seconds \(DATA_LOADER\.TIMEOUT\)"):
        list(loader)
    assert 1 <= time.perf_counter() - start < 5
    shown = capfd.readouterr().err
    main, *workers = shown.split("stacks of loader worker")
    assert "stacks of the main process" in main
    assert "in test_hanging_worker" in main
    assert len(workers) == 2
    assert all("in _hang" in worker for worker in workers)


def test_killed_worker(coco_folder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.setattr(CocoDataset, "__getitem__", _die)
    start = time.perf_counter()
    with pytest.raises(LoaderError, match="was killed by SIGKILL: most likely memory ran out: use fewer workers"):
        list(_loader(coco_folder))
    assert time.perf_counter() - start < 5
    assert "stacks of the main process" in capfd.readouterr().err


def test_worker_that_dies_under_the_step_is_noticed_at_the_next_batches(coco_folder):
    loader = _loader(coco_folder, num_workers=1)
    batches = iter(loader)
    next(batches)
    os.kill(loader._workers[0].pid, signal.SIGKILL)
    time.sleep(0.5)
    with pytest.raises(LoaderError, match="was killed by SIGKILL"):
        list(batches)


def test_stopped_worker(coco_folder):
    loader = _loader(coco_folder, num_workers=1, timeout=60)
    batches = iter(loader)
    next(batches)
    (worker,) = loader._workers
    loader._seconds = 1.0
    os.kill(worker.pid, signal.SIGSTOP)
    with pytest.raises(LoaderError, match="no batch for 1 seconds"):
        list(batches)
    assert not worker.is_alive()


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_signals_to_all_processes_leave_the_workers_at_work(coco_folder, context: str):
    sampler = TrainBatchSampler(is_wide=np.zeros(3, bool), batch_size=1, seed=0)
    loader = ImageLoader(coco_folder.open(), batch_sampler=sampler, num_workers=1, timeout=60, context=context)
    batches = iter(loader)
    next(batches)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        os.kill(loader._workers[0].pid, number)
    assert len(list(itertools.islice(batches, 9))) == 9
    assert loader._workers[0].is_alive()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_slow_worker_within_the_time_is_left_alone(coco_folder, monkeypatch: pytest.MonkeyPatch, num_workers: int):
    load = CocoDataset.__getitem__

    def wait_and_load(dataset: CocoDataset, key: int) -> object:
        time.sleep(1.2)
        return load(dataset, key)

    monkeypatch.setattr(CocoDataset, "__getitem__", wait_and_load)
    loader = _loader(coco_folder, num_workers=num_workers, timeout=2.0)
    assert len(list(itertools.islice(loader, 2))) == 2


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="out of memory"), watch_workers([]):
        raise RuntimeError("CUDA out of memory")


SCRIPT = """
import time
from fpt.dataloaders.watchdog import watch_workers
with watch_workers([], 0.2):
    pass
time.sleep(0.3)
def read():
    time.sleep(100)
with watch_workers([], 0.5):
    read()
"""


def test_process_without_workers_ends_itself(tmp_path: Path):
    start = time.perf_counter()
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "in read" in run.stderr
    assert "no batch for 0.5 seconds (DATA_LOADER.TIMEOUT)" in run.stderr
    assert time.perf_counter() - start < 60
