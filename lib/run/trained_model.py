"""A model as a checkpoint holds it, ready to detect."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from fpt.checkpoint.checkpoint import Checkpoint, ForeignCheckpoint, load_checkpoint, load_weights
from fpt.core.assignments import parse_yaml
from fpt.core.config import parse_cfg
from fpt.core.config_node import CfgNode
from fpt.modeling.build import Model, build_model
from fpt.run.adapt import resolve_config
from fpt.run.keypoints import keypoints_of_model
from fpt.run.pixels import resolve_pixels
from fpt.utils.distributed import from_main
from fpt.utils.errors import UserError

_LOGGER = logging.getLogger("fpt")

_BEFORE = {"START": "paper", "FUSION": "concat", "QUERY_STRIDE": 1, "SHARE_DOWNSAMPLING": False}
"""MODEL.FPT of configurations that do not name them, which are from before these options."""


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A model with trained weights.

    Attributes:
        model: on cfg.DEVICE, in evaluation mode.
        cfg: frozen; DEVICE is that of this computer, and the options of the pixels are those of the training.
        class_names: label i + 1 is class_names[i].
        step: finished steps of its training.
    """

    model: Model
    cfg: CfgNode
    class_names: tuple[str, ...]
    step: int


def load_trained_model(
    path: str | Path,
    cfg: CfgNode | None = None,
    *,
    device: str = "auto",
    lowest_score: Callable[[CfgNode], float] | None = None,
) -> TrainedModel:
    """The model of a checkpoint, with the averaged weights where it has them.

    Args:
        path: the checkpoint.
        cfg: the configuration; None = the one that the checkpoint holds, on `device`.
        device: "auto", "cpu", "cuda", "cuda:0" (or another number) or "mps".
        lowest_score: the lowest score that will be shown, 0 to 1, for a configuration: TEST.SCORE_THRESH is lowered to
            it where it is higher; None leaves it as it is.

    Raises:
        UserError: the file is missing or unusable, or the checkpoint is of another model than `cfg` describes.
    """
    if not isinstance(path, (str, Path)):
        raise UserError(
            f"the checkpoint is {path!r}, must be the path of a file; a training without evaluations "
            "(TRAIN.EVAL_PERIOD) has no best_checkpoint, its newest is result.checkpoint"
        )
    checkpoint = from_main(lambda: load_checkpoint(path))
    if cfg is None and isinstance(checkpoint, ForeignCheckpoint):
        raise UserError(
            f"{path} is a model of {checkpoint.origin.program}, which keeps no configuration: give the yaml file that "
            "it was trained with (--cfg FILE, or cfg=)"
        )
    if cfg is None:
        cfg = _stored_config(checkpoint, path)
        cfg.DEVICE = device
    cfg = keypoints_of_model(resolve_pixels(resolve_config(cfg), checkpoint), checkpoint)
    if lowest_score is not None:
        cfg = _with_scores_from(cfg, lowest_score(cfg))
    if not checkpoint.classes:
        raise UserError(f"{path} holds a backbone alone; weights to start from: RESNETS.IMAGENET_PRETRAINED_WEIGHTS")
    model = build_model(cfg, num_classes=len(checkpoint.classes) + 1)
    checkpoint.use_average()
    load_weights(model, checkpoint, source=path)
    return TrainedModel(
        model=model.to(torch.device(cfg.DEVICE)).eval(),
        cfg=cfg,
        class_names=tuple(checkpoint.classes),
        step=checkpoint.step,
    )


def _stored_config(checkpoint: Checkpoint, path: str | Path) -> CfgNode:
    """The configuration that a checkpoint holds; options of the transformer that are younger than it do nothing."""
    source = f"the checkpoint {path}"
    cfg = parse_cfg(checkpoint.config, source=source).clone()
    stored = {assignment.key for assignment in parse_yaml(checkpoint.config, source=source)}
    for name, value in _BEFORE.items():
        if f"MODEL.FPT.{name}" not in stored:
            cfg.MODEL.FPT[name] = value
    return cfg


def _with_scores_from(cfg: CfgNode, lowest: float) -> CfgNode:
    if lowest >= cfg.TEST.SCORE_THRESH:
        return cfg
    _LOGGER.info("TEST.SCORE_THRESH: %g -> %g, the lowest score that is shown", cfg.TEST.SCORE_THRESH, lowest)
    copy = cfg.clone()
    copy.TEST.SCORE_THRESH = lowest
    return copy.freeze()
