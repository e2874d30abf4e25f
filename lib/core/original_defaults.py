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
    """Name once the keys that a file of Detectron or Detectron.pytorch leaves to their defaults that differ here.

    A file of a model without a pyramid gets the originals' values: those of here suit pyramids alone.

    Args:
        given: the values of the file; it is an older one if it holds a key that only those have.
        cfg: the tree with all values; changed in place for a model without a pyramid.
        set_keys: full dotted keys that the file or ``--set`` gives, translated.
    """
    if not any(is_legacy(item.key) or (isinstance(item.value, str) and "fpn_ResNet" in item.value) for item in given):
        return
    known = set(set_keys)
    for group, switch in (("MRCNN.", cfg.MODEL.MASK_ON), ("KRCNN.", cfg.MODEL.KEYPOINTS_ON)):
        if not switch:
            known |= {key for key in ORIGINAL_DEFAULTS if key.startswith(group)}
    values = dict(cfg.leaves())
    left = {key: was for key, was in ORIGINAL_DEFAULTS.items() if key not in known}
    if not left:
        return
    if cfg.MODEL.CONV_BODY.startswith("ResNet."):
        for key, was in left.items():
            group, _, name = key.rpartition(".")
            (cfg[group] if group else cfg)[name] = was
        _LOGGER.warning(
            "%s is written for Detectron, and takes Detectron's defaults for what it leaves out: %s",
            given[0].source,
            ", ".join(f"{key} {was}" for key, was in left.items()),
        )
        return
    _LOGGER.warning(
        "%s is written for Detectron and leaves these keys to their defaults, which are others here (there -> "
        "here); write them into the file if they matter: %s",
        given[0].source,
        ", ".join(f"{key} {was} -> {values[key]}" for key, was in left.items()),
    )
