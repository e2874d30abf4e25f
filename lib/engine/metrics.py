"""What happened since the last record."""

from __future__ import annotations

import statistics
from collections import defaultdict, deque
from typing import Any

Record = dict[str, float]


class MetricWindow:
    """Collects losses and times of single steps and turns them into one record.

    Losses are medians over the steps since the last record (one odd batch doesn't show), times are means; the time
    that remains is estimated from the last `eta_window` steps.
    """

    def __init__(self, *, eta_window: int = 200) -> None:
        self._losses: dict[str, list[float]] = defaultdict(list)
        self._batch_losses: dict[str, list[float]] = defaultdict(list)
        self._norms: list[float] = []
        self._seconds: list[float] = []
        self._data_seconds: list[float] = []
        self._recent: deque[float] = deque(maxlen=eta_window)

    def add_batch(self, losses: dict[str, float]) -> None:
        """Losses of one batch; those of all batches of a step are averaged."""
        for name, value in losses.items():
            self._batch_losses[name].append(value)

    def add_step(self, *, seconds: float, data_seconds: float, gradient_norm: float | None) -> None:
        """Close a step: its duration, the part of it spent waiting for data, its gradient norm if it was taken."""
        for name, values in self._batch_losses.items():
            self._losses[name].append(statistics.fmean(values))
        self._batch_losses.clear()
        self._seconds.append(seconds)
        self._data_seconds.append(data_seconds)
        self._recent.append(seconds)
        if gradient_norm is not None:
            self._norms.append(gradient_norm)

    def drop_batches(self) -> None:
        """Forget the batches of the present step, which is skipped."""
        self._batch_losses.clear()

    def state_dict(self) -> dict[str, Any]:
        """What the next record will need of the steps so far, but for times, as plain values."""
        return {"losses": {name: list(values) for name, values in self._losses.items()}, "norms": list(self._norms)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was called."""
        for name, values in state.get("losses", {}).items():
            self._losses[name] = list(values)
        self._norms = list(state.get("norms", []))

    def take(self, *, step: int, lr: float, remaining: int, is_kept: bool = False) -> Record:
        """The record after `step` finished steps with `remaining` to go; the window is emptied, unless it is kept."""
        record: Record = {"step": step, "lr": lr}
        record |= {name: statistics.median(values) for name, values in self._losses.items()}
        if self._norms:
            record["gradient_norm"] = statistics.median(self._norms)
        record["seconds_per_step"] = round(statistics.fmean(self._seconds), 4)
        record["data_seconds"] = round(statistics.fmean(self._data_seconds), 4)
        record["eta_seconds"] = round(statistics.fmean(self._recent) * remaining, 1)
        if not is_kept:
            for values in (self._losses, self._norms, self._seconds, self._data_seconds):
                values.clear()
        return record
