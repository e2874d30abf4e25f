"""Where the messages of the package go."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

_FORMAT = "%(asctime)s %(levelname)s %(message)s"
_DATE_FORMAT = "%H:%M:%S"


def setup_logging(*, process: int = 0) -> logging.Logger:
    """Send the messages of the package to standard output, and keep them for `add_log_file`.

    Calling it again replaces the earlier destinations. What the encoding of standard output lacks, such as the bytes of
    a file's name that is no UTF-8, is written as an escape there.

    Args:
        process: number of this process; those from 1 on send warnings and errors alone, with their number.
    """
    logger = logging.getLogger("fpt")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    line = f"[process {process}] {_FORMAT}" if process else _FORMAT
    for handler in (logging.StreamHandler(sys.stdout), _Memory()):
        handler.setFormatter(logging.Formatter(line, _DATE_FORMAT))
        logger.addHandler(handler)
    logger.setLevel(logging.WARNING if process else logging.INFO)
    logger.propagate = False
    return logger


@contextlib.contextmanager
def run_logging() -> Iterator[None]:
    """Context of a run: `add_log_file` gets all its messages, and its log files are closed at the end.

    Where Python has called the run, and `setup_logging` has not been called, messages go to Python's own handlers too.
    """
    logger = logging.getLogger("fpt")
    before, level = list(logger.handlers), logger.level
    if level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if not before:
        logger.addHandler(_Memory())
    try:
        yield
    finally:
        for handler in [handler for handler in logger.handlers if handler not in before]:
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(level)


def add_log_file(path: Path) -> None:
    """Append every message since `setup_logging`, and those to come, to the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _LogFile(path, encoding="utf-8", errors="backslashreplace")
    file.setFormatter(logging.Formatter(_FORMAT, _DATE_FORMAT))
    logger = logging.getLogger("fpt")
    for handler in list(logger.handlers):
        if isinstance(handler, _Memory):
            handler.pass_on(file)
            logger.removeHandler(handler)
    logger.addHandler(file)


class _LogFile(logging.FileHandler):
    """A file that fails, on a full disk, says so once; what it has missed is written when it can be."""

    _is_failing = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (its name in logging)
        """Called where the error is handled."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._is_failing:
            self._is_failing = True
            sys.stderr.write(f"{self.baseFilename} cannot be written for now: {error}\n")

    def close(self) -> None:
        with contextlib.suppress(OSError):  # was reported
            super().close()


class _Memory(logging.Handler):
    """Keeps the messages of the start, before the folder of the run is known."""

    def __init__(self) -> None:
        super().__init__()
        self._records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)

    def pass_on(self, handler: logging.Handler) -> None:
        for record in self._records:
            handler.handle(record)
        self._records.clear()
