"""A batch on its way from a worker to the main process: all of its tensors in one buffer.

A tensor that is sent on its own takes an open file in both processes, and there may be 1,024: a batch of 128 images
with boxes, labels and masks would need over 500. In one buffer it needs one, or none where shared memory is too small:
then the buffer goes through the workers' pipe.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fpt.dataloaders.collate import Batch

SHARED_MEMORY = "/dev/shm"
ALIGNMENT = 64

_Place = tuple[torch.dtype, tuple[int, ...], int, bool]


@dataclass(frozen=True)
class PackedBatch:
    """A batch whose tensors lie in one buffer.

    Attributes:
        buffer: uint8, in shared memory as a tensor, or to be sent by value as an array.
        places: type, shape, position in bytes, and whether the last axis lies first in memory, of each tensor.
        frame: the batch, with the number of its place instead of each tensor.
    """

    buffer: Tensor | np.ndarray
    places: list[_Place]
    frame: Batch

    @property
    def is_shared(self) -> bool:
        """Whether the buffer lies in shared memory."""
        return isinstance(self.buffer, Tensor)

    def unpack(self) -> Batch:
        """The batch, whose tensors are views of the buffer."""
        buffer = torch.from_numpy(self.buffer) if isinstance(self.buffer, np.ndarray) else self.buffer
        return self._unpack(buffer)

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory, copied as a whole."""
        buffer = torch.from_numpy(self.buffer) if isinstance(self.buffer, np.ndarray) else self.buffer
        return self._unpack(buffer.pin_memory())

    def _unpack(self, buffer: Tensor) -> Batch:
        tensors = [_view(buffer, place) for place in self.places]
        return _replace_tensors(self.frame, tensors)


def pack(batch: Batch, *, num_workers: int) -> PackedBatch:
    """Put the tensors of a batch into one buffer; in a worker.

    Args:
        batch: on the CPU.
        num_workers: processes that may do so at the same time; see `fits_shared_memory`.
    """
    tensors = list(_tensors(batch))
    places: list[_Place] = []
    end = 0
    for tensor in tensors:
        position = -(-end // ALIGNMENT) * ALIGNMENT
        places.append((tensor.dtype, tuple(tensor.shape), position, _has_channels_last(tensor)))
        end = position + tensor.numel() * tensor.element_size()
    buffer: Tensor | np.ndarray = np.empty(end, np.uint8)
    if end and fits_shared_memory(end, num_workers=num_workers):
        storage = torch.UntypedStorage._new_shared(end)
        buffer = torch.empty(0, dtype=torch.uint8).set_(storage)
    target = torch.from_numpy(buffer) if isinstance(buffer, np.ndarray) else buffer
    for tensor, place in zip(tensors, places, strict=True):
        _view(target, place).copy_(tensor)
    return PackedBatch(buffer, places, _replace_tensors(batch, range(len(tensors))))


def fits_shared_memory(num_bytes: int, *, num_workers: int) -> bool:
    """Whether each of the workers could write so many bytes at this moment; twice that must be free.

    A page that shared memory has no room for ends the process that writes it, without an error that could be caught.
    """
    free = free_shared_memory()
    return free is None or 2 * num_bytes * max(num_workers, 1) <= free


def free_shared_memory() -> int | None:
    """Free bytes of the file system that shared memory lies in; None where there is none such, as on macOS."""
    try:
        status = os.statvfs(SHARED_MEMORY)
    except (OSError, AttributeError):
        return None
    return status.f_bavail * status.f_frsize


def _tensors(batch: Batch) -> Iterator[Tensor]:
    yield from batch.images
    for target in batch.targets or ():
        yield from target.values()


def _replace_tensors(batch: Batch, values: Any) -> Batch:
    """The batch with its tensors, in the order of `_tensors`, replaced by these values."""
    following = iter(values)
    images = [next(following) for _ in batch.images]
    targets = None
    if batch.targets is not None:
        targets = [{key: next(following) for key in target} for target in batch.targets]
    return replace(batch, images=images, targets=targets)


def _has_channels_last(tensor: Tensor) -> bool:
    """Whether an image [C, H, W] lies in memory as [H, W, C]."""
    return tensor.ndim == 3 and not tensor.is_contiguous() and tensor.permute(1, 2, 0).is_contiguous()


def _view(buffer: Tensor, place: _Place) -> Tensor:
    dtype, shape, position, has_channels_last = place
    num_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    flat = buffer[position : position + num_bytes].view(dtype)
    if not has_channels_last:
        return flat.view(shape)
    c, h, w = shape
    return flat.view(h, w, c).permute(2, 0, 1)
