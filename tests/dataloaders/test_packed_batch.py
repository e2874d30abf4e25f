"""A batch travels in one buffer: the same tensors, one open file, and none where shared memory is small."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import torch

from fpt.dataloaders import packed_batch
from fpt.dataloaders.coco import CocoDataset
from fpt.dataloaders.collate import Batch, collate
from fpt.dataloaders.loader import ImageLoader, explain_limit
from fpt.dataloaders.packed_batch import PackedBatch, fits_shared_memory, pack
from fpt.dataloaders.samplers import TrainBatchSampler
from fpt.utils.errors import LoaderError
from fpt.utils.limits import open_files_limit, raise_open_files_limit


def _batch(coco_folder) -> Batch:
    del coco_folder.annotations[0]["segmentation"]  # so that an image has a tensor more
    dataset = coco_folder.open(with_masks=True)
    batch = collate([dataset[index] for index in range(3)])
    assert isinstance(batch, Batch)
    return batch


def _assert_same(first: Batch, second: Batch) -> None:
    tensors = [*zip(first.images, second.images, strict=True)]
    assert first.targets is not None
    assert second.targets is not None
    for target, other in zip(first.targets, second.targets, strict=True):
        assert list(target) == list(other)
        tensors += [(target[key], other[key]) for key in target]
    for one, other in tensors:
        assert torch.equal(one, other)
        assert one.dtype == other.dtype
        assert one.stride() == other.stride() or not one.numel()
    for key in ("image_ids", "sizes_hw", "scales", "bad_samples"):
        assert getattr(first, key) == getattr(second, key)


@pytest.mark.parametrize("free", [None, 1 << 40, 0])
def test_the_same_tensors_come_out(coco_folder, monkeypatch: pytest.MonkeyPatch, free: int | None) -> None:
    monkeypatch.setattr(packed_batch, "free_shared_memory", lambda: free)
    batch = _batch(coco_folder)
    packed = pack(batch, num_workers=2)
    assert packed.is_shared == (free != 0)
    _assert_same(packed.unpack(), batch)
    if free == 0:
        _assert_same(pickle.loads(pickle.dumps(packed)).unpack(), batch)
    assert packed.unpack().images[0].permute(1, 2, 0).is_contiguous()


def test_images_without_targets(coco_folder) -> None:
    dataset = coco_folder.open(with_targets=False)
    packed = pack(collate([dataset[0], dataset[1]]), num_workers=1)
    assert packed.unpack().targets is None
    assert len(packed.unpack().images) == 2
    assert pack(Batch([], None, [], [], []), num_workers=1).unpack().images == []


@pytest.mark.parametrize(("free", "fits"), [(None, True), (799, False), (800, True)])
def test_shared_memory_must_have_room_for_all_workers(monkeypatch: pytest.MonkeyPatch, free, fits: bool) -> None:
    monkeypatch.setattr(packed_batch, "free_shared_memory", lambda: free)
    assert fits_shared_memory(100, num_workers=4) == fits


def test_free_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_batch, "SHARED_MEMORY", str(tmp_path))
    assert packed_batch.free_shared_memory() > 0
    monkeypatch.setattr(packed_batch, "SHARED_MEMORY", str(tmp_path / "none"))
    assert packed_batch.free_shared_memory() is None


def _loader(dataset: CocoDataset, *, batch_size: int = 2, num_workers: int = 2) -> ImageLoader:
    sampler = TrainBatchSampler(is_wide=np.zeros(len(dataset), bool), batch_size=batch_size, seed=0)
    return ImageLoader(dataset, batch_sampler=sampler, num_workers=num_workers, timeout=20.0)


@pytest.mark.parametrize("is_small", [False, True])
def test_batches_do_not_depend_on_the_way(
    coco_folder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_small: bool
) -> None:
    if is_small:
        monkeypatch.setattr(packed_batch, "free_shared_memory", lambda: 1000)
    dataset = coco_folder.open(with_masks=True, flip=0.5)
    with caplog.at_level(logging.WARNING, "fpt"):
        pairs = list(zip(_loader(dataset), _loader(dataset, num_workers=0), range(6), strict=False))
    for parallel, serial, _ in pairs:
        _assert_same(parallel, serial)
    assert caplog.text.count("shared memory, /dev/shm, is too small") == int(is_small)
    assert ("--shm-size" in caplog.text) == is_small


@pytest.mark.parametrize("free", [None, 0])
def test_workers_end_at_once_with_their_loader(coco_folder, monkeypatch: pytest.MonkeyPatch, free: int | None) -> None:
    monkeypatch.setattr(packed_batch, "free_shared_memory", lambda: free)
    loader = _loader(coco_folder.open())
    batches = iter(loader)
    next(batches)
    workers = list(loader._workers)
    start = time.perf_counter()
    del batches, loader
    gc.collect()
    assert time.perf_counter() - start < 4
    assert len(workers) == 2
    assert not any(worker.is_alive() for worker in workers)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files")
def test_a_batch_takes_one_open_file(coco_folder) -> None:
    batches = iter(_loader(coco_folder.open(with_masks=True), batch_size=64, num_workers=1))
    next(batches)
    before = len(os.listdir("/proc/self/fd"))
    kept = [next(batches) for _ in range(5)]
    assert len(os.listdir("/proc/self/fd")) <= before + len(kept) + 4


def test_the_limit_of_open_files_is_raised() -> None:
    pytest.importorskip("resource")
    program = (
        "import resource; from fpt.utils.limits import raise_open_files_limit, open_files_limit\n"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard)); raise_open_files_limit()\n"
        "assert open_files_limit() > 256, open_files_limit()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    before = open_files_limit()
    raise_open_files_limit()
    assert open_files_limit() >= before


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.EMFILE, "Too many open files"),
            r"too many open files \(3 workers; the limit, ulimit -n, is \d+",
        ),
        (OSError("Caught OSError: [Errno 24] Too many open files"), "too many open files"),
        (MemoryError(), "memory has run out: use fewer workers"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory has run out"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), r"no more processes .* \(ulimit -u\)"),
        (OSError(errno.EIO, "Input/output error"), "OSError: .* Input/output error"),
    ],
)
def test_limits_are_named(error: BaseException, message: str) -> None:
    import re

    assert re.search(message, explain_limit(error, 3))


@pytest.mark.parametrize("kind", [MemoryError, OSError])
@pytest.mark.parametrize("where", ["sample", "batch"])
def test_what_a_worker_is_refused_is_named_at_once(
    coco_folder, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException], where: str
) -> None:
    def refuse(*args: object, **more: object) -> None:
        raise kind(errno.EMFILE, "Too many open files") if kind is OSError else kind()

    target = (CocoDataset, "__getitem__") if where == "sample" else (packed_batch, "_tensors")
    monkeypatch.setattr(*target, refuse)
    word = "too many open files" if kind is OSError else "memory has run out"
    loader = _loader(coco_folder.open())
    others = active_children()
    for _ in range(2):  # the second time with new workers
        start = time.perf_counter()
        with pytest.raises(LoaderError, match=word):
            next(iter(loader))
        gc.collect()
        assert time.perf_counter() - start < 5
        assert active_children() == others


PROGRAM = """\
import os, signal, sys, time
sys.path.insert(0, {folder!r})
import fpt.dataloaders.packed_batch as packed_batch
from fpt.dataloaders.coco import CocoDataset
from fpt.dataloaders.loader import ImageLoader
from fpt.dataloaders.samplers import RangeBatchSampler
from fpt.dataloaders.transforms import ResizeAndFlip
packed_batch.free_shared_memory = lambda: 0
dataset = CocoDataset(name="a", ann_file={ann!r}, image_dir={images!r}, transform=ResizeAndFlip((400,), 1000))
sampler = RangeBatchSampler(start=0, end=3, batch_size=1)
loader = ImageLoader(dataset, batch_sampler=sampler, num_workers=1)
batches = loader._start()
time.sleep(1)
print(loader._workers[0].pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_leave_with_a_main_process_that_is_killed(coco_folder) -> None:
    coco_folder.write()
    program = PROGRAM.format(folder="", ann=str(coco_folder.ann_file), images=str(coco_folder.image_dir))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())  # its own end of the pipe keeps it open: it is not read to the end
        try:
            for _ in range(100):
                if not _is_running(worker):
                    return
                time.sleep(0.1)
            pytest.fail("the worker stays")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)


def _is_running(number: int) -> bool:
    try:
        os.kill(number, 0)
        return "Z" not in Path(f"/proc/{number}/stat").read_text().split()[2]
    except FileNotFoundError:  # gone by now, or a system without /proc
        return not Path("/proc/self").is_dir()
    except ProcessLookupError:
        return False


def test_a_packed_batch_is_one_pickle_of_few_bytes(coco_folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_batch, "free_shared_memory", lambda: 0)
    packed = pack(_batch(coco_folder), num_workers=1)
    assert isinstance(packed, PackedBatch)
    assert len(pickle.dumps(packed)) < packed.buffer.nbytes + 4000
