"""A configuration whose options that follow the weights are concrete: what a run writes down, and a model needs."""

from __future__ import annotations

import logging
from typing import Any

from fpt.checkpoint.checkpoint import Checkpoint, ForeignCheckpoint
from fpt.core.config import parse_cfg
from fpt.core.config_node import CfgNode
from fpt.modeling.pixels.build import AUTO, pixel_values

_LOGGER = logging.getLogger("fpt")
_KEYS = ("PIXEL_FORMAT", "PIXEL_MEANS", "PIXEL_STDS")


def resolve_pixels(cfg: CfgNode, checkpoint: Checkpoint | None = None) -> CfgNode:
    """A frozen copy in which nothing of PIXEL_FORMAT, PIXEL_MEANS, PIXEL_STDS and MODEL.LEGACY is `auto`.

    Args:
        cfg: the whole configuration.
        checkpoint: the model's, whose own options `auto` means then, or those of the program that it comes from; None =
            those that the backbone's weights expect.

    Raises:
        UserError: the configuration of the checkpoint is unusable, or `cfg` names no backbone.
    """
    copy = cfg.clone()
    trained = _options_of(checkpoint) if checkpoint is not None else {}
    if cfg.MODEL.LEGACY == AUTO:
        copy.MODEL.LEGACY = trained.get("MODEL.LEGACY", "off").replace(AUTO, "off")
        if isinstance(checkpoint, ForeignCheckpoint) and copy.MODEL.LEGACY != "off":
            _LOGGER.info(
                "MODEL.LEGACY is set to %s: boxes, anchors and RoIs are counted as in its training (docs/legacy.md)",
                copy.MODEL.LEGACY,
            )
    if any(cfg[key] == AUTO for key in _KEYS):
        for key in _KEYS:
            copy[key] = trained.get(key, cfg[key]) if cfg[key] == AUTO else cfg[key]
        copy.PIXEL_FORMAT, copy.PIXEL_MEANS, copy.PIXEL_STDS = pixel_values(copy)
    return copy.freeze()


def _options_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """The options of these that a checkpoint's model was trained with."""
    if isinstance(checkpoint, ForeignCheckpoint):
        values = dict(zip(_KEYS, checkpoint.origin.pixels, strict=True))
        return {**values, "MODEL.LEGACY": checkpoint.origin.conventions}
    trained = parse_cfg(checkpoint.config, source="the checkpoint")
    return {**{key: trained[key] for key in _KEYS}, "MODEL.LEGACY": trained.MODEL.LEGACY}
