"""Where the records of the training loop go."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fpt.engine.metrics import Record
from fpt.engine.train_step import NonFiniteLossError
from fpt.utils.distributed import is_main
from fpt.utils.files import write_text
from fpt.utils.timer import format_duration

_LOGGER = logging.getLogger("fpt")


class ProgressWriter:
    """Logs one line per record.

    Args:
        max_iter: steps of the whole run.
    """

    def __init__(self, *, max_iter: int) -> None:
        self.max_iter = max_iter

    def __call__(self, record: Record) -> None:
        losses = [f"{name} {value:.4f}" for name, value in record.items() if name.startswith("loss")]
        losses.sort(key=lambda text: not text.startswith("loss "))
        parts = [
            f"step {record['step']:.0f}/{self.max_iter}",
            " ".join(losses),
            f"lr {record['lr']:.6g}",
            f"{record['seconds_per_step']:.3f} s/step",
            f"data {record['data_seconds']:.3f} s",
            f"memory {record['memory_mib']:.0f} MiB",
            f"ETA {format_duration(record['eta_seconds'])}",
        ]
        _LOGGER.info(" | ".join(parts))


class JsonlWriter:
    """Writes one json object per line.

    A disk that is full doesn't end the training: what is lost is reported once.

    Args:
        path: the file; records of a resumed run are appended.
        start_step: records of later steps, which a resumed run makes again, are dropped first; 0 empties the file.
        interval: with it, so is that of start_step where it is no multiple of so many steps: a stopped run has
            written it beside; 0 keeps it.
    """

    def __init__(self, path: Path, *, start_step: int = 0, interval: int = 0) -> None:
        self.path = path
        self._is_failing = False
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
        last = start_step if _is_regular(start_step, interval) else start_step - 1
        kept = [line for line in lines if _step_of(line) <= last]
        if start_step or lines:
            write_text(path, "".join(kept))

    def __call__(self, record: Mapping[str, Any]) -> None:
        size = self.path.stat().st_size if self.path.is_file() else 0
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            self._is_failing = False
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self.path, size)  # half a line would spoil the next one
            if not self._is_failing:
                _LOGGER.error("%s cannot be written, its records are lost until it can: %s", self.path, error)
            self._is_failing = True


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of a file of json lines, none where it is missing.

    A line that a killed process has not finished is left out.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines if _step_of(line) < float("inf")]


class SkippedStepsWriter:
    """One json object for each step that was left out: the step, the reason, the images. Every process may call it.

    Args:
        path: the file; made by the first such step.
        start_step: as in JsonlWriter.
    """

    def __init__(self, path: Path, *, start_step: int) -> None:
        self._file = JsonlWriter(path, start_step=start_step) if is_main() else None

    def __call__(self, step: int, error: NonFiniteLossError) -> None:
        if self._file is not None:
            self._file({"step": step, "reason": error.reason, "image_ids": error.image_ids})


def _is_regular(step: float, interval: int) -> bool:
    return not interval or step == 1 or step % interval == 0


def _step_of(line: str) -> float:
    """Step of a record; infinite for a line that was cut off."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
