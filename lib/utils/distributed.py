"""The processes of one training or evaluation: who this one is, and how they agree.

Without a process group every function answers for a single process, so that callers need no second path. What they call
they must call on every process, equally often and in the same order.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from fpt.utils.errors import UserError

T = TypeVar("T")


def is_distributed() -> bool:
    """Whether there are other processes."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """Number of this process among all, from 0."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Number of processes, on all computers."""
    return dist.get_world_size() if is_distributed() else 1


def local_rank() -> int:
    """Number of this process among those of its computer, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0")) if is_distributed() else 0


def local_world_size() -> int:
    """Number of processes on this computer."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if is_distributed() else 1


def is_main() -> bool:
    """Whether this is the process that writes and reports."""
    return rank() == 0


def barrier() -> None:
    """Wait for the other processes."""
    if is_distributed():
        gather_everywhere(None)  # as an exchange of objects it needs no device


def mean_over_processes(values: Tensor) -> Tensor:
    """Mean of a float tensor over the processes, without gradient; NaN or infinite on all where it is so on any."""
    values = values.detach()
    if not is_distributed():
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def max_over_processes(value: int) -> int:
    """Highest of the processes' numbers."""
    if not is_distributed():
        return value
    highest = torch.tensor(value)  # on the CPU: a step that runs on a GPU isn't waited for
    dist.all_reduce(highest, op=dist.ReduceOp.MAX)
    return int(highest)


def gather_everywhere(value: T) -> list[T]:
    """The processes' values, in the order of their ranks, on every process."""
    if not is_distributed():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def gather_on_main(value: T) -> list[T] | None:
    """The processes' values, in the order of their ranks, on the main process; None on the others."""
    if not is_distributed():
        return [value]
    values: list[Any] | None = [None] * dist.get_world_size() if is_main() else None
    dist.gather_object(value, values)
    return values


def from_main(function: Callable[[], T]) -> T:
    """What `function` returns on the main process, on every process; the others don't call it.

    Raises:
        UserError: on every process, when `function` raises one. After any other error the main process ends, and with
            it the others.
    """
    if not is_distributed():
        return function()
    result: list[Any] = [None, None]
    if is_main():
        try:
            result[0] = function()
        except UserError as error:
            result[1] = str(error)
    dist.broadcast_object_list(result)
    if result[1] is not None:
        raise UserError(result[1])
    value: T = result[0]
    return value


def share_of_range(start: int, end: int) -> tuple[int, int]:
    """This process's part of the numbers start .. end - 1, as first and one after the last; maybe empty.

    In the order of the ranks the parts are the whole range.
    """
    length, size, number = end - start, world_size(), rank()
    return start + length * number // size, start + length * (number + 1) // size
