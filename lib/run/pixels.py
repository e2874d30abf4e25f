"""A configuration whose options of the pixels are concrete: what a run writes down, and a trained model needs."""

from __future__ import annotations

from fpt.checkpoint.checkpoint import Checkpoint
from fpt.core.config import parse_cfg
from fpt.core.config_node import CfgNode
from fpt.modeling.pixels.build import AUTO, pixel_values

_KEYS = ("PIXEL_FORMAT", "PIXEL_MEANS", "PIXEL_STDS")


def resolve_pixels(cfg: CfgNode, checkpoint: Checkpoint | None = None) -> CfgNode:
    """A frozen copy in which nothing of PIXEL_FORMAT, PIXEL_MEANS and PIXEL_STDS is `auto`.

    Args:
        cfg: the whole configuration.
        checkpoint: the model's, whose own options `auto` means then; None = those that the backbone's weights expect.

    Raises:
        UserError: the configuration of the checkpoint is unusable, or `cfg` names no backbone.
    """
    copy = cfg.clone()
    if any(cfg[key] == AUTO for key in _KEYS):
        if checkpoint is not None:
            trained = parse_cfg(checkpoint.config, source="the checkpoint")
            for key in _KEYS:
                copy[key] = trained[key] if cfg[key] == AUTO else cfg[key]
        copy.PIXEL_FORMAT, copy.PIXEL_MEANS, copy.PIXEL_STDS = pixel_values(copy)
    return copy.freeze()
