"""One documented option of the configuration tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """A default value with its meaning and its legal values.

    Attributes:
        default: value that is used unless a yaml file or ``--set`` gives another; its type is the option's type.
        doc: meaning, with units.
        choices: the legal values, or None for any value of the type.
        pattern: regular expression of the legal texts, and what it says in words; None for any text.
        low: smallest legal value (inclusive) of a number, or of every number of a sequence.
        high: largest legal value (inclusive), likewise.
        element: type of the elements of a sequence; needed only where the default is empty, or is a word that stands
            for a sequence, such as "auto".
        is_scalar_accepted: a number alone is taken as a sequence of one.
    """

    default: Any
    doc: str
    choices: tuple[Any, ...] | None = None
    pattern: tuple[str, str] | None = None
    low: float | None = None
    high: float | None = None
    element: type | None = None
    is_scalar_accepted: bool = False


Group = dict[str, "Option | Group"]
