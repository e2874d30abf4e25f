"""What changes while training, and what a checkpoint must hold for a run to go on as if nothing had happened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fpt.checkpoint.checkpoint import Checkpoint
from fpt.engine.metrics import MetricWindow
from fpt.solver.moving_average import MovingAverage


@dataclass(kw_only=True)
class TrainState:
    """The state of a training; the generators are no part of it: each step seeds them by its number.

    Attributes:
        model: the bare model, without what runs it on several devices.
        optimizer: of its parameters.
        scaler: of the gradients of float16; None for other types.
        average: moving average of the weights; None = off.
        step: finished steps, skipped ones among them.
        images: training images consumed, over all devices; the position in the data.
        skipped: steps that left the weights as they were, because a loss or gradient was not finite.
        skipped_in_row: those of them since the last update.
        best: highest selection metric so far, None before the first evaluation.
        evaluated: finished steps at the last complete evaluation.
        window: losses since the last record.
        is_consistent: False while an update is under way: some weights are new, some old.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler | None = None
    average: MovingAverage | None = None
    step: int = 0
    images: int = 0
    skipped: int = 0
    skipped_in_row: int = 0
    best: float | None = None
    evaluated: int = 0
    window: MetricWindow = field(default_factory=MetricWindow)
    is_consistent: bool = True

    def to_checkpoint(self, *, classes: list[str], config: str, metrics: dict[str, Any]) -> Checkpoint:
        """A checkpoint of the present state; its tensors are those of the state."""
        return Checkpoint(
            model=self.model.state_dict(),
            classes=list(classes),
            config=config,
            step=self.step,
            images=self.images,
            optimizer={"type": type(self.optimizer).__name__, **self.optimizer.state_dict()},
            metrics=metrics,
            best=self.best,
            average=None if self.average is None else self.average.values,
            scaler=None if self.scaler is None else self.scaler.state_dict(),
            loop={
                "skipped": self.skipped,
                "skipped_in_row": self.skipped_in_row,
                "evaluated": self.evaluated,
                "window": self.window.state_dict(),
            },
        )

    def checkpoint_bytes(self) -> int:
        """What a checkpoint will take on the disk, about, once the optimizer has all its buffers."""
        weights = _bytes(self.model.state_dict().values())
        trained = _bytes(p for group in self.optimizer.param_groups for p in group["params"])
        num_buffers = 1 if isinstance(self.optimizer, torch.optim.SGD) else 2
        return weights * (1 if self.average is None else 2) + trained * num_buffers

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Context of an update: if an error leaves it half done, the state stays marked as not consistent."""
        self.is_consistent = False
        yield
        self.is_consistent = True


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class RunningStatistics:
    """A copy of the running statistics of BatchNorm layers, with which a step can be taken back.

    Args:
        model: the bare model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._NormBase)]
        self._noted: list[tuple[Tensor, Tensor]] = []

    def note(self) -> None:
        """Copy the statistics at the beginning of a step."""
        buffers = [buffer for module in self._norms if module.training for buffer in module.buffers()]
        self._noted = [(buffer, buffer.clone()) for buffer in buffers]

    @contextmanager
    def restored_after_errors(self) -> Iterator[None]:
        """Context of a step: an error that leaves it takes the statistics back to the step's beginning."""
        try:
            yield
        except BaseException:
            self.restore()
            raise

    def restore(self) -> None:
        """Give the statistics the values that they had at the beginning of the step."""
        with torch.no_grad():
            for buffer, value in self._noted:
                buffer.copy_(value)
