"""Merging of yaml files and ``KEY VALUE`` pairs into the configuration tree."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from fpt.core import legacy
from fpt.core.config_node import CfgNode
from fpt.core.option import Group, Option
from fpt.core.values import convert, parse_literal
from fpt.utils.errors import UserError

_LOGGER = logging.getLogger("fpt")

PATH_KEYS = ("IMAGE_DIR", "ANN_FILE")
"""Keys that a data set's declaration in DATASETS must have; each is a path."""
ENTRY_KEYS = (*PATH_KEYS, "FORMAT")
"""Keys that it may have."""


class Assignment(NamedTuple):
    """One value on its way into the tree.

    Attributes:
        key: full dotted key.
        value: as written.
        source: where it was written: a file, ``--set``.
    """

    key: str
    value: Any
    source: str


class _Loader(yaml.SafeLoader):
    """yaml's safe loader, which warns of a key that stands twice in one group: only the last one counts."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                line = key_node.start_mark.line + 1
                _LOGGER.warning(
                    "%s (in %s, line %d): stands twice in its group; the last one counts", key, self.name, line
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def flatten_options(group: Group, prefix: str = "") -> Iterator[tuple[str, Option]]:
    """Pairs of full dotted key and option, in the order of the tree."""
    for name, item in group.items():
        if isinstance(item, Option):
            yield prefix + name, item
        else:
            yield from flatten_options(item, f"{prefix}{name}.")


def read_yaml(path: Path) -> list[Assignment]:
    """The values that a yaml file holds.

    Raises:
        UserError: it isn't yaml, or it isn't a tree of keys.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"config file {path} is not valid yaml: {error}") from None
    return parse_yaml(text, source=str(path))


def parse_yaml(text: str, *, source: str) -> list[Assignment]:
    """The values that a yaml text holds.

    Raises:
        UserError: it is not yaml, or it is not a tree of keys.
    """
    try:
        loader = _Loader(text)
        loader.name = source
        tree = loader.get_single_data()
    except yaml.YAMLError as error:
        raise UserError(f"config file {source} is not valid yaml: {error}") from None
    if tree is None:
        return []
    if not isinstance(tree, Mapping):
        raise UserError(f"config file {source} must hold KEY: VALUE pairs, but it holds a {type(tree).__name__}")
    return list(_flatten(tree, "", source))


def read_pairs(opts: Sequence[Any]) -> list[Assignment]:
    """The values that ``--set KEY VALUE KEY VALUE ...`` holds.

    Raises:
        UserError: a key stands without a value.
    """
    if len(opts) % 2:
        raise UserError(f"--set takes pairs, KEY VALUE KEY VALUE ..., but it got {len(opts)} words: {' '.join(opts)}")
    pairs = zip(opts[0::2], opts[1::2], strict=True)
    return [item for key, value in pairs for item in _flatten({key: value}, "", "--set")]


def _flatten(tree: Mapping[Any, Any], prefix: str, source: str) -> Iterator[Assignment]:
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if key == "DATASETS" or key.startswith("DATASETS."):
            value = parse_literal(value) if key.count(".") < 2 else value
        if isinstance(value, Mapping):
            yield from _flatten(value, key + ".", source)
        else:
            yield Assignment(key, value, source)


def merge(cfg: CfgNode, assignments: Sequence[Assignment], options: Mapping[str, Option]) -> dict[str, str]:
    """Write the values into the tree, each in its option's type.

    Args:
        cfg: the tree; changed in place.
        assignments: the values; a later one wins.
        options: every option by its full dotted key.

    Returns:
        Where each key that was set got its value from.

    Raises:
        UserError: names every unknown key and every value of a wrong type at once.
    """
    sources: dict[str, str] = {}
    errors: list[str] = []
    notes: dict[tuple[str, str], list[str]] = {}
    for given in assignments:
        try:
            translation = legacy.translate(given.key, given.value)
            for key, value in translation.pairs:
                _assign(cfg, key, value, options)
                sources[key] = given.source
        except UserError as error:
            errors.append(f"{given.key} {error} (in {given.source})")
            continue
        if translation.note:
            notes.setdefault((given.source, translation.note), []).append(given.key)
    for (source, note), keys in notes.items():
        _LOGGER.warning("%s (in %s): %s", ", ".join(keys), source, note)
    if errors:
        raise UserError("the configuration cannot be used:\n  " + "\n  ".join(errors))
    return sources


def _assign(cfg: CfgNode, key: str, value: Any, options: Mapping[str, Option]) -> None:
    if key.startswith("DATASETS."):
        _declare(cfg, key, value)
        return
    option = options.get(key)
    if option is None:
        raise UserError(_explain_unknown(key, options))
    if isinstance(option.default, dict):
        raise UserError(f"is {value!r}, but it holds groups: {{NAME: {{IMAGE_DIR: ..., ANN_FILE: ...}}}}")
    *groups, name = key.split(".")
    node = cfg
    for group in groups:
        node = node[group]
    node[name] = convert(value, option)


def _declare(cfg: CfgNode, key: str, value: Any) -> None:
    """One line of a data set's declaration: ``DATASETS.<name>.IMAGE_DIR`` or ``.ANN_FILE``."""
    dataset, _, entry = key.removeprefix("DATASETS.").rpartition(".")
    if not dataset:
        raise UserError(f"is {value!r}, but a data set is declared as {{IMAGE_DIR: ..., ANN_FILE: ...}}")
    if entry not in ENTRY_KEYS:
        raise UserError(f"is unknown; the nearest known key is DATASETS.{dataset}.{nearest(entry, ENTRY_KEYS)}")
    if dataset not in cfg.DATASETS:
        cfg.DATASETS[dataset] = CfgNode()
    cfg.DATASETS[dataset][entry] = convert(value, Option("", ""))


def _explain_unknown(key: str, options: Mapping[str, Option]) -> str:
    below = [name for name in options if name.startswith(key + ".")]
    if below:
        return f"is a group of options, not one: it holds {', '.join(name[len(key) + 1 :] for name in below)}"
    return f"is unknown; the nearest known key is {nearest(key, tuple(options))}"


def nearest(key: str, known: Sequence[str]) -> str:
    """The known key that is most like the given one, by its whole dotted name or by its last part."""

    def likeness(name: str) -> float:
        whole = difflib.SequenceMatcher(None, key.upper(), name).ratio()
        last = difflib.SequenceMatcher(None, key.upper().rpartition(".")[2], name.rpartition(".")[2]).ratio()
        return whole + last

    return max(known, key=likeness)
