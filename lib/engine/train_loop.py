"""The training loop: fetch, forward, check, backward, update, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fpt.engine.metrics import MetricWindow, Record
from fpt.engine.train_step import apply_gradients, backward_batch
from fpt.utils.memory import memory_mib
from fpt.utils.timer import Stopwatch

if TYPE_CHECKING:
    from fpt.dataloaders.collate import Batch

Hook = Callable[[int], None]
Writer = Callable[[Record], None]


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """Numbers of the loop.

    Attributes:
        start_step: finished steps before the loop.
        max_iter: finished steps after it.
        iter_size: batches in one update; their gradients are averaged.
        clip_norm: gradients are scaled down to this norm; 0 = off.
        disp_interval: steps between two records.
        device: where the model lies.
        amp_dtype: type of autocast, None = off.
    """

    max_iter: int
    device: torch.device
    start_step: int = 0
    iter_size: int = 1
    clip_norm: float = 0.0
    disp_interval: int = 20
    amp_dtype: torch.dtype | None = None


def train(
    *,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: Callable[[int], float],
    batches: Iterator[Batch],
    settings: LoopSettings,
    writers: Sequence[Writer] = (),
    hooks: Sequence[Hook] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Run steps `start_step` .. `max_iter` - 1.

    Args:
        model: on `settings.device`, as ``fpt.parallel`` wraps it for several; put into training mode before each step.
        optimizer: its groups may carry `lr_factor`.
        schedule: rate of the update that follows so many finished ones.
        batches: never ends before the loop does.
        settings: numbers of the loop.
        writers: get a record each `disp_interval` steps, after the first and after the last one.
        hooks: called after each step with the number of finished ones (snapshots, evaluation); their time isn't
            counted as training.
        should_stop: asked after each step; True ends the loop there.

    Returns:
        The number of finished steps.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    window = MetricWindow()
    watch = Stopwatch()
    step = settings.start_step
    while step < settings.max_iter:
        started = time.perf_counter()
        model.train()
        rate = schedule(step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("lr_factor", 1.0)
        optimizer.zero_grad(set_to_none=True)
        for number in range(1, settings.iter_size + 1):
            with watch.measure("data"):
                batch = next(batches)
            with _exchange(model, is_last=number == settings.iter_size):
                window.add_batch(_backward(model, batch, settings))
        norm = apply_gradients(parameters, optimizer, clip_norm=settings.clip_norm)
        step += 1
        stopping = should_stop()
        window.add_step(seconds=time.perf_counter() - started, data_seconds=watch.take("data"), gradient_norm=norm)
        if _is_due(step, settings) or stopping:
            record = window.take(step=step, lr=rate, remaining=settings.max_iter - step)
            record["memory_mib"] = round(memory_mib(settings.device), 1)
            for write in writers:
                write(record)
        for hook in hooks:
            hook(step)
        if stopping:
            break
    return step


def _exchange(model: nn.Module, *, is_last: bool) -> AbstractContextManager[object]:
    """Context of a batch: processes exchange the gradients of an update once, with those of its last batch."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) and not is_last else nullcontext()


def _backward(model: nn.Module, batch: Batch, settings: LoopSettings) -> dict[str, float]:
    return backward_batch(
        model,
        batch.to(settings.device),
        amp_dtype=settings.amp_dtype,
        device=settings.device,
        share=1.0 / settings.iter_size,
    )


def _is_due(step: int, settings: LoopSettings) -> bool:
    return step % settings.disp_interval == 0 or step in (settings.start_step + 1, settings.max_iter)
