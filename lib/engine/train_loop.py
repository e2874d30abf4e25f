"""The training loop: set the rate, make a step, report, call the hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from fpt.engine.metrics import Record
from fpt.engine.state import TrainState
from fpt.engine.train_step import SkipWriter, StepSettings, TrainingStep
from fpt.solver.optimizer import set_learning_rate
from fpt.utils.heap import HeapGaps
from fpt.utils.memory import memory_mib, resident_mib

if TYPE_CHECKING:
    from fpt.dataloaders.collate import Batch

Hook = Callable[[int], None]
Writer = Callable[[Record], None]


@dataclass(frozen=True, kw_only=True)
class LoopSettings(StepSettings):
    """Numbers of the loop, and of its steps.

    Attributes:
        max_iter: the number of the last step.
        disp_interval: steps between two records.
    """

    max_iter: int
    disp_interval: int = 20

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
    """Run the steps that are missing until `settings.max_iter`; ``TrainingStep`` is one of them.

    Where it is left by an error, `state` is that of the last finished step, unless it is not `is_consistent`.

    Args:
        model: `state.model` on `settings.device`, as ``fpt.parallel`` wraps it for several; put into training mode
            before each step.
        state: changed in place; the optimizer's groups may carry `lr_factor`.
        schedule: rate of the update that follows so many finished steps.
        batches: never ends before the loop does.
        settings: numbers of the loop and of its steps.
        writers: get a record each `disp_interval` steps, after the first and after the last one.
        hooks: called after each step with the number of finished ones (checkpoints, evaluation); their time is not
            counted as training.
        should_stop: asked after each step and after its hooks, which a step that stops leaves out; True ends the loop.
        on_skip: gets the number of a skipped step and what was not finite.

    Raises:
        NonFiniteLossError: `settings.max_skipped` steps in a row were skipped.
    """
    step = TrainingStep(model=model, state=state, batches=batches, settings=settings, on_skip=on_skip)
    gaps = HeapGaps()
    while state.step < settings.max_iter:
        rate = schedule(state.step)
        set_learning_rate(state.optimizer, rate)
        step()
        gaps.after_item()
        stopping = should_stop()
        if settings.has_record(state.step) or stopping:
            record = _make_record(state, settings, rate)
            for write in writers:
                write(record)
        if stopping:
            break
        for hook in hooks:
            hook(state.step)
        if should_stop():
            break


def _make_record(state: TrainState, settings: LoopSettings, rate: float) -> Record:
    """Losses, rate, times and memory since the last record."""
    is_extra = state.step % settings.disp_interval != 0 and state.step != 1  # a longer training would not write it
    record = state.window.take(step=state.step, lr=rate, remaining=settings.max_iter - state.step, is_kept=is_extra)
    record["images_per_second"] = round(settings.images_per_step / max(record["seconds_per_step"], 1e-9), 2)
    record["memory_mib"] = round(memory_mib(settings.device), 1)
    if settings.device.type != "cpu":
        record["host_memory_mib"] = round(resident_mib(), 1)
    if state.skipped:
        record["skipped_steps"] = state.skipped
    return record
