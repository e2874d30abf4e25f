"""The loader: worker processes that make batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Sampler

from fpt.dataloaders.coco import LoadFailure, PictureDataset
from fpt.dataloaders.collate import Batch, collate
from fpt.utils.errors import UserError


class PictureLoader(DataLoader[Any]):
    """Yields Batch objects; workers persist and use one thread each.

    Args:
        dataset: the pictures.
        batch_sampler: lists of keys.
        num_workers: worker processes; 0 loads in this one.
        pin_memory: copy batches to page-locked memory.
        context: how workers start (fork, spawn, forkserver); None = the platform's way.

    Raises:
        UserError: (while iterating) a picture cannot be read; its message arrives unchanged from the worker.
    """

    def __init__(
        self,
        dataset: PictureDataset,
        *,
        batch_sampler: Sampler[Any],
        num_workers: int,
        pin_memory: bool = False,
        context: str | None = None,
    ) -> None:
        super().__init__(
            dataset,
            batch_sampler=batch_sampler,
            num_workers=num_workers,
            collate_fn=collate,
            pin_memory=pin_memory,
            worker_init_fn=use_one_thread,
            persistent_workers=num_workers > 0,
            multiprocessing_context=context if num_workers > 0 else None,
            generator=torch.Generator(),  # starting workers must not draw from the model's generator
        )

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, LoadFailure):
                raise UserError(str(batch))
            yield batch


def use_one_thread(worker_id: int) -> None:
    """Keep a worker to one thread: there is one worker a core already."""
    del worker_id
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
