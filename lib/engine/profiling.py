"""Where the time of a step goes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

_LOGGER = logging.getLogger("fpt")

_PART = "part: "


class StepProfile:
    """Hook that traces a few steps, writes ``trace.json`` and logs the ten slowest parts and operations.

    The parts are the modules of the model's first two levels, in their forward passes; a part's time holds that of the
    parts in it. Operations count for themselves, forward and backward.

    Args:
        folder: gets ``trace.json`` (for chrome://tracing or ui.perfetto.dev) and ``slowest.txt``.
        model: whose modules are timed.
        first: number of the first traced step; those before warm up.
        num_steps: traced steps.
    """

    def __init__(self, folder: Path, model: nn.Module, *, first: int, num_steps: int = 3) -> None:
        self.folder = folder
        self.model = model
        self.first = first
        self.num_steps = num_steps
        self._profile: profile | None = None
        self._handles: list[Any] = []

    def __call__(self, step: int) -> None:
        """Begin after the step before the first traced one, end after the last."""
        if step == self.first - 1:
            self._begin()
        elif self._profile is not None and step == self.first + self.num_steps - 1:
            self._end()

    def close(self) -> None:
        """End a trace that the training has ended before."""
        if self._profile is not None:
            self._end()

    def _begin(self) -> None:
        for name, module in self.model.named_modules():
            if name and name.count(".") < 2:
                watch = _Range(f"{_PART}{name}")
                self._handles.append(module.register_forward_pre_hook(watch.enter))
                self._handles.append(module.register_forward_hook(watch.leave, always_call=True))
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(ProfilerActivity.CUDA)
        self._profile = profile(activities=activities)
        self._profile.start()

    def _end(self) -> None:
        traced, self._profile = self._profile, None
        if traced is None:
            return
        traced.stop()
        for handle in self._handles:
            handle.remove()
        text = _table(traced, self.num_steps)
        _LOGGER.info("profile of %d steps: %s\n%s", self.num_steps, self.folder / "trace.json", text)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            traced.export_chrome_trace(str(self.folder / "trace.json"))
            (self.folder / "slowest.txt").write_text(text, encoding="utf-8")
        except (OSError, RuntimeError) as error:  # the training goes on
            _LOGGER.error("%s cannot be written: %s", self.folder, error)


class _Range:
    """A named range of the trace, around a module's forward pass."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._open: list[record_function] = []

    def enter(self, *_: Any) -> None:
        block = record_function(self.name)
        block.__enter__()
        self._open.append(block)

    def leave(self, *_: Any) -> None:
        self._open.pop().__exit__(None, None, None)


def _table(traced: profile, num_steps: int) -> str:
    events = traced.key_averages()
    parts = {e.key.removeprefix(_PART): _total_us(e) for e in events if e.key.startswith(_PART)}
    operations = {e.key: _self_us(e) for e in events if not e.key.startswith(_PART)}
    blocks = [
        ("part of the model (forward)", _slowest(parts)),
        ("operation (forward and backward)", _slowest(operations)),
    ]
    lines = []
    for title, rows in blocks:
        lines.append(f"{title:<60} ms/step")
        lines += [f"{name[:60]:<60} {microseconds / 1000 / num_steps:7.1f}" for name, microseconds in rows]
        lines.append("")
    return "\n".join(lines[:-1])


def _slowest(times: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(times.items(), key=lambda item: -item[1])[:10]


def _total_us(event: Any) -> float:
    return float(max(event.cpu_time_total, event.device_time_total))


def _self_us(event: Any) -> float:
    return float(max(event.self_cpu_time_total, event.self_device_time_total))
