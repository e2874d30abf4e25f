"""Durations: measured, and written for people."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Sums the time spent in blocks: ``with watch.measure("data"): ...``."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Add the duration of the block to `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - start

    def take(self, name: str) -> float:
        """Seconds summed under `name` since the last take."""
        return self._seconds.pop(name, 0.0)


def format_duration(seconds: float) -> str:
    """``h:mm:ss``, with days in front when there are any: 93784 -> '1 day, 2:03:04'."""
    days, rest = divmod(int(max(seconds, 0.0) + 0.5), 86400)
    clock = f"{rest // 3600}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
    if days == 0:
        return clock
    return f"{days} day{'s' if days > 1 else ''}, {clock}"
