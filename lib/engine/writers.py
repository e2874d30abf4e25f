"""Where the records of the training loop go."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fpt.engine.metrics import Record
from fpt.utils.files import write_text
from fpt.utils.timer import format_duration

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

_LOGGER = logging.getLogger("fpt")


class ProgressWriter:
    """One log line a record.

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
    """One json object a line.

    Args:
        path: the file; records of a resumed run are appended.
        start_step: records of later steps, which a resumed run makes again, are dropped first; 0 empties the file.
    """

    def __init__(self, path: Path, *, start_step: int = 0) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
        write_text(path, "".join(line for line in lines if _step_of(line) <= start_step))

    def __call__(self, record: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def _step_of(line: str) -> float:
    """Step of a record; infinite for a line that was cut off."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


class TensorboardWriter:
    """Curves of every value over the steps.

    Args:
        folder: event files are written here.
        start_step: what an earlier run in the same folder drew of later steps is hidden.
    """

    def __init__(self, folder: Path, *, start_step: int = 0) -> None:
        from tensorboardX import SummaryWriter

        self.writer: SummaryWriter = SummaryWriter(str(folder), purge_step=start_step + 1)

    def __call__(self, record: Record) -> None:
        for name, value in record.items():
            if name != "step":
                self.writer.add_scalar(name, value, int(record["step"]))

    def close(self) -> None:
        """Write what is still queued."""
        self.writer.close()
