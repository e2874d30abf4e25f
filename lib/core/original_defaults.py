"""Older files that rely on the originals' defaults, where ours are others."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from fpt.core.assignments import Assignment
from fpt.core.config_node import CfgNode
from fpt.core.legacy import is_legacy
from fpt.core.legacy_keys import ORIGINAL_DEFAULTS

_LOGGER = logging.getLogger("fpt")


def log_original_defaults(given: Sequence[Assignment], cfg: CfgNode, set_keys: Iterable[str]) -> None:
    """Log once which keys a file of Detectron or Detectron.pytorch leaves to their defaults that differ here.

    Args:
        given: the values of the file; it is an older one if it holds a key that only those have.
        cfg: the tree with all values.
        set_keys: full dotted keys that the file or ``--set`` gives, translated.
    """
    if not any(is_legacy(item.key) or (isinstance(item.value, str) and "fpn_ResNet" in item.value) for item in given):
        return
    known = set(set_keys)
    if not cfg.MODEL.MASK_ON:
        known |= {key for key in ORIGINAL_DEFAULTS if key.startswith("MRCNN.")}
    values = dict(cfg.leaves())
    left = [f"{key} {was} -> {values[key]}" for key, was in ORIGINAL_DEFAULTS.items() if key not in known]
    if left:
        _LOGGER.warning(
            "%s is written for Detectron and leaves these keys to their defaults, which are others here (there -> "
            "here); write them into the file if they matter: %s",
            given[0].source,
            ", ".join(left),
        )
