"""Ids of images and categories, and what refers to them: whole numbers, text that is one, or any text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fpt.annotations.numbers import shown, whole_column, whole_number
from fpt.annotations.report import DatasetReport

Entry = dict[str, Any]


@dataclass(frozen=True)
class Ids:
    """Ids of the entries of one list.

    Attributes:
        values: int64 [N]; NO_ID where an entry has none that can be used, which is reported as fatal.
        numbers: the number that each id means, where ids are text that is no number; None where they are numbers.
    """

    values: np.ndarray
    numbers: dict[str, int] | None = None

    def find(self, entries: Sequence[Entry], key: str, owner: str, report: DatasetReport) -> np.ndarray:
        """Positions int64 [K] of the ids that the values under `key` refer to; -1 where there is none such.

        What is missing or no id at all is reported as fatal, and so is an id that is not among these.
        """
        raw = [entry.get(key) for entry in entries]
        wanted = whole_column(raw) if self.numbers is None else None
        if wanted is None:
            wanted = self._numbers_of(raw, entries, key, owner, report)
        places = lookup(wanted, self.values)
        unknown = np.flatnonzero((places < 0) & (wanted != _FAULTY)).tolist()
        examples = [f"{entry_name(entries[i], owner, i)} has {shown(raw[i])}" for i in unknown]
        report.add_all(f"{owner}s whose {key!r} is not in the file", "correct it", examples, is_fatal=True)
        return places

    def _numbers_of(
        self, raw: list[Any], entries: Sequence[Entry], key: str, owner: str, report: DatasetReport
    ) -> np.ndarray:
        if self.numbers is None:
            return _numbers(raw, entries, key, owner, report)
        known = self.numbers
        _report_missing(raw, entries, key, owner, report)
        return np.array(
            [_FAULTY if value is None else known.get(_text(value), _UNKNOWN) for value in raw], dtype=np.int64
        )


_FAULTY = -(1 << 62)
"""Stands for a value that is reported already."""
_UNKNOWN = _FAULTY - 1
NO_ID = _FAULTY - 2
"""Stands for the id of an entry that has none."""


def read_ids(entries: Sequence[Entry], owner: str, report: DatasetReport) -> Ids:
    """The values of the key ``id``.

    Text that is a whole number is taken as that number. Where ids are other text, all entries are numbered from 1.
    """
    raw = [entry.get("id") for entry in entries]
    values = whole_column(raw)
    if values is not None:
        return Ids(values)
    is_text = [isinstance(value, str) and whole_number(value) is None for value in raw]
    if any(is_text) and all(isinstance(value, (str, int)) for value in raw):
        return _number_texts(raw, owner, report)
    values = _numbers(raw, entries, "id", owner, report)
    return Ids(np.where(values == _FAULTY, NO_ID, values))


def _number_texts(raw: list[Any], owner: str, report: DatasetReport) -> Ids:
    numbers = {_text(value): number for number, value in enumerate(raw, start=1)}
    report.add_all(
        f"{owner} ids that are text", "numbered from 1 in the file's order", [shown(v) for v in raw], is_harmless=True
    )
    return Ids(np.array([numbers[_text(value)] for value in raw], dtype=np.int64), numbers)


def _text(value: Any) -> str:
    return str(value) if isinstance(value, (str, int)) else shown(value)


def _numbers(raw: list[Any], entries: Sequence[Entry], key: str, owner: str, report: DatasetReport) -> np.ndarray:
    """int64 [N]; _FAULTY, reported as fatal, for what is missing or no whole number."""
    _report_missing(raw, entries, key, owner, report)
    values = np.full(len(raw), _FAULTY, dtype=np.int64)
    for i, value in enumerate(raw):
        number = whole_number(value)
        if number is not None:
            values[i] = number
            if isinstance(value, str):
                add_text_number(report, f"{key} of {entry_name(entries[i], owner, i)}", value)
        elif value is not None:
            example = f"{entry_name(entries[i], owner, i)} has {shown(value)}"
            report.add(f"{owner}s whose {key!r} is not a whole number", "correct it", example, is_fatal=True)
    return values


def add_text_number(report: DatasetReport, where: str, value: str) -> None:
    """Count one more number that is written as text."""
    report.add("numbers that are written as text", "read as numbers", f"{where}: {shown(value)}", is_harmless=True)


def _report_missing(raw: Sequence[Any], entries: Sequence[Entry], key: str, owner: str, report: DatasetReport) -> None:
    missing = [entry_name(entries[i], owner, i) for i, value in enumerate(raw) if value is None]
    report.add_all(f"{owner}s without the key {key!r}", "add it", missing, is_fatal=True)


def entry_name(entry: Entry, owner: str, position: int) -> str:
    """What an entry of a file is called in messages."""
    if isinstance(entry.get("file_name"), str):
        return shown(entry["file_name"])[1:-1]
    return f"{owner} {shown(entry['id'])}" if entry.get("id") is not None else f"{owner} number {position}"


def lookup(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Position int64 [K] of each value in ``known``, the first one; -1 where it is not there."""
    if not len(known):
        return np.full(len(values), -1, dtype=np.int64)
    order = np.argsort(known, kind="stable")
    places = np.searchsorted(known[order], values).clip(max=len(known) - 1)
    found = order[places]
    return np.where(known[found] == values, found, -1)
