"""Numbers as annotation files write them: as numbers, or as text that is a plain number."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

_INT64 = 1 << 63
_MAX_LENGTH = 40
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
MAX_SHOWN = 40


def plain_number(value: Any) -> int | float | None:
    """The number that a value is, a text such as "996.0000" included; None for anything else.

    Whole numbers of over 64 bits, True and False are none.
    """
    if isinstance(value, str):
        text = value.strip()
        if len(text) > _MAX_LENGTH or not _NUMBER.fullmatch(text):
            return None
        value = float(text) if set(text) & set(".eE") else int(text)
    if type(value) is int:
        return value if -_INT64 <= value < _INT64 else None
    return value if isinstance(value, float) else None


def whole_number(value: Any) -> int | None:
    """The whole number of at most 64 bits that a value is, "12" and 12.0 included; None for anything else."""
    number = plain_number(value)
    if isinstance(number, float):
        number = int(number) if number.is_integer() and abs(number) < _INT64 else None
    return number


def flag(value: Any) -> bool | None:
    """Truth of 0, 1, "0", "1", "false" or True; a missing value is False; None for anything else."""
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in ("true", "false", ""):
        return value.strip().lower() == "true"
    number = plain_number(value)
    return bool(number) if number in (0, 1) else None


def whole_column(raw: Sequence[Any]) -> np.ndarray | None:
    """int64 [N] of a list that holds nothing but whole numbers; None where anything else is in it. This is fast."""
    try:
        values = np.array(raw)
    except (ValueError, OverflowError):
        return None
    if values.ndim == 1 and values.dtype.kind == "i":
        return values.astype(np.int64)
    return None


def number_table(rows: Sequence[Any], width: int) -> np.ndarray | None:
    """float64 [N, width] of a list of rows of numbers; None where anything else is in it. This is fast."""
    try:
        values = np.array(rows)
    except (ValueError, OverflowError):
        return None
    if values.ndim == 2 and values.shape[1] == width and values.dtype.kind in "if":
        return values.astype(np.float64)
    return None


def shown(value: Any) -> str:
    """A value for a message: short, whatever it is."""
    if type(value) is int and abs(value) >= _INT64:
        return "a number of more than 64 bits"  # text of thousands of digits is refused by Python
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__}"
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."
