"""The training loop: fetch, forward, check, backward, update, report."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fpt.engine.metrics import Record
from fpt.engine.state import RunningStatistics, TrainState
from fpt.engine.train_step import NonFiniteLossError, backward_batch, clip_gradients, update_weights
from fpt.utils.distributed import rank
from fpt.utils.memory import memory_mib, resident_mib
from fpt.utils.seeding import seed_everything
from fpt.utils.timer import Stopwatch

if TYPE_CHECKING:
    from fpt.dataloaders.collate import Batch

Hook = Callable[[int], None]
Writer = Callable[[Record], None]
SkipWriter = Callable[[int, NonFiniteLossError], None]

_LOGGER = logging.getLogger("fpt")


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """Numbers of the loop.

    Attributes:
        max_iter: finished steps after it.
        device: where the model lies.
        images_per_step: images that a step consumes, over all devices.
        iter_size: batches in one update; their gradients are averaged.
        clip_norm: gradients are scaled down to this norm; 0 = off.
        disp_interval: steps between two records.
        amp_dtype: type of autocast, None = off.
        max_skipped: so many skipped steps in a row end the training.
        seed: each step of each process seeds its generators by this, so that it needs none of the steps before.
    """

    max_iter: int
    device: torch.device
    images_per_step: int = 1
    iter_size: int = 1
    clip_norm: float = 0.0
    disp_interval: int = 20
    amp_dtype: torch.dtype | None = None
    max_skipped: int = 10
    seed: int = 0

    def has_record(self, step: int) -> bool:
        """Whether an unbroken training writes a record after `step` steps."""
        return step % self.disp_interval == 0 or step in (1, self.max_iter)


def train(
    *,
    model: nn.Module,
    state: TrainState,
    schedule: Callable[[int], float],
    batches: Iterator[Batch],
    settings: LoopSettings,
    writers: Sequence[Writer] = (),
    hooks: Sequence[Hook] = (),
    should_stop: Callable[[], bool] = lambda: False,
    on_skip: SkipWriter = lambda step, error: None,
) -> None:
    """Run the steps that are missing until `settings.max_iter`.

    Where it is left by an error, `state` is that of the last finished step, unless it is not `is_consistent`.

    Args:
        model: `state.model` on `settings.device`, as ``fpt.parallel`` wraps it for several; put into training mode
            before each step.
        state: changed in place; the optimizer's groups may carry `lr_factor`.
        schedule: rate of the update that follows so many finished steps.
        batches: never ends before the loop does.
        settings: numbers of the loop.
        writers: get a record each `disp_interval` steps, after the first and after the last one.
        hooks: called after each step with the number of finished ones (snapshots, evaluation); their time isn't
            counted as training.
        should_stop: asked after each step and after its hooks, which a step that stops leaves out; True ends the loop.
        on_skip: gets the number of a skipped step and what was not finite.

    Raises:
        NonFiniteLossError: `settings.max_skipped` steps in a row were skipped.
    """
    step_of = _Step(model, state, batches, settings, on_skip)
    while state.step < settings.max_iter:
        rate = schedule(state.step)
        for group in state.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_factor", 1.0)
        step_of.run()
        stopping = should_stop()
        if settings.has_record(state.step) or stopping:
            record = state.window.take(
                step=state.step, lr=rate, remaining=settings.max_iter - state.step, is_kept=_is_extra(state, settings)
            )
            record["images_per_second"] = round(settings.images_per_step / max(record["seconds_per_step"], 1e-9), 2)
            record["memory_mib"] = round(memory_mib(settings.device), 1)
            if settings.device.type != "cpu":
                record["host_memory_mib"] = round(resident_mib(), 1)
            if state.skipped:
                record["skipped_steps"] = state.skipped
            for write in writers:
                write(record)
        if stopping:
            break
        for hook in hooks:
            hook(state.step)
        if should_stop():
            break


class _Step:
    """Steps of a training: update or skip."""

    def __init__(
        self,
        model: nn.Module,
        state: TrainState,
        batches: Iterator[Batch],
        settings: LoopSettings,
        on_skip: SkipWriter,
    ) -> None:
        self.model = model
        self.state = state
        self.batches = batches
        self.settings = settings
        self.on_skip = on_skip
        self.parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
        self.statistics = RunningStatistics(state.model)
        self.watch = Stopwatch()

    def run(self) -> None:
        """Make a step; an error takes it back, if its update has not begun."""
        state, started = self.state, time.perf_counter()
        self.model.train()
        state.optimizer.zero_grad(set_to_none=True)
        self.statistics.note()
        seed_everything(self.settings.seed, process=rank(), step=state.step + 1)
        norm = None
        try:
            try:
                norm = self._gradient_norm()
                update_weights(state)
                state.skipped_in_row = 0
            except NonFiniteLossError as error:
                self._skip(error)
        except BaseException:
            self.statistics.restore()
            raise
        state.step += 1
        state.images += self.settings.images_per_step
        seconds = time.perf_counter() - started
        state.window.add_step(seconds=seconds, data_seconds=self.watch.take("data"), gradient_norm=norm)

    def _gradient_norm(self) -> float:
        """Consume the step's batches and make its gradients, clipped; returns their norm before."""
        wrong: NonFiniteLossError | None = None
        image_ids: list[int] = []
        for number in range(1, self.settings.iter_size + 1):
            with self.watch.measure("data"):
                batch = next(self.batches)
            image_ids += batch.image_ids
            if wrong is None:
                try:
                    self._add_gradients(batch, is_last=number == self.settings.iter_size)
                except NonFiniteLossError as error:
                    wrong = error
        if wrong is not None:
            raise wrong
        return clip_gradients(self.state, self.parameters, clip_norm=self.settings.clip_norm, image_ids=image_ids)

    def _add_gradients(self, batch: Batch, *, is_last: bool) -> None:
        with _exchange(self.model, is_last=is_last):
            losses = backward_batch(
                self.model,
                batch.to(self.settings.device),
                amp_dtype=self.settings.amp_dtype,
                device=self.settings.device,
                share=1.0 / self.settings.iter_size,
                scaler=self.state.scaler,
            )
        self.state.window.add_batch(losses)

    def _skip(self, error: NonFiniteLossError) -> None:
        """Leave the weights as they are, and say so."""
        state = self.state
        state.window.drop_batches()
        state.optimizer.zero_grad(set_to_none=True)
        self.statistics.restore()
        if state.scaler is not None and error.has_finite_loss and _lower_scale(state.scaler):
            return
        if state.skipped_in_row + 1 >= self.settings.max_skipped:
            raise NonFiniteLossError(
                f"{state.skipped_in_row + 1} steps in a row had no finite loss or gradient and were left out; "
                f"the last: {error.reason}",
                image_ids=error.image_ids,
                has_finite_loss=error.has_finite_loss,
            )
        state.skipped += 1
        state.skipped_in_row += 1
        _LOGGER.warning("step %d is left out: %s", state.step + 1, error)
        self.on_skip(state.step + 1, error)


def _lower_scale(scaler: torch.amp.GradScaler) -> bool:
    """Halve the factor of the gradients, if that may be what made them infinite."""
    scale = scaler.get_scale()
    if scale <= 1:
        return False
    scaler.update(scale / 2)
    _LOGGER.info("gradients overflow in float16: their factor goes from %g to %g", scale, scale / 2)
    return True


def _exchange(model: nn.Module, *, is_last: bool) -> AbstractContextManager[object]:
    """Context of a batch: processes exchange the gradients of an update once, with those of its last batch."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) and not is_last else nullcontext()


def _is_extra(state: TrainState, settings: LoopSettings) -> bool:
    """Whether a longer training would write no record after this step: it then needs what the record is made of."""
    return state.step % settings.disp_interval != 0 and state.step != 1
