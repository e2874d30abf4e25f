"""The classes of an annotation file: placeholders and repeats of the tools that wrote it are left out."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from fpt.annotations.ids import NO_ID, Entry, Ids
from fpt.annotations.numbers import shown, whole_number
from fpt.annotations.packed import Categories
from fpt.annotations.report import DatasetReport


def read_categories(
    entries: list[Entry], ids: Ids, counts: np.ndarray, report: DatasetReport
) -> tuple[Categories, np.ndarray]:
    """The classes, sorted by id, and the label of each entry.

    Left out, with a note: a class 0 without an object that all others name as their supercategory (a placeholder, as
    Roboflow writes it), and entries of one name and id. Entries of one name and several ids become one class.

    Args:
        entries: the file's categories.
        ids: theirs.
        counts: int64 [C], annotations that refer to each entry; those of a repeated id count for its first entry.
        report: receives the notes, and as fatal two names for one id.

    Returns:
        The classes, and int32 [C]: the label 1.. that each entry stands for, 0 where it stands for none.
    """
    names = [class_name(entry, int(number)) for entry, number in zip(entries, ids.values.tolist(), strict=True)]
    first_of_id = _merge_ids(ids.values.tolist(), names, report)
    kept = [i for i in dict.fromkeys(first_of_id) if not _is_placeholder(i, entries, names, ids, counts)]
    for i in sorted(set(first_of_id) - set(kept)):
        example = f"id {ids.values[i]} {names[i]}"
        report.add(
            "classes without an object that others name as their supercategory", "left out", example, is_harmless=True
        )
    merged = _merge_names(kept, names, ids, counts, report)
    ordered = sorted(set(merged.values()), key=lambda i: int(ids.values[i]))
    label_of = {i: label for label, i in enumerate(ordered, start=1)}
    labels = [label_of.get(merged.get(i, -1), 0) for i in first_of_id]
    categories = Categories(
        ids=tuple(int(ids.values[i]) for i in ordered),
        names=tuple(names[i] for i in ordered),
        keypoint_names=tuple(_keypoint_names(entries[i]) for i in ordered),
        skeletons=tuple(_skeleton(entries[i]) for i in ordered),
    )
    return categories, np.array(labels, dtype=np.int32)


def class_name(entry: Entry, number: int) -> str:
    """The name of a class; its id where it has none."""
    name = entry.get("name")
    if isinstance(name, (int, float)) and not isinstance(name, bool):
        name = shown(name)
    if not isinstance(name, str) or not name.strip():
        return str(number)
    return name.encode("utf-8", "replace").decode()


def _keypoint_names(entry: Entry) -> tuple[str, ...]:
    names: Any = entry.get("keypoints")
    return tuple(shown(name) if not isinstance(name, str) else name for name in names) if _is_list(names) else ()


def _skeleton(entry: Entry) -> tuple[tuple[int, int], ...]:
    """The pairs of a class, counted from 0; what is no pair of its points is left out."""
    pairs: Any = entry.get("skeleton")
    count = len(_keypoint_names(entry))
    skeleton = []
    for pair in pairs if _is_list(pairs) else ():
        first, second = (whole_number(end) or 0 for end in pair) if _is_list(pair) and len(pair) == 2 else (0, 0)
        if 1 <= first <= count and 1 <= second <= count:
            skeleton.append((first - 1, second - 1))
    return tuple(skeleton)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _merge_ids(ids: list[int], names: list[str], report: DatasetReport) -> list[int]:
    """For each entry the first one of its id."""
    first: dict[int, int] = {}
    for i, number in enumerate(ids):
        j = first.setdefault(number, i)
        if i == j or number == NO_ID:
            continue
        if names[i] == names[j]:
            report.add("repeated classes", "left out", f"id {number} {names[i]}", is_harmless=True)
        else:
            example = f"id {number} is {names[j]} and {names[i]}"
            report.add("category ids with several names", "give each its own id", example, is_fatal=True)
    return [first[number] for number in ids]


def _is_placeholder(i: int, entries: list[Entry], names: list[str], ids: Ids, counts: np.ndarray) -> bool:
    others = [entry for entry, number in zip(entries, ids.values.tolist(), strict=True) if number != ids.values[i]]
    is_named = all(entry.get("supercategory") == names[i] for entry in others)
    return bool(not counts[i] and ids.values[i] == 0 and others and is_named)


def _merge_names(
    kept: list[int], names: list[str], ids: Ids, counts: np.ndarray, report: DatasetReport
) -> dict[int, int]:
    """For each of `kept` the entry that stands for its name: the first one with objects."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i in kept:
        groups[names[i]].append(i)
    merged = {}
    for name, group in groups.items():
        used = [i for i in group if counts[i]] or group[:1]
        merged.update(dict.fromkeys(group, used[0]))
        for i in group:
            if i not in used:
                report.add("repeated classes", "left out", f"id {ids.values[i]} {name}", is_harmless=True)
        if len(used) > 1:
            example = f"{name} (ids {', '.join(str(ids.values[i]) for i in used)})"
            report.add("class names with several ids", "taken as one class", example)
    return merged
