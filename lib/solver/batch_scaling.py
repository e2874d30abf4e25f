"""A schedule written for one batch size, used with another."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Change:
    """One option that got another value.

    Attributes:
        key: full name of the option.
        old: its value before.
        new: its value now.
        reason: why.
    """

    key: str
    old: Any
    new: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.key}: {self.old} -> {self.new} ({self.reason})"


def scale_schedule(
    values: Mapping[str, Any], *, original_batch: int, batch_size: int, iter_size: int, given: Collection[str] = ()
) -> list[Change]:
    """What changes when `batch_size` images a batch and `iter_size` batches an update replace `original_batch`.

    The gradient of an update is the mean over its images, batch size x iter_size. The rates (BASE_LR, LRS) scale with
    their number (Goyal et al. 2017), STEPS, STEP_SIZE and MAX_ITER inversely, so that as many images are seen. Warm-up
    and snapshots stay as they are. Of STEPS that would fall together each later one is a step after the one before.

    Args:
        values: options by their full name, ``SOLVER.BASE_LR`` and so on; those that are absent are not scaled.
        original_batch: images in one update as the file was written.
        batch_size: images in one batch.
        iter_size: batches in one update.
        given: names whose value the user gave for this very run; they stay.

    Returns:
        One entry for every value that differs.
    """
    rate = batch_size * iter_size / original_batch
    length = 1 / rate
    images = f"images an update {original_batch} -> {batch_size * iter_size}"
    rate_reason, length_reason = f"x {rate:g}: {images}", f"x {length:g}: {images}"
    rules = {
        "SOLVER.BASE_LR": (lambda x: x * rate, rate_reason),
        "SOLVER.LRS": (lambda x: tuple(v * rate for v in x), rate_reason),
        "SOLVER.STEPS": (lambda x: _rising(int(v * length + 0.5) for v in x), length_reason),
        "SOLVER.STEP_SIZE": (lambda x: max(1, int(x * length + 0.5)), length_reason),
        "SOLVER.MAX_ITER": (lambda x: max(1, int(x * length + 0.5)), length_reason),
    }
    changes = []
    for key, (rule, reason) in rules.items():
        if key in values and key not in given and (new := rule(values[key])) != values[key]:
            changes.append(Change(key, values[key], new, reason))
    return changes


def _rising(steps: Iterable[int]) -> tuple[int, ...]:
    rising: list[int] = []
    for step in steps:
        rising.append(max(step, rising[-1] + 1) if rising else step)
    return tuple(rising)
