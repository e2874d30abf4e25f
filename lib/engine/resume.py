"""Going on from a checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fpt.checkpoint.checkpoint import Checkpoint, ForeignCheckpoint, load_weights
from fpt.engine.state import TrainState
from fpt.structures.coco_classes import are_unnamed
from fpt.utils.errors import UserError

_LOGGER = logging.getLogger("fpt")


def check_classes(trained: Sequence[str], class_names: Sequence[str], *, source: str | Path, dataset: str) -> None:
    """Raise UserError unless the classes that a checkpoint was trained on are those of a data set, in their order.

    Those of a file that keeps no names are, if they are as many.
    """
    if tuple(trained) == tuple(class_names):
        return
    if are_unnamed(trained) and len(trained) == len(class_names):
        _LOGGER.info("%s keeps no names of classes: they are taken to be those of data set %s", source, dataset)
        return
    raise UserError(
        f"{source} was trained on the {len(trained)} classes {_names(trained)}, but data set "
        f"{dataset} has the {len(class_names)} classes {_names(class_names)}"
    )


def restore_training(checkpoint: Checkpoint, state: TrainState, *, source: str | Path) -> None:
    """Put what the checkpoint holds into `state`.

    The optimizer keeps the settings of the present configuration (weight decay, momentum, factors); its buffers come
    from the checkpoint.

    Raises:
        UserError: the checkpoint holds no optimizer, one of another type, or another model.
    """
    load_weights(state.model, checkpoint, source=source)
    _restore_optimizer(checkpoint, state, source)
    if state.scaler is not None and checkpoint.scaler is not None:
        state.scaler.load_state_dict(checkpoint.scaler)
    if state.average is not None:
        state.average.restore(checkpoint.model if checkpoint.average is None else checkpoint.average)
        if checkpoint.average is None:
            _LOGGER.warning("%s holds no averaged weights: the average starts with the present ones", source)
    state.step, state.images, state.best = checkpoint.step, checkpoint.images, checkpoint.best
    state.skipped = checkpoint.loop.get("skipped", 0)
    state.skipped_in_row = checkpoint.loop.get("skipped_in_row", 0)
    state.evaluated = checkpoint.loop.get("evaluated", checkpoint.step)
    state.window.load_state_dict(checkpoint.loop.get("window", {}))


def _restore_momentum(checkpoint: ForeignCheckpoint, state: TrainState, source: str | Path) -> None:
    """Put another program's momentum into SGD, and say of how many parameters."""
    momentum = checkpoint.origin.momentum
    if not isinstance(state.optimizer, torch.optim.SGD):
        raise UserError(f"{source} was trained with SGD, not {type(state.optimizer).__name__}: resume with --o SGD")
    trained = {name: parameter for name, parameter in state.model.named_parameters() if parameter.requires_grad}
    found = [name for name, value in momentum.items() if name in trained and value.shape == trained[name].shape]
    for name in found:
        parameter = trained[name]
        buffer = torch.empty_like(parameter).copy_(momentum[name])
        state.optimizer.state[parameter]["momentum_buffer"] = buffer
    _LOGGER.info("%s: momentum of %d of %d trained parameters", source, len(found), len(trained))


def _restore_optimizer(checkpoint: Checkpoint, state: TrainState, source: str | Path) -> None:
    if isinstance(checkpoint, ForeignCheckpoint):
        _restore_momentum(checkpoint, state, source)
        return
    optimizer = state.optimizer
    saved = dict(checkpoint.optimizer or {})
    kind = saved.pop("type", None)
    if kind is None:
        raise UserError(f"{source} holds no optimizer state; load its weights alone: --load_ckpt without --resume")
    if kind != type(optimizer).__name__:
        raise UserError(f"{source} was trained with {kind}, not {type(optimizer).__name__}: resume with --o {kind}")
    _check_shapes(saved, optimizer, source)
    settings = [{key: group[key] for key in group if key != "params"} for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(saved)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{source} was trained with other parameters free or frozen ({error}); load its weights alone: "
            "--load_ckpt without --resume"
        ) from error
    for group, kept in zip(optimizer.param_groups, settings, strict=True):
        group.update(kept)


def _check_shapes(saved: Mapping[str, Any], optimizer: torch.optim.Optimizer, source: str | Path) -> None:
    """Raise UserError for a buffer of another shape than its parameter's, which would end the first step."""
    groups = zip(saved["param_groups"], optimizer.param_groups, strict=False)
    for old, new in groups:
        for index, parameter in zip(old["params"], new["params"], strict=False):
            for name, value in saved["state"].get(index, {}).items():
                if isinstance(value, torch.Tensor) and value.dim() and value.shape != parameter.shape:
                    raise UserError(
                        f"{source} is damaged: its optimizer has a {name} of shape {tuple(value.shape)} for a "
                        f"parameter of shape {tuple(parameter.shape)}; load its weights alone: --load_ckpt "
                        "without --resume"
                    )


def _names(names: Sequence[str], count: int = 10) -> str:
    more = ", ..." if len(names) > count else ""
    return "[" + ", ".join(names[:count]) + more + "]"
