"""Values on their way into the configuration tree: those of a yaml file, and ``KEY VALUE`` pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fpt.core.values import parse_literal, shown
from fpt.core.yaml_text import MAX_KEY, read_leaves, read_text, read_value
from fpt.utils.errors import UserError

_MISSING = object()


class Assignment(NamedTuple):
    """One value on its way into the tree.

    Attributes:
        key: full dotted key.
        value: as written.
        source: where it was written: a file, ``--set``.
        line: of the file, from 1; None without.
    """

    key: str
    value: Any
    source: str
    line: int | None = None

    @property
    def place(self) -> str:
        """Where it was written, for a message."""
        return self.source if self.line is None else f"{self.source}, line {self.line}"


def read_yaml(path: Path) -> list[Assignment]:
    """The values that a yaml file holds.

    Raises:
        UserError: it isn't yaml, or it isn't a tree of keys.
    """
    return parse_yaml(read_text(path), source=str(path))


def parse_yaml(text: str, *, source: str) -> list[Assignment]:
    """The values that a yaml text holds.

    Raises:
        UserError: it is not yaml, or it is not a tree of keys.
    """
    return [Assignment(leaf.key, leaf.value, source, leaf.line) for leaf in read_leaves(text, source=source)]


def read_pairs(words: Sequence[Any]) -> list[Assignment]:
    """The values that ``--set KEY VALUE KEY=VALUE ...`` holds.

    Raises:
        UserError: a key stands without a value.
    """
    assignments = []
    rest = iter(words)
    for word in rest:
        key, sign, text = str(word).partition("=")
        value = text if sign else next(rest, _MISSING)
        if value is _MISSING:
            raise UserError(
                "--set takes pairs, KEY VALUE KEY VALUE or KEY=VALUE, but the last word has no value: "
                + " ".join(str(item) for item in words)
            )
        if len(key) > MAX_KEY or not key.isprintable():
            raise UserError(f"--set: {shown(key)} is no key; a key has at most {MAX_KEY} printable characters")
        assignments.append(Assignment(key, value, "--set"))
    return assignments


def expand(given: Assignment, *, is_text: bool) -> Iterator[Assignment]:
    """The values of single options that a value of a group stands for, such as ``{t: {IMAGE_DIR: a}}`` of DATASETS.

    Args:
        given: the value.
        is_text: its option takes text, which is left as it is.

    Raises:
        UserError: the text begins as a group or a sequence, and is none.
    """
    value = given.value
    if isinstance(value, str) and not is_text and value.lstrip()[:1] in ("{", "["):
        value = parse_literal(value)
        value = read_value(value) if isinstance(value, str) else value
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from expand(given._replace(key=f"{given.key}.{name}", value=item), is_text=True)
    else:
        yield given._replace(value=value)
