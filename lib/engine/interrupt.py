"""Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 as requests to stop after the current step."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from fpt.utils.distributed import max_over_processes
from fpt.utils.errors import StoppedAtOnce

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)

REPEAT_SECONDS = 1.0
"""A signal so soon after the first is the same request: a launcher passes on what every process got already."""


class EvaluationStoppedError(Exception):
    """An evaluation has ended early, on all processes, because the training is to stop."""


class StopSignals:
    """Context in which a SIGINT, SIGTERM, SIGHUP or SIGUSR1 (sent by clusters ahead of a time limit) is only noted.

    SIGHUP, of a terminal that is closed, stays ignored where it is: nohup has done that. A second SIGINT or SIGTERM,
    REPEAT_SECONDS later or more, raises StoppedAtOnce. The others never do, nor does SIGTERM under torchrun, which
    repeats what others have sent to every process, and kills by itself what takes too long.

    Attributes:
        received: number of the signal that arrived first, None before.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._first = 0.0
        is_relayed = "TORCHELASTIC_RUN_ID" in os.environ
        self._urgent = (signal.SIGINT,) if is_relayed else (signal.SIGINT, signal.SIGTERM)
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is not threading.main_thread():  # Python gives signals to the main one alone
            return self
        is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        numbers = [number for number in _SIGNALS if not (is_ignored and number == signal.SIGHUP)]
        self._previous = {number: signal.signal(number, self._handle) for number in numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @property
    def exit_status(self) -> int:
        """Exit status that the shell expects: 128 + the signal, such as 130 after SIGINT; 0 without."""
        return 0 if self.received is None else 128 + self.received

    def has_received(self) -> bool:
        """Whether this process has got a signal."""
        return self.received is not None

    def is_agreed(self) -> bool:
        """Whether any process has got a signal; from then on it counts as received by all."""
        self.received = max_over_processes(self.received or 0) or None
        return self.received is not None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._first = number, time.monotonic()
        elif number in self._urgent and time.monotonic() - self._first >= REPEAT_SECONDS:
            raise StoppedAtOnce(number)
