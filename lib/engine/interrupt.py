"""Ctrl-C and SIGTERM as a wish to stop after the current step."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Context in which the first SIGINT or SIGTERM is only noted; the second one interrupts as usual.

    Enter it before loader workers are started: they inherit the handlers, so that Ctrl-C, which a terminal sends to
    every process, doesn't kill them under the running step.

    Attributes:
        received: number of the signal that arrived, None before.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._process = os.getpid()
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        self._previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @property
    def exit_status(self) -> int:
        """Exit status that the shell expects: 130 after SIGINT, 143 after SIGTERM, 0 without."""
        return 0 if self.received is None else 128 + self.received

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number
