"""What a message says of keys that this program does not have: short, and true."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from fpt.core.assignments import Assignment
from fpt.core.foreign_tables import PROGRAMS
from fpt.core.legacy_keys import DROPPED, FIXED, IMPLIED, RENAMED
from fpt.core.near_keys import near_keys, near_words

MAX_LINES = 12
_MAX_GROUPS = 2


def explain_unknown(
    given: Sequence[Assignment], known: Collection[str], written: Sequence[Assignment] = ()
) -> list[str]:
    """A line for each unknown key, and one for all keys of an unknown group.

    Args:
        given: the values of the unknown keys.
        known: full dotted keys of all options.
        written: all values, the known ones too, which say what stands before a key.
    """
    groups = {prefix for name in known for prefix in _prefixes(name)}
    members: dict[str, list[Assignment]] = {}
    for item in given:
        members.setdefault(_unknown_group(item.key, groups) or item.key, []).append(item)
    lines: list[str] = []
    for name, items in members.items():
        if len(lines) >= MAX_LINES:  # `shorten` counts them alone
            lines.append(name)
        elif len(items) > 1 and items[0].key != name:
            lines.append(_describe_group(name, items, groups))
        else:
            lines.append(_describe_key(items[-1], known, written))
    return lines


def shorten(lines: Sequence[str]) -> list[str]:
    """The first lines, and how many more there are."""
    if len(lines) <= MAX_LINES:
        return list(lines)
    return [*lines[: MAX_LINES - 1], f"... and {len(lines) - MAX_LINES + 1} more of this kind"]


def _prefixes(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _unknown_group(key: str, groups: Collection[str]) -> str | None:
    """The outermost group of the key that is unknown; None where its last part alone is."""
    return next((prefix for prefix in _prefixes(key) if prefix not in groups), None)


def _describe_group(name: str, items: Sequence[Assignment], groups: Iterable[str]) -> str:
    near = near_words(name, groups)
    advice = f"; the nearest known group is {' and '.join(near)}" if near else ""
    return f"{name}.*: {len(items)} keys of a group that is unknown here{advice} (in {items[0].place})"


def _groups_with(item: Assignment, known: Iterable[str], written: Sequence[Assignment]) -> list[str]:
    """The groups that an unindented key of a file may belong to: the one before it, if it is among them.

    None where many groups have such an option, in older files too.
    """
    if item.line is None or "." in item.key:
        return []
    keys = [*known, *RENAMED, *DROPPED, *FIXED, *IMPLIED]
    groups = list(
        dict.fromkeys(key.rpartition(".")[0] for key in keys if "." in key and key.rpartition(".")[2] == item.key)
    )
    before = [other for other in written if other.source == item.source and (other.line or 0) < item.line]
    last = before[-1].key.partition(".")[0] if before else ""
    if last in groups:
        return [last]
    return groups if len(groups) <= _MAX_GROUPS else []


def _describe_key(item: Assignment, known: Iterable[str], written: Sequence[Assignment]) -> str:
    for program in PROGRAMS:
        if item.key in program.equals:
            ours = program.equals[item.key]
            return f"{item.key} is unknown; it is a key of {program.name}, here {ours} (in {item.place})"
    groups = _groups_with(item, known, written)
    if groups:
        return f"{item.key} stands outside its group; indent it under {' or '.join(groups)} (in {item.place})"
    near = near_keys(item.key, known)
    advice = f"; the nearest known key is {near[0]}" if len(near) == 1 else ""
    if len(near) > 1:
        advice = f"; the nearest known keys are {' and '.join(near)}"
    return f"{item.key} is unknown{advice} (in {item.place})"
