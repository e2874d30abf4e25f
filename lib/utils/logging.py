"""Where the messages of the package go."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

_FORMAT = "%(asctime)s %(levelname)s %(message)s"
_DATE_FORMAT = "%H:%M:%S"


def setup_logging(log_file: Path | None = None) -> logging.Logger:
    """Send the messages of the package to standard output and, when given, append them to `log_file`.

    Calling it again replaces the earlier destinations.
    """
    logger = logging.getLogger("fpt")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    if log_file is not None:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(log_file, encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter(_FORMAT, _DATE_FORMAT))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger
