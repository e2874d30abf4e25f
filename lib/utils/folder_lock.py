"""A folder that one process at a time may write into."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fpt.utils.errors import UserError

_LOGGER = logging.getLogger("fpt")
_LOCK = ".lock"
_HELD: set[Path] = set()
"""Folders that this process has locked: the system keeps apart processes alone."""


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Context in which no other process is in this context of the same folder, which is made where it is missing.

    The system releases the lock when the process ends, however it does. Where the disk knows no locks, a warning is
    logged.

    Raises:
        UserError: another process is in it, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = folder.resolve()
        number = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT, 0o644) if place not in _HELD else -1
    except OSError as error:
        raise UserError(f"output folder {folder} cannot be written: {error.strerror or error}") from None
    if number < 0:
        raise _busy(folder)
    try:
        _lock(number, folder)
        _HELD.add(place)
        yield
    finally:
        _HELD.discard(place)
        os.close(number)


def _lock(number: int, folder: Path) -> None:
    """Lock an open file. Such a lock belongs to the process, not to the workers that it forks, which may outlive it."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.lockf(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise _busy(folder) from None
        _LOGGER.warning(
            "%s cannot be locked (%s): make sure that no other training writes into it",
            folder,
            error.strerror or error,
        )


def _busy(folder: Path) -> UserError:
    return UserError(
        f"{folder} is the folder of a training that is running; wait for its end or stop it, or give another "
        "--output_dir"
    )
