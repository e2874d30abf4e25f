"""Weights whose names stand behind one more prefix, as wrappers of a model write them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path

from torch import Tensor

_LOGGER = logging.getLogger("fpt")


def without_prefix(weights: Mapping[str, Tensor], wanted: Collection[str], *, source: str | Path) -> dict[str, Tensor]:
    """The weights under the names that are wanted, where all of those stand behind one prefix; else as they are.

    Args:
        weights: tensors by name, such as "module.layer1.0.conv1.weight".
        wanted: names of a model, such as "layer1.0.conv1.weight".
        source: the file, for the note in the log.
    """
    first = next((name for name in wanted if not name.endswith("num_batches_tracked")), None)
    if first is None or first in weights:
        return dict(weights)
    ends = [name for name in weights if name.endswith(f".{first}")]
    prefixes = {name[: -len(first)] for name in ends}
    found = {prefix: sum(prefix + name in weights for name in wanted) for prefix in prefixes}
    if not found:
        return dict(weights)
    prefix = max(found, key=lambda item: found[item])
    _LOGGER.info("%s: the names of the weights stand behind %r, which is left out", source, prefix)
    return {name.removeprefix(prefix): value for name, value in weights.items()}
