"""The loader: worker processes that make batches."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Sampler

from fpt.dataloaders.coco import ImageDataset, LoadFailure
from fpt.dataloaders.collate import Batch, collate
from fpt.dataloaders.watchdog import answer_with_stacks, watch_workers
from fpt.utils.errors import UserError


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
            collate_fn=collate,
            pin_memory=pin_memory,
            worker_init_fn=start_worker,
            persistent_workers=num_workers > 0,
            multiprocessing_context=context if num_workers > 0 else None,
            generator=torch.Generator(),  # starting workers must not draw from the model's generator
        )
        self._seconds = timeout
        self._workers: list[BaseProcess] = []

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        batches = self._start()
        while True:
            with watch_workers(self._workers, self._seconds):
                batch = next(batches, None)
            if batch is None:
                return
            if isinstance(batch, LoadFailure):
                raise UserError(str(batch))
            yield batch

    def _start(self) -> Iterator[Any]:
        """torch's iterator, and its workers in ``_workers``.

        torch would raise when a worker dies, wherever the main process is: amid an update or a checkpoint. It is enough
        to notice it at the next batch.
        """
        others, handler = active_children(), signal.getsignal(signal.SIGCHLD)
        batches = super().__iter__()
        self._workers += [process for process in active_children() if process not in others]
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, handler)
        return batches


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
