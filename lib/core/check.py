"""Checks of a whole configuration: legal values of every option, and options that must fit together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fpt.core.config_node import CfgNode
from fpt.core.defaults import OPTIONS
from fpt.core.merge import PATH_KEYS, flatten_options
from fpt.core.option import Option
from fpt.core.relations import RELATIONS
from fpt.core.values import shown
from fpt.utils.errors import UserError

LENGTHS = {"PIXEL_MEANS": 3, "PIXEL_STDS": 3, "MODEL.BBOX_REG_WEIGHTS": 4}
"""Numbers of the sequences whose length is given."""


def check_cfg(cfg: CfgNode, sources: Mapping[str, str] | None = None) -> None:
    """Raise if any value is illegal, or if values don't fit together.

    Args:
        cfg: the tree.
        sources: where keys got their values from, for the messages; a key that isn't in it has its default.

    Raises:
        UserError: names every such key, the value seen, the legal ones and where it was set.
    """
    where = sources or {}
    errors = [*_check_options(cfg, where), *_check_datasets(cfg)]
    if not errors:
        errors = [message for relation in RELATIONS for message in relation(cfg)]
    if errors:
        raise UserError("the configuration cannot be used:\n  " + "\n  ".join(errors))


def _check_options(cfg: CfgNode, sources: Mapping[str, str]) -> Iterator[str]:
    values = dict(cfg.leaves())
    for key, option in flatten_options(OPTIONS):
        if key == "DATASETS":
            continue
        problem = _problem(values[key], option, LENGTHS.get(key))
        if problem:
            yield f"{key} is {shown(values[key])}, but {problem} (in {sources.get(key, 'the defaults')})"


def _problem(value: Any, option: Option, length: int | None) -> str | None:
    if option.element is not None and value == option.default:
        return None  # a word that stands for a sequence, or an empty one
    items = value if isinstance(value, tuple) else (value,)
    each = "each " if isinstance(value, tuple) else ""
    if length is not None and len(items) != length:
        return f"{length} numbers are due"
    if option.choices is not None and any(item not in option.choices for item in items):
        return f"{each}must be one of {', '.join(repr(choice) for choice in option.choices)}"
    if option.pattern is not None and not re.fullmatch(option.pattern[0], value):
        return f"must be {option.pattern[1]}"
    if option.low is not None and any(item < option.low for item in items):
        return f"{each}must be at least {option.low:g}"
    if option.high is not None and any(item > option.high for item in items):
        return f"{each}must be at most {option.high:g}"
    return None


def _check_datasets(cfg: CfgNode) -> Iterator[str]:
    for name, entry in cfg.DATASETS.items():
        for key in PATH_KEYS:
            if not entry.get(key):
                yield f"DATASETS.{name}.{key} is missing: a data set is declared with {' and '.join(PATH_KEYS)}"
