"""A line of a report about a data set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Remark:
    """A line, or some, of the report about a data set.

    Attributes:
        text: what was found.
        is_fault: whether it is something to mend.
    """

    text: str
    is_fault: bool = False
