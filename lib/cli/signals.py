"""Signals before a training takes them over, and in commands that do not train."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from fpt.utils.errors import StoppedAtOnce

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@contextmanager
def handling_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Context in which `handler` gets SIGINT, SIGTERM, SIGHUP and SIGUSR1; outside of the main thread it does nothing.

    What is ignored stays ignored (nohup ignores SIGHUP).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def stop_at_once(number: int, frame: FrameType | None) -> None:
    """Handler that raises StoppedAtOnce, so that files that are half written are removed."""
    del frame
    raise StoppedAtOnce(number)
