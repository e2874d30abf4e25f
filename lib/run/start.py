"""Where a training starts: from nothing, from weights, or where another run stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from fpt.checkpoint.checkpoint import Checkpoint, load_checkpoint, load_fitting_weights
from fpt.checkpoint.store import checkpoints_in, has_foreign_manifest, load_newest, newest_run
from fpt.core.config_node import CfgNode
from fpt.engine.resume import check_classes, restore_training
from fpt.engine.state import TrainState
from fpt.modeling.build import build_model, load_pretrained_backbone
from fpt.parallel.processes import max_restarts, num_machines, restart_count
from fpt.run.options import RunOptions
from fpt.run.run_identity import RunIdentity, identity_of, warn_of_changes, why_another
from fpt.solver.build import build_optimizer, build_scaler
from fpt.solver.moving_average import MovingAverage
from fpt.utils.distributed import from_main
from fpt.utils.errors import UserError

_LOGGER = logging.getLogger("fpt")


@dataclass(kw_only=True)
class Start:
    """The start of a run.

    Attributes:
        step: finished steps.
        images: consumed images.
        source: file of the checkpoint, None without.
        checkpoint: its content, until `build_training` has used it up; None without.
        is_resumed: whether the checkpoint's run goes on, rather than that its weights start a new one.
        run: the run folder, None where a new one is made.
        identity: what the run is of.
    """

    step: int
    images: int
    source: Path | None = None
    checkpoint: Checkpoint | None = None
    is_resumed: bool = False
    run: Path | None = None
    identity: RunIdentity


def read_start(options: RunOptions, cfg: CfgNode, *, images_per_step: int, lock: Callable[[Path], None]) -> Start:
    """The start that `load_ckpt`, `resume` and `start_step` of the options ask for, on every process.

    A training that torchrun has restarted goes on from its newest checkpoint, if it has written one.

    Args:
        options: of the run.
        cfg: the configuration.
        images_per_step: images that a step takes.
        lock: is called for the folder of a run that goes on, before its checkpoints are read, by the main process.

    Raises:
        UserError: the checkpoint is missing or unreadable, there is none to resume from, the newest run is of another
            yaml file or data set, a new run would write among the checkpoints of another, or a restart couldn't find
            its own.
    """
    return from_main(lambda: _read_start(options, cfg, images_per_step, lock))


def _read_start(options: RunOptions, cfg: CfgNode, images_per_step: int, lock: Callable[[Path], None]) -> Start:
    step, images = options.start_step, options.start_step * images_per_step
    is_resumed = _is_resumed(options)
    identity = identity_of(cfg)
    run = _resumed_run(options, cfg, identity) if is_resumed else options.output_dir
    if is_resumed and run is not None and run.is_dir():
        lock(run)
        warn_of_changes(identity, run)
    if options.load_ckpt is not None and not _has_gone_on(options, run, is_resumed=is_resumed):
        source, checkpoint = options.load_ckpt, load_checkpoint(options.load_ckpt)
    elif is_resumed and run is not None:
        source, checkpoint = load_newest(run)
    else:
        return Start(step=step, images=images, run=run, identity=identity)
    if is_resumed:
        if step not in (0, checkpoint.step):
            _LOGGER.warning("--start_step %d is not used: the checkpoint has %d steps", step, checkpoint.step)
        step, images = checkpoint.step, checkpoint.images
        if images != step * images_per_step:
            _LOGGER.warning(
                "%d steps have seen %d images so far, but a step takes %d now; the schedule goes on by steps",
                step,
                images,
                images_per_step,
            )
    return Start(
        step=step,
        images=images,
        source=source,
        checkpoint=checkpoint,
        is_resumed=is_resumed,
        run=run,
        identity=identity,
    )


def _has_gone_on(options: RunOptions, run: Path | None, *, is_resumed: bool) -> bool:
    """Whether the run has gone on from `load_ckpt`: its own checkpoints count, where nobody said which to resume."""
    is_automatic = options.resume == "auto" or restart_count() > 0
    if not (is_resumed and is_automatic and run is not None and checkpoints_in(run / "ckpt")):
        return False
    _LOGGER.info("--load_ckpt %s is not read: %s has checkpoints of its own", options.load_ckpt, run)
    return True


def _resumed_run(options: RunOptions, cfg: CfgNode, identity: RunIdentity) -> Path | None:
    """The folder that a run goes on in; None for a new one, where a checkpoint lies in no run folder."""
    if options.output_dir is not None:
        return options.output_dir
    if options.load_ckpt is not None:
        folder = options.load_ckpt.parent
        return folder.parent if folder.name == "ckpt" else None
    root = Path(cfg.OUTPUT_DIR) / options.name
    return newest_run(root, why_not=lambda run: why_another(identity, run))


def _is_resumed(options: RunOptions) -> bool:
    """Whether a run goes on."""
    if options.output_dir is None:
        if options.resume == "auto" or (max_restarts() and options.saves_checkpoints):
            raise UserError(
                "--resume auto and torchrun --max-restarts need --output_dir DIR, where the checkpoints are"
            )
        return options.resume == "yes"
    has_checkpoints = bool(checkpoints_in(options.output_dir / "ckpt"))
    if options.saves_checkpoints and not has_checkpoints and has_foreign_manifest(options.output_dir / "ckpt"):
        raise UserError(
            f"{options.output_dir / 'ckpt' / 'manifest.json'} would be written over, but lists no checkpoints of this "
            "program; give another --output_dir, or move it away"
        )
    if options.resume == "auto":
        return has_checkpoints
    if max_restarts() and num_machines() > 1 and options.saves_checkpoints:
        raise UserError("torchrun --max-restarts on several machines needs --resume auto")
    if options.resume == "yes" or not has_checkpoints or not options.saves_checkpoints:
        return options.resume == "yes"
    if restart_count():
        return True
    raise UserError(
        f"{options.output_dir} holds checkpoints of an earlier run; give --resume to go on from them, or another "
        "--output_dir"
    )


def build_training(cfg: CfgNode, class_names: tuple[str, ...], start: Start) -> TrainState:
    """Model on cfg.DEVICE, optimizer and what else a training changes, as `start` says.

    Raises:
        UserError: the checkpoint does not fit the configuration or, when its run goes on, the data set.
    """
    checkpoint, start.checkpoint = start.checkpoint, None
    model = build_model(cfg, num_classes=len(class_names) + 1)
    if checkpoint is None:
        load_pretrained_backbone(model, cfg)
    model.to(torch.device(cfg.DEVICE))
    if checkpoint is not None and not start.is_resumed:
        checkpoint.use_average()
        _load_weights(model, checkpoint, class_names, source=start.source or "")
    state = TrainState(
        model=model,
        optimizer=build_optimizer(cfg, model),
        scaler=build_scaler(cfg),
        average=MovingAverage(model, decay=cfg.SOLVER.EMA_DECAY) if cfg.SOLVER.EMA_DECAY else None,
        step=start.step,
        images=start.images,
        evaluated=start.step,
    )
    if checkpoint is not None and start.is_resumed:
        source = start.source or ""
        check_classes(checkpoint.classes, class_names, source=source, dataset=", ".join(cfg.TRAIN.DATASETS))
        restore_training(checkpoint, state, source=source)
        _LOGGER.info("resumed from %s at step %d", source, start.step)
    return state


def _load_weights(
    model: torch.nn.Module, checkpoint: Checkpoint, class_names: tuple[str, ...], *, source: Path | str
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
