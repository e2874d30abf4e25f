"""The images of an annotation file: ids, names and sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fpt.annotations.ids import NO_ID, Entry, Ids, add_text_number, entry_name, read_ids
from fpt.annotations.numbers import shown, whole_column, whole_number
from fpt.annotations.report import DatasetReport

MAX_SIDE = 1_000_000
"""Height and width over this, in pixels, are no image's that could be read."""

SizeOf = Callable[[str], tuple[int, int] | None]
"""From a file name to height and width of the image; None where it cannot be read."""


@dataclass(frozen=True)
class ListedImages:
    """The images of an annotation file.

    Attributes:
        ids: their ids.
        sizes_hw: int64 [M, 2]; 1 or more.
        names: file names.
        has_measured: whether sizes are the files' own, as the annotation file has none.
    """

    ids: Ids
    sizes_hw: np.ndarray
    names: list[str]
    has_measured: bool


def read_images(entries: list[Entry], size_of: SizeOf | None, report: DatasetReport) -> ListedImages:
    """Read and check the list under ``images``.

    Args:
        entries: the list.
        size_of: reads the size of an image file where the annotation file has none; None = that is an error.
        report: receives what is wrong.
    """
    ids = read_ids(entries, "image", report)
    _report_repeats(ids, entries, report)
    names = [_read_name(entry, i, report) for i, entry in enumerate(entries)]
    sizes = np.stack([_read_sides(entries, key, report) for key in ("height", "width")], axis=1)
    lacking = np.flatnonzero((sizes == 0).any(axis=1)).tolist()
    for i in lacking:
        found = size_of(names[i]) if size_of is not None and names[i] else None
        name = entry_name(entries[i], "image", i)
        if found is None:
            action = "add them" if size_of is None else "add them; the image cannot be read either"
            report.add("images without height and width", action, name, is_fatal=True)
        else:
            sizes[i] = found
            report.add("images without height and width", "taken from the image", name, is_harmless=True)
    return ListedImages(ids, sizes.clip(min=1), names, bool(lacking))


def _report_repeats(ids: Ids, entries: list[Entry], report: DatasetReport) -> None:
    values, first, counts = np.unique(ids.values, return_index=True, return_counts=True)
    for value, i, count in zip(values.tolist(), first.tolist(), counts.tolist(), strict=True):
        if count > 1 and value != NO_ID:
            example = f"{shown(entries[i].get('id', value))} ({count} times)"
            report.add("image ids that occur more than once", "give each its own", example, is_fatal=True)


def _read_name(entry: Entry, position: int, report: DatasetReport) -> str:
    name = entry.get("file_name")
    if isinstance(name, int) and not isinstance(name, bool):
        name = shown(name)
    if not isinstance(name, str) or not name:
        example = f"id {shown(entry.get('id', position))}"
        report.add("images without the key 'file_name'", "add it", example, is_fatal=True)
        return ""
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        report.add("file names that are no text", "correct them", shown(name), is_fatal=True)
        return ""
    if "\0" in name:
        report.add("file names that are no text", "correct them", shown(name), is_fatal=True)
        return ""
    return name


def _read_sides(entries: list[Entry], key: str, report: DatasetReport) -> np.ndarray:
    """int64 [M]: the side of each image, 0 where there is none; wrong ones, which are reported as fatal, are 1."""
    raw = [entry.get(key) for entry in entries]
    values = whole_column(raw)
    if values is None:
        values = np.array([_read_side(value, i, entries, key, report) for i, value in enumerate(raw)], dtype=np.int64)
        is_missing = np.array([value is None for value in raw])
    else:
        is_missing = np.zeros(len(raw), dtype=bool)
    for i in np.flatnonzero(((values < 1) | (values > MAX_SIDE)) & ~is_missing).tolist():
        _report_side(raw[i], i, entries, key, report)
        values[i] = 1
    return values


def _read_side(value: Any, position: int, entries: list[Entry], key: str, report: DatasetReport) -> int:
    """The side; 0 where it is missing, -1 where it is no whole number."""
    if value is None:
        return 0
    number = whole_number(value)
    if number is None:
        return -1
    if isinstance(value, str):
        add_text_number(report, f"{key} of {entry_name(entries[position], 'image', position)}", value)
    return number


def _report_side(value: Any, position: int, entries: list[Entry], key: str, report: DatasetReport) -> None:
    example = f"{entry_name(entries[position], 'image', position)} has {shown(value)}"
    kind = f"images whose {key!r} is not a whole number from 1 to {MAX_SIDE}"
    report.add(kind, "correct it", example, is_fatal=True)
