"""A model as a checkpoint holds it, ready to detect."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from fpt.checkpoint.checkpoint import Checkpoint, load_weights
from fpt.core.config_node import CfgNode
from fpt.modeling.build import build_model


def build_trained_model(cfg: CfgNode, checkpoint: Checkpoint, *, source: Path) -> nn.Module:
    """The model of `cfg` with the checkpoint's classes and weights, on cfg.DEVICE, in evaluation mode.

    The weights are the averaged ones where the checkpoint has them.

    Raises:
        UserError: the checkpoint is of another model than `cfg` describes.
    """
    model = build_model(cfg, num_classes=len(checkpoint.classes) + 1)
    checkpoint.use_average()
    load_weights(model, checkpoint, source=source)
    return model.to(torch.device(cfg.DEVICE)).eval()
