"""The loader: worker processes that make batches."""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Sampler

from fpt.dataloaders.coco import ImageDataset, LoadFailure, Sample
from fpt.dataloaders.collate import Batch, collate
from fpt.dataloaders.packed_batch import PackedBatch, free_shared_memory, pack
from fpt.dataloaders.watchdog import SECONDS_BETWEEN_LOOKS, answer_with_stacks, watch_workers
from fpt.utils.errors import LoaderError, UserError
from fpt.utils.limits import open_files_limit, raise_open_files_limit

_LOGGER = logging.getLogger("fpt")


class ImageLoader(DataLoader[Any]):
    """Yields Batch objects; workers persist and use one thread each.

    Args:
        dataset: the images.
        batch_sampler: lists of keys.
        num_workers: worker processes; 0 loads in this one.
        pin_memory: copy batches to page-locked memory.
        timeout: seconds that a batch may take; 0 = any time.
        context: how workers start (fork, spawn, forkserver); None = the platform's way.

    Raises:
        UserError: (while iterating) an image cannot be read; its message arrives unchanged from the worker.
        LoaderError: (while iterating) a worker died, or a batch took longer than `timeout`; without workers the program
            ends then.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        *,
        batch_sampler: Sampler[Any],
        num_workers: int,
        pin_memory: bool = False,
        timeout: float = 0.0,
        context: str | None = None,
    ) -> None:
        super().__init__(
            dataset,
            batch_sampler=batch_sampler,
            num_workers=num_workers,
            collate_fn=functools.partial(_collate_in_worker, num_workers=num_workers) if num_workers else collate,
            pin_memory=pin_memory,
            worker_init_fn=start_worker,
            persistent_workers=num_workers > 0,
            multiprocessing_context=context if num_workers > 0 else None,
            generator=torch.Generator(),  # starting workers must not draw from the model's generator
        )
        self._seconds = timeout
        self._workers: list[BaseProcess] = []

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        with _explained_limits(self.num_workers):
            batches = self._start()
        has_said = False
        while True:
            try:
                batch = self._next(batches)
            except BaseException:
                self._end(batches)
                raise
            if batch is None:
                return
            if isinstance(batch, PackedBatch):
                if not batch.is_shared and not has_said:
                    has_said = True
                    _warn_of_pipes()
                batch = batch.unpack()
            yield batch

    def _next(self, batches: Iterator[Any]) -> Any:
        """The next batch, packed where workers make them; None after the last."""
        with watch_workers(self._workers, self._seconds), _explained_limits(self.num_workers):
            batch = next(batches, None)
        if isinstance(batch, WorkerFailure):
            raise LoaderError(str(batch))
        if isinstance(batch, LoadFailure):
            raise UserError(str(batch))
        return batch

    def _end(self, batches: Iterator[Any]) -> None:
        """End the workers after an error, which else holds their iterator until a garbage collection: that waits for
        5 seconds for each of them then. Whoever iterates once more gets new ones.
        """
        if self._workers:
            batches._shutdown_workers()  # type: ignore[attr-defined]
            self._workers, self._iterator = [], None

    def _start(self) -> Iterator[Any]:
        """torch's iterator, and its workers in ``_workers``.

        torch would raise when a worker dies, wherever the main process is: amid an update or a checkpoint. It is enough
        to notice it at the next batch.
        """
        if self.num_workers:
            raise_open_files_limit()
        others, handler = active_children(), signal.getsignal(signal.SIGCHLD)
        batches = super().__iter__()
        self._workers += [process for process in active_children() if process not in others]
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, handler)
        wait = getattr(type(batches), "_try_get_data", None)
        if wait is not None and self._workers:  # torch looks for dead workers each 5 seconds only
            owner = weakref.proxy(batches)  # an iterator that holds itself ends its workers late
            batches._try_get_data = functools.partial(wait, owner, SECONDS_BETWEEN_LOOKS)  # type: ignore[attr-defined]
        return batches


class WorkerFailure(LoadFailure):
    """Why a worker could not go on, of a system's limit; travels as LoadFailure does."""


def _collate_in_worker(samples: Sequence[Sample | LoadFailure], *, num_workers: int) -> PackedBatch | LoadFailure:
    """The batch in one buffer; or what the system has refused the worker, as a message."""
    try:
        batch = collate(samples)
        return batch if isinstance(batch, LoadFailure) else pack(batch, num_workers=num_workers)
    except (OSError, MemoryError) as error:
        return WorkerFailure(f"a loader worker cannot go on: {explain_limit(error, num_workers)}")


def explain_limit(error: BaseException, num_workers: int) -> str:
    """What the system has refused, and the way out."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and (error.errno in (errno.EMFILE, errno.ENFILE) or "open files" in text):
        return (
            f"too many open files ({num_workers} workers; the limit, ulimit -n, is {open_files_limit()}): raise it "
            f"(ulimit -n 4096), or use fewer workers (--nw) [{text}]"
        )
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return f"memory has run out: use fewer workers (--nw) or smaller images [{text}]"
    if isinstance(error, OSError) and error.errno == errno.EAGAIN:
        return f"no more processes may be started (ulimit -u): use fewer workers (--nw) [{text}]"
    return text


@contextlib.contextmanager
def _explained_limits(num_workers: int) -> Iterator[None]:
    """LoaderError for what the system refuses this process, where there are workers."""
    try:
        yield
    except (OSError, MemoryError) as error:
        if not num_workers:
            raise
        raise LoaderError(f"the loader cannot go on: {explain_limit(error, num_workers)}") from error


def _warn_of_pipes() -> None:
    free = free_shared_memory()
    size = "" if free is None else f" ({free / 2**20:.0f} MiB free)"
    _LOGGER.warning(
        "shared memory, /dev/shm, is too small for the batches of the workers%s: they go through pipes, which is "
        "slower; in docker give --shm-size 8g, or load in the main process (--nw 0)",
        size,
    )


def start_worker(worker_id: int) -> None:
    """Keep a worker to one thread, as there is one worker a core already, and let it answer the watchdog.

    Ctrl-C and SIGHUP, which a terminal sends to every process, and SIGUSR1, which a cluster may, are the main process's
    to act on: its running step still needs its batches.
    """
    del worker_id
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    answer_with_stacks()
    threading.Thread(target=_leave_with, args=(os.getppid(),), name="parent", daemon=True).start()


def _leave_with(parent: int) -> None:
    """End this worker when its main process has gone; one that waits for room in a pipe would stay for ever."""
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)
