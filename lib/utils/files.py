"""Files that are either complete or absent."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

_MAX_NAME_BYTES = 255


def write_atomic(
    path: Path, write: Callable[[BinaryIO], object], *, before_move: Callable[[], None] = lambda: None
) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk and move it into place.

    A reader sees the old file or the new one, never a part; the folder is made when it is missing.
    The temporary file is removed when `write` fails; `before_move` is called only once it is complete.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(_temporary_name(path.name))
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        before_move()
        os.replace(temporary, path)
        _flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary_name(name: str) -> str:
    """A name beside `name` that a file system takes wherever it takes `name`, which may have all of 255 bytes."""
    end = f".{os.getpid()}.tmp"
    start = os.fsencode(name)[: _MAX_NAME_BYTES - len(end) - 1]
    return f".{start.decode(errors='ignore')}{end}"


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes have left in `folder`."""
    for file in folder.glob(".*.tmp"):
        file.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Make names in `folder` last through a loss of power, where the system can do that."""
    if os.name != "posix":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    write_atomic(path, lambda file: file.write(text.encode("utf-8")))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented json, atomically; a NaN or infinity in it raises ValueError."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
