"""Where the commands start: signals are answered before anything large is loaded, which takes seconds."""

from __future__ import annotations

import gc
import importlib
import os
import signal
from types import FrameType, ModuleType

from fpt.cli.signals import handling_signals


def train() -> int:
    """``fpt-train``; returns the exit status."""
    return _run("train")


def test() -> int:
    """``fpt-test``; returns the exit status."""
    return _run("test")


def infer() -> int:
    """``fpt-infer``; returns the exit status."""
    return _run("infer")


def shapes() -> int:
    """``fpt-shapes``; returns the exit status."""
    return _run("shapes")


def check_data() -> int:
    """``fpt-check-data``; returns the exit status."""
    return _run("check_data")


def attention() -> int:
    """``fpt-attention``; returns the exit status."""
    return _run("attention")


def convert() -> int:
    """``fpt-convert``; returns the exit status."""
    return _run("convert")


def _run(name: str) -> int:
    """Load the command's module and run its ``main``, which handles signals in its own way as soon as it works."""
    with handling_signals(_leave):
        try:
            status: int = _load(name).main()
        finally:
            gc.freeze()  # spares the interpreter collections of everything, as it ends: most of a second
    return status


def _load(name: str) -> ModuleType:
    """Import the command's module without collections of garbage, which would find none in what stays loaded."""
    gc.disable()
    try:
        return importlib.import_module(f"fpt.cli.{name}")
    finally:
        gc.freeze()
        gc.enable()


def _leave(number: int, frame: FrameType | None) -> None:
    """End the process at once: amid imports there is nothing to clean up, and an exception may get lost."""
    os.write(2, f"stopped by {signal.Signals(number).name}\n".encode())
    os._exit(128 + number)
