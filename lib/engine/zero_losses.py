"""Notices losses that teach nothing."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

_LOGGER = logging.getLogger("fpt")

MANY = 50


class ZeroLosses:
    """Warns, once for each, of a loss that has been exactly 0 for `many` batches in a row."""

    def __init__(self, many: int = MANY) -> None:
        self.many = many
        self._in_row: Counter[str] = Counter()

    def note(self, values: Mapping[str, float]) -> None:
        """Take the losses of a batch, by name."""
        for name, value in values.items():
            if value != 0:
                self._in_row[name] = 0
                continue
            self._in_row[name] += 1
            if self._in_row[name] == self.many:
                _LOGGER.warning(
                    "%s has been exactly 0 for %d batches: there is nothing to learn for it; see what fpt-check-data "
                    "says of the data set",
                    name,
                    self.many,
                )
