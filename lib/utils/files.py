"""Files that are either complete or absent."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

_MAX_NAME_BYTES = 255
_MAX_AGE = 24 * 3600.0
_TEMPORARY = re.compile(r"(\.(?P<computer>[0-9a-f]{8}))?\.(?P<process>\d+)\.tmp$")
"""The end of a temporary file's name; earlier versions left the computer out."""


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
    """A name beside `name` that a file system takes wherever it takes `name`, which may have all of 255 bytes.

    It tells the computer and the process, so that what a dead one has left can be told from what is being written.
    """
    end = f".{_computer()}.{os.getpid()}.tmp"
    start = os.fsencode(name)[: _MAX_NAME_BYTES - len(end) - 1]
    return f".{start.decode(errors='ignore')}{end}"


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes have left in `folder`.

    Those are the files of dead processes of this computer, and any that nothing was written into for a day: of other
    computers' processes, on a shared disk, no more can be known.
    """
    for file in folder.glob(".*.tmp"):
        if match := _TEMPORARY.search(file.name):
            with suppress(FileNotFoundError):  # its process has just moved it into place
                is_here = match["computer"] in (None, _computer())
                if time.time() - file.stat().st_mtime > _MAX_AGE or is_here and not _is_alive(int(match["process"])):
                    file.unlink()


def _computer() -> str:
    """This computer's mark in file names, which does not tell its name."""
    return hashlib.blake2b(os.fsencode(platform.node()), digest_size=4).hexdigest()


def _is_alive(process: int) -> bool:
    """Whether a process of this number runs on this computer, whoever's it is."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


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
    """Write `text` as UTF-8, atomically; the bytes of a file's name that are none stand there as ``\\udcff``."""
    write_atomic(path, lambda file: file.write(text.encode("utf-8", "backslashreplace")))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented json, atomically; a NaN or infinity in it raises ValueError."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
