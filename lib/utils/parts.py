"""Dictionaries of parts by name: to find one, and to add one from outside."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from fpt.utils.errors import UserError

Part = TypeVar("Part")


def find_part(parts: Mapping[str, Part], name: str, *, option: str) -> Part:
    """The part of this name.

    Args:
        parts: the registry.
        name: what the configuration says.
        option: the key that says it, for the message.

    Raises:
        UserError: there is none; names the nearest and all others.
    """
    if name not in parts:
        raise unknown_part(parts, name, option=option)
    return parts[name]


def unknown_part(names: Iterable[str], name: str, *, option: str) -> UserError:
    """The error of a name that is not among `names`."""
    known = list(names)
    (nearest,) = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return UserError(
        f"{option} is {name!r}; legal: {', '.join(known)}; the nearest is {nearest!r}. "
        "How to register another: docs/extending.md"
    )


def add_part(parts: dict[str, Part], name: str, part: Part, *, kind: str) -> None:
    """Add a part to a registry; the same one may come again.

    Raises:
        UserError: another part has this name, or the name is no text.
    """
    if not isinstance(name, str) or not name:
        raise UserError(f"{kind}: it is registered by a name, not by {name!r}")
    if parts.setdefault(name, part) != part:
        raise UserError(f"{kind} {name!r} is there already, {parts[name]!r}; register yours by another name")
