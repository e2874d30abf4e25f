"""Where a training starts: from nothing, from weights, or where another run stopped."""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from fpt.checkpoint.checkpoint import Checkpoint, load_checkpoint, load_fitting_weights, newest_checkpoint
from fpt.core.config_node import CfgNode
from fpt.engine.resume import check_classes, restore_training
from fpt.modeling.build import build_model, load_pretrained_body
from fpt.parallel.processes import max_restarts, restart_count
from fpt.solver.build import build_optimizer
from fpt.utils.distributed import from_main
from fpt.utils.errors import UserError

_LOGGER = logging.getLogger("fpt")


@dataclass(frozen=True, kw_only=True)
class Start:
    """The start of a run.

    Attributes:
        step: finished steps.
        pictures: consumed pictures.
        source: file of the checkpoint, None without.
        checkpoint: its content, None without.
        is_resumed: whether the checkpoint's run goes on, rather than that its weights start a new one.
    """

    step: int
    pictures: int
    source: Path | None = None
    checkpoint: Checkpoint | None = None
    is_resumed: bool = False

    @property
    def resumed(self) -> Checkpoint | None:
        """The checkpoint, if its run goes on."""
        return self.checkpoint if self.is_resumed else None


def read_start(args: argparse.Namespace, *, pictures_per_step: int) -> Start:
    """The start that ``--load_ckpt``, ``--resume`` and ``--start_step`` ask for, on every process.

    A training that torchrun has restarted goes on from its newest checkpoint, if it has written one.

    Raises:
        UserError: the checkpoint is missing or unreadable, there is none to resume from, or a restart couldn't find its
            checkpoints.
    """
    return from_main(lambda: _read_start(args, pictures_per_step))


def _read_start(args: argparse.Namespace, pictures_per_step: int) -> Start:
    is_resumed, source = _find_source(args)
    step, pictures = args.start_step, args.start_step * pictures_per_step
    if source is None:
        return Start(step=step, pictures=pictures)
    checkpoint = load_checkpoint(source)
    if is_resumed:
        if step not in (0, checkpoint.step):
            _LOGGER.warning("--start_step %d is not used: the checkpoint has %d steps", step, checkpoint.step)
        step, pictures = checkpoint.step, checkpoint.pictures
        if pictures != step * pictures_per_step:
            _LOGGER.warning(
                "%d steps have seen %d pictures so far, but a step takes %d now; the schedule goes on by steps",
                step,
                pictures,
                pictures_per_step,
            )
    return Start(step=step, pictures=pictures, source=source, checkpoint=checkpoint, is_resumed=is_resumed)


def _find_source(args: argparse.Namespace) -> tuple[bool, Path | None]:
    """Whether a run goes on, and the checkpoint to start from."""
    if args.output_dir is None:
        if max_restarts() and not args.no_save:
            raise UserError("torchrun --max-restarts needs --output_dir DIR, where a restart finds the checkpoints")
        if args.resume and args.load_ckpt is None:
            raise UserError("--resume needs --output_dir DIR (its newest checkpoint) or --load_ckpt FILE")
        return args.resume, args.load_ckpt
    has_checkpoints = any((args.output_dir / "ckpt").glob("model_step*.pth"))
    if restart_count() and has_checkpoints:
        return True, newest_checkpoint(args.output_dir)
    if max_restarts() and has_checkpoints and not args.resume:
        raise UserError(
            f"{args.output_dir} holds checkpoints of an earlier run, which a restart would take for those of this one; "
            "give --resume to go on from them, or another folder"
        )
    if args.resume and args.load_ckpt is None:
        return True, newest_checkpoint(args.output_dir)
    return args.resume, args.load_ckpt


def build_training(
    cfg: CfgNode, class_names: tuple[str, ...], start: Start
) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """Model on cfg.DEVICE and optimizer, as `start` says.

    Raises:
        UserError: the checkpoint does not fit the configuration or, when its run goes on, the data set.
    """
    model = build_model(cfg, num_classes=len(class_names) + 1)
    if start.checkpoint is None:
        load_pretrained_body(model, cfg)
    model.to(torch.device(cfg.DEVICE))
    optimizer = build_optimizer(cfg, model)
    if start.checkpoint is None or start.source is None:
        return model, optimizer
    if start.is_resumed:
        check_classes(start.checkpoint, class_names, source=start.source, dataset=", ".join(cfg.TRAIN.DATASETS))
        restore_training(start.checkpoint, model=model, optimizer=optimizer, source=start.source)
        _LOGGER.info("resumed from %s at step %d", start.source, start.step)
    else:
        _load_weights(model, start.checkpoint, class_names, source=start.source)
    return model, optimizer


def _load_weights(
    model: torch.nn.Module, checkpoint: Checkpoint, class_names: tuple[str, ...], *, source: Path
) -> None:
    """Start from what fits of a checkpoint, and say what does not."""
    fresh, unused = load_fitting_weights(model, checkpoint, source=source)
    _LOGGER.info("loaded the weights of %s", source)
    if fresh:
        _LOGGER.warning("%s has no fitting weights for these parts, which start afresh: %s", source, ", ".join(fresh))
    if unused:
        _LOGGER.info("not used of %s: %s", source, ", ".join(unused))
    if tuple(checkpoint.classes) != class_names:
        _LOGGER.warning("the checkpoint was trained on other classes: %s", ", ".join(checkpoint.classes))
