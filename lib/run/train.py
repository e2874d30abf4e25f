"""One training run, from the configuration to the last checkpoint."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from fpt.checkpoint.store import CheckpointStore
from fpt.core.config_node import CfgNode
from fpt.dataloaders.build import build_train_loader
from fpt.dataloaders.collate import Batch
from fpt.engine.bad_sample_report import BadSampleReport
from fpt.engine.interrupt import StopSignals
from fpt.engine.snapshots import PeriodicEvaluation, Snapshots
from fpt.engine.state import TrainState
from fpt.engine.train_loop import Hook, LoopSettings, SkipWriter, Writer, train
from fpt.engine.writers import SkippedStepsWriter
from fpt.modeling.compiled import compile_backbone
from fpt.run.devices import count_devices, own_devices, parallelize
from fpt.run.folder import new_run_folder, start_run_folder
from fpt.run.periodic_evaluation import make_evaluation, open_test_datasets
from fpt.run.start import Start, build_training, read_start
from fpt.run.training_images import TrainingImages
from fpt.run.writers import check_packages, make_curves, make_profile, make_writers
from fpt.solver.batch_scaling import Change
from fpt.solver.build import amp_dtype, build_schedule
from fpt.utils.distributed import from_main, world_size
from fpt.utils.errors import LoaderError, UserError
from fpt.utils.memory import frozen_objects
from fpt.utils.seeding import seed_everything

_LOGGER = logging.getLogger("fpt")


def run_training(cfg: CfgNode, args: argparse.Namespace, *, arguments: Sequence[str], changes: Sequence[Change]) -> int:
    """Build everything, so that a wrong input leaves no folder behind; then train.

    Args:
        cfg: frozen, adapted to the batch size.
        args: parsed command line.
        arguments: the command line as it was given.
        changes: what the command line changed in the configuration, to be logged.

    Returns:
        The exit status: 0, or 128 + the signal that has stopped it.

    Raises:
        UserError: wrong input; or, after the last step, its evaluation has failed.
    """
    batch_size = cfg.NUM_GPUS * cfg.TRAIN.IMS_PER_BATCH
    _log_changes(changes, batch_size=batch_size, iter_size=args.iter_size, devices=_describe_devices(cfg))
    check_packages(args)
    seed_everything(cfg.RNG_SEED)
    start = read_start(args, cfg, images_per_step=batch_size * args.iter_size)
    loader = build_train_loader(
        cfg,
        batch_size=batch_size,
        num_workers=cfg.DATA_LOADER.NUM_THREADS,
        start_batch=start.images // batch_size,
    )
    class_names = tuple(loader.dataset.class_names)  # type: ignore[attr-defined]
    state = build_training(cfg, class_names, start)
    if cfg.MODEL.COMPILE:
        compile_backbone(state.model)
    datasets = open_test_datasets(cfg, class_names)
    folder = _run_folder(cfg, args, start)
    from_main(lambda: start_run_folder(folder, cfg, program="fpt-train", arguments=arguments))
    snapshots = None if args.no_save else _make_snapshots(cfg, state, class_names, folder)
    curves = make_curves(cfg, args, folder, start_step=start.step)
    stop = StopSignals()
    evaluation = make_evaluation(
        cfg, state, datasets, folder=folder, snapshots=snapshots, curves=curves, should_stop=stop.has_received
    )
    report = BadSampleReport(folder / "bad_samples.jsonl", loader.dataset, start_step=start.step)  # type: ignore[arg-type]
    profile = make_profile(args, state, folder)
    images = TrainingImages(cfg, state, folder=folder, curves=curves) if cfg.TRAIN.VIS_PERIOD else None
    try:
        with frozen_objects():
            return _train(
                cfg,
                args,
                state,
                report.watch(loader, batches_per_step=args.iter_size),
                stop=stop,
                snapshots=snapshots,
                evaluation=evaluation,
                observers=[hook for hook in (images, profile) if hook is not None],
                writers=make_writers(cfg, args, folder, curves, start_step=start.step),
                on_skip=SkippedStepsWriter(folder / "skipped_steps.jsonl", start_step=start.step),
            )
    finally:
        if profile is not None:
            profile.close()
        curves.close()


def _make_snapshots(cfg: CfgNode, state: TrainState, class_names: Sequence[str], folder: Path) -> Snapshots:
    store = CheckpointStore(folder / "ckpt", keep_last=cfg.TRAIN.KEEP_CHECKPOINTS, keep_every=cfg.TRAIN.KEEP_EVERY)
    return Snapshots(
        store=store,
        state=state,
        classes=list(class_names),
        config=cfg.dump(),
        period=cfg.TRAIN.SNAPSHOT_ITERS,
        max_seconds=60.0 * cfg.TRAIN.SNAPSHOT_MINUTES,
    )


def _train(
    cfg: CfgNode,
    args: argparse.Namespace,
    state: TrainState,
    batches: Iterator[Batch],
    *,
    stop: StopSignals,
    snapshots: Snapshots | None,
    evaluation: PeriodicEvaluation | None,
    observers: Sequence[Hook],
    writers: list[Writer],
    on_skip: SkipWriter,
) -> int:
    settings = _loop_settings(cfg, args)
    is_done = state.step >= settings.max_iter
    if is_done and not (evaluation is not None and evaluation.is_due(state.step)):
        _LOGGER.info("nothing to train: %d steps are done, SOLVER.MAX_ITER is %d", state.step, settings.max_iter)
        return 0
    hooks: list[Hook] = [hook for hook in (evaluation, snapshots, *observers) if hook is not None]  # best value first
    if snapshots is not None:
        snapshots.begin()
    try:
        with stop:
            if evaluation is not None:
                evaluation(state.step)  # of a run that was stopped before it
            if not stop.is_agreed():
                train(
                    model=parallelize(state.model, cfg),
                    state=state,
                    schedule=build_schedule(cfg),
                    batches=batches,
                    settings=settings,
                    writers=writers,
                    hooks=hooks,
                    should_stop=stop.is_agreed,
                    on_skip=on_skip,
                )
            if snapshots is not None:
                snapshots.save_last()
    except Exception as error:
        if snapshots is not None:
            snapshots.save_in_emergency()
        if stop.received is None or not isinstance(error, LoaderError):
            raise
        _LOGGER.warning("%s: it may have got the signal, too", error)
    _report_end(state, stop, evaluation)
    return stop.exit_status


def _report_end(state: TrainState, stop: StopSignals, evaluation: PeriodicEvaluation | None) -> None:
    """Say what the end lacks; UserError if that is the last evaluation."""
    if state.skipped:
        _LOGGER.warning(
            "%d of %d steps were left out: no finite loss or gradient (skipped_steps.jsonl)", state.skipped, state.step
        )
    if stop.received is not None:
        _LOGGER.warning("stopped by signal %d after step %d; go on with --resume", stop.received, state.step)
    elif evaluation is not None and evaluation.failure:
        raise UserError(f"all {state.step} steps are done, but {evaluation.failure}; --resume evaluates again")


def _loop_settings(cfg: CfgNode, args: argparse.Namespace) -> LoopSettings:
    return LoopSettings(
        max_iter=cfg.SOLVER.MAX_ITER,
        images_per_step=cfg.NUM_GPUS * cfg.TRAIN.IMS_PER_BATCH * args.iter_size,
        iter_size=args.iter_size,
        clip_norm=cfg.SOLVER.CLIP_GRAD_NORM,
        disp_interval=args.disp_interval,
        device=torch.device(cfg.DEVICE),
        amp_dtype=amp_dtype(cfg),
        max_skipped=cfg.SOLVER.MAX_SKIPPED_STEPS,
        seed=cfg.RNG_SEED,
    )


def _log_changes(changes: Sequence[Change], *, batch_size: int, iter_size: int, devices: str) -> None:
    effective = f", {iter_size} batches an update" if iter_size > 1 else ""
    _LOGGER.info("batch of %d image%s on %s%s", batch_size, "" if batch_size == 1 else "s", devices, effective)
    for change in changes:
        _LOGGER.info("adapted %s", change)
    if iter_size > 1:
        _LOGGER.info(
            "the gradient is the mean over the %d batches; SOLVER.BASE_LR is not raised for it (--lr X sets it)",
            iter_size,
        )


def _describe_devices(cfg: CfgNode) -> str:
    processes = f", one for each of {world_size()} processes" if world_size() > 1 else ""
    names = ", ".join(str(device) for device in own_devices(cfg))
    return f"{count_devices(cfg)} devices ({names}{processes})" if count_devices(cfg) > 1 else names


def _run_folder(cfg: CfgNode, args: argparse.Namespace, start: Start) -> Path:
    if args.output_dir is not None:
        return Path(args.output_dir)
    if start.is_resumed and start.source is not None and start.source.parent.name == "ckpt":
        return start.source.parent.parent
    return new_run_folder(cfg.OUTPUT_DIR, Path(args.cfg_file).stem)
