"""Merging of yaml files and ``KEY VALUE`` pairs into the configuration tree."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fpt.core import legacy
from fpt.core.assignments import Assignment, expand
from fpt.core.config_node import CfgNode
from fpt.core.near_keys import near_words
from fpt.core.option import Group, Option
from fpt.core.unknown_keys import explain_unknown, shorten
from fpt.core.values import convert, shown
from fpt.utils.errors import UserError

_LOGGER = logging.getLogger("fpt")

PATH_KEYS = ("IMAGE_DIR", "ANN_FILE")
"""Keys that a data set's declaration in DATASETS must have; each is a path."""
ENTRY_KEYS = (*PATH_KEYS, "FORMAT", "CLASSES", "BOX_FORMAT", "IGNORE")
"""Keys that it may have."""
_TEXT, _TEXTS = Option("", ""), Option((), "", element=str)
_IDS = Option((), "", low=0, high=65_535, element=int, is_scalar_accepted=True)
_DECLARATION = "{IMAGE_DIR: ..., ANN_FILE: ...}"


def flatten_options(group: Group, prefix: str = "") -> Iterator[tuple[str, Option]]:
    """Pairs of full dotted key and option, in the order of the tree."""
    for name, item in group.items():
        if isinstance(item, Option):
            yield prefix + name, item
        else:
            yield from flatten_options(item, f"{prefix}{name}.")


def merge(cfg: CfgNode, assignments: Sequence[Assignment], options: Mapping[str, Option]) -> dict[str, str]:
    """Write the values into the tree, each in its option's type.

    Args:
        cfg: the tree; changed in place.
        assignments: the values; a later one wins.
        options: every option by its full dotted key.

    Returns:
        Where each key that was set got its value from.

    Raises:
        UserError: names the unknown keys and the values of a wrong type.
    """
    sources: dict[str, str] = {}
    errors: list[str] = []
    unknown: list[Assignment] = []
    notes: dict[tuple[str, str], list[str]] = {}
    for given in expand_all(assignments, options, errors):
        try:
            translation = legacy.translate(given.key, given.value)
            for key, value in translation.pairs:
                if _is_unknown(key, options):
                    unknown.append(given)
                else:
                    _assign(cfg, key, value, options)
                    sources[key] = given.place
        except UserError as error:
            errors.append(f"{given.key} {error} (in {given.place})")
            continue
        if translation.note:
            notes.setdefault((given.source, translation.note), []).append(given.key)
    for (source, note), keys in notes.items():
        _LOGGER.warning("%s (in %s): %s", ", ".join(keys), source, note)
    errors += explain_unknown(unknown, options, assignments)
    if errors:
        raise UserError("the configuration cannot be used:\n  " + "\n  ".join(shorten(errors)))
    return sources


def expand_all(
    assignments: Sequence[Assignment], options: Mapping[str, Option], errors: list[str]
) -> Iterator[Assignment]:
    """The values of single options; what cannot be read is added to the errors."""
    for given in assignments:
        option = options.get(given.key)
        is_text = option is not None and isinstance(option.default, str) and option.element is None
        try:
            yield from expand(given, is_text=is_text)
        except UserError as error:
            errors.append(f"{given.key} {error} (in {given.place})")


def _is_unknown(key: str, options: Mapping[str, Option]) -> bool:
    return not (key in options or key.startswith("DATASETS.") or any(name.startswith(f"{key}.") for name in options))


def _assign(cfg: CfgNode, key: str, value: Any, options: Mapping[str, Option]) -> None:
    if key.startswith("DATASETS."):
        _declare(cfg, key, value)
        return
    option = options.get(key)
    if option is None:
        below = [name[len(key) + 1 :] for name in options if name.startswith(f"{key}.")]
        if value not in (None, {}):  # a group whose lines are all comments
            raise UserError(f"is a group of options, not one: it holds {', '.join(below)}")
        return
    if isinstance(option.default, dict):
        if value not in (None, {}):
            raise UserError(f"is {shown(value)}, but it holds groups: {{NAME: {_DECLARATION}}}")
        return
    *groups, name = key.split(".")
    node = cfg
    for group in groups:
        node = node[group]
    node[name] = convert(value, option)


def _declare(cfg: CfgNode, key: str, value: Any) -> None:
    """One line of a data set's declaration, such as ``DATASETS.<name>.IMAGE_DIR``."""
    dataset, _, entry = key.removeprefix("DATASETS.").rpartition(".")
    if not dataset or value == {}:
        raise UserError(f"is {shown(value)}, but a data set is declared as {_DECLARATION}")
    if dataset.endswith(".CLASSES"):
        raise UserError("is no entry of a data set: CLASSES is a sequence of names, such as [box, cup]")
    if entry not in ENTRY_KEYS:
        raise UserError(_unknown_entry(dataset, entry))
    if entry == "CLASSES":
        converted = _class_names(value)
    else:
        converted = convert(value, _IDS if entry == "IGNORE" else _TEXT)
    if dataset not in cfg.DATASETS:
        cfg.DATASETS[dataset] = CfgNode()
    cfg.DATASETS[dataset][entry] = converted


def _unknown_entry(dataset: str, entry: str) -> str:
    near = [f"DATASETS.{dataset}.{name}" for name in near_words(entry, ENTRY_KEYS)]
    if near:
        return f"is unknown; the nearest known key is {' and '.join(near)}"
    return f"is unknown; a data set has the keys {', '.join(ENTRY_KEYS)}"


def _class_names(value: Any) -> tuple[str, ...]:
    names: tuple[str, ...] = convert(value, _TEXTS)
    if not names or "" in names or len(set(names)) < len(names):
        raise UserError(f"is {shown(value)}, but one or more different names are due, such as [box, cup]")
    return names
