"""The known keys that an unknown one may have been meant as: only those that are near."""

from __future__ import annotations

from collections.abc import Iterable

_MAX_LENGTH = 60
_MAX_OFFERED = 2
_MAX_DISTANCE = 2
_IN_ANOTHER_GROUP, _OF_MORE_WORDS = 3, 4


def near_keys(key: str, known: Iterable[str]) -> tuple[str, ...]:
    """The nearest known keys: one, two that are equally near, or none.

    Near are, in this order: a name that differs in a letter or two (small ones in one letter); the same name of
    several words in another group; names in the same group that hold all words of this one, and few others.

    Args:
        key: full dotted key, or the last part of one.
        known: full dotted keys.
    """
    if len(key) > _MAX_LENGTH:
        return ()
    group, last = _split(key.upper().replace("-", "_"))
    ranks = {name: rank for name in known if (rank := _rank(group, last, name)) is not None}
    best = [name for name, rank in ranks.items() if rank == min(ranks.values())]
    return tuple(best) if len(best) <= _MAX_OFFERED else ()


def near_words(word: str, known: Iterable[str]) -> tuple[str, ...]:
    """The nearest known words, by letters alone: one, two that are equally near, or none."""
    if len(word) > _MAX_LENGTH:
        return ()
    distances = {name: letter_distance(word.upper(), name.upper()) for name in known}
    near = {name: distance for name, distance in distances.items() if distance <= _allowed(word)}
    best = [name for name, distance in near.items() if distance == min(near.values())]
    return tuple(best) if len(best) <= _MAX_OFFERED else ()


def _rank(group: str, last: str, name: str) -> int | None:
    """How far a known key is; None = it is not near."""
    known_group, known_last = _split(name.upper())
    distance = letter_distance(last, known_last)
    is_same_group = not group or group == known_group
    if (is_same_group or letter_distance(group, known_group) <= _allowed(group)) and distance <= _allowed(last):
        return distance
    if distance == 0 and "_" in last:
        return _IN_ANOTHER_GROUP
    words, known_words = set(last.split("_")), set(known_last.split("_"))
    if group and group == known_group and words < known_words:
        return _OF_MORE_WORDS + len(known_words - words)
    return None


def _allowed(word: str) -> int:
    return 0 if len(word) < 3 else 1 if len(word) < 6 else 2


def _split(key: str) -> tuple[str, str]:
    group, _, last = key.rpartition(".")
    return group, last


def letter_distance(first: str, second: str) -> int:
    """Letters to insert, remove, replace or swap with the next one to get from one word to the other; 3 where more."""
    if abs(len(first) - len(second)) > _MAX_DISTANCE:
        return _MAX_DISTANCE + 1
    before: list[int] = []
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        before, last, row = row, before, [i]
        for j, b in enumerate(second, start=1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (a != b)))
            if i > 1 and j > 1 and a == second[j - 2] and b == first[i - 2]:
                row[j] = min(row[j], last[j - 2] + 1)
    return min(row[-1], _MAX_DISTANCE + 1)
