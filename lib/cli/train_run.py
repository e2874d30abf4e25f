"""One training run, from the configuration to the last checkpoint."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from fpt.cli.devices import count_devices, own_devices, spread
from fpt.cli.run_folder import new_run_folder, start_run_folder
from fpt.cli.train_evaluation import make_evaluation, open_test_datasets
from fpt.cli.train_start import Start, build_training, read_start
from fpt.core.config_node import CfgNode
from fpt.dataloaders.build import build_train_loader
from fpt.dataloaders.loader import PictureLoader
from fpt.engine.interrupt import StopSignals
from fpt.engine.resume import restore_generators
from fpt.engine.snapshots import Snapshots
from fpt.engine.train_loop import Hook, LoopSettings, Writer, train
from fpt.engine.writers import JsonlWriter, ProgressWriter, TensorboardWriter
from fpt.solver.batch_scaling import Change
from fpt.solver.build import amp_dtype, build_schedule
from fpt.utils.distributed import from_main, is_main, rank, world_size
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
        The exit status: 0, or 130, 138 and 143 after a signal.
    """
    batch_size = cfg.NUM_GPUS * cfg.TRAIN.IMS_PER_BATCH
    _log_changes(changes, batch_size=batch_size, iter_size=args.iter_size, devices=_describe_devices(cfg))
    seed_everything(cfg.RNG_SEED)
    start = read_start(args, pictures_per_step=batch_size * args.iter_size)
    loader = build_train_loader(
        cfg,
        batch_size=batch_size,
        num_workers=cfg.DATA_LOADER.NUM_THREADS,
        start_batch=start.pictures // batch_size,
    )
    class_names = tuple(loader.dataset.class_names)  # type: ignore[attr-defined]
    model, optimizer = build_training(cfg, class_names, start)
    datasets = open_test_datasets(cfg, class_names)
    folder = _run_folder(cfg, args, start)
    from_main(
        lambda: start_run_folder(folder, cfg, program="fpt-train", arguments=arguments, is_resumed=start.is_resumed)
    )
    snapshots = Snapshots(
        folder=folder / "ckpt",
        model=model,
        optimizer=optimizer,
        classes=list(class_names),
        config=cfg.dump(),
        period=cfg.TRAIN.SNAPSHOT_ITERS,
        pictures_per_step=batch_size * args.iter_size,
        start_step=start.step,
        start_pictures=start.pictures,
        best=start.resumed.best if start.resumed else None,
    )
    kept = None if args.no_save else snapshots
    has_curves = args.use_tfboard and is_main()
    curves = TensorboardWriter(folder / "tensorboard", start_step=start.step) if has_curves else None
    hooks: list[Hook] = []  # evaluation first: the snapshot then knows the best value
    if datasets:
        hooks.append(
            make_evaluation(cfg, model, datasets, folder=folder, snapshots=kept, curves=curves, start_step=start.step)
        )
    if kept is not None:
        hooks.append(kept)
    writers: list[Writer] = []
    if is_main():
        writers.append(ProgressWriter(max_iter=cfg.SOLVER.MAX_ITER))
        writers.append(JsonlWriter(folder / "metrics.jsonl", start_step=start.step))
        writers += [] if curves is None else [curves]
    try:
        return _train(cfg, args, model, optimizer, loader, start=start, kept=kept, writers=writers, hooks=hooks)
    finally:
        if curves is not None:
            curves.close()


def _train(
    cfg: CfgNode,
    args: argparse.Namespace,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    loader: PictureLoader,
    *,
    start: Start,
    kept: Snapshots | None,
    writers: list[Writer],
    hooks: list[Hook],
) -> int:
    settings = LoopSettings(
        start_step=start.step,
        max_iter=cfg.SOLVER.MAX_ITER,
        iter_size=args.iter_size,
        clip_norm=cfg.SOLVER.CLIP_GRAD_NORM,
        disp_interval=args.disp_interval,
        device=torch.device(cfg.DEVICE),
        amp_dtype=amp_dtype(cfg),
    )
    if start.step >= settings.max_iter:
        _LOGGER.info("nothing to train: %d steps are done, SOLVER.MAX_ITER is %d", start.step, settings.max_iter)
        return 0
    with StopSignals() as stop:  # around the start of the workers, which inherit the handlers
        if not is_main():
            seed_everything(cfg.RNG_SEED, process=rank())
        if start.resumed is not None:
            restore_generators(start.resumed, source=start.source or "")
        step = train(
            model=spread(model, cfg),
            optimizer=optimizer,
            schedule=build_schedule(cfg),
            batches=iter(loader),
            settings=settings,
            writers=writers,
            hooks=hooks,
            should_stop=stop.is_agreed,
        )
        if kept is not None:
            kept.save(step)
    if stop.received is not None:
        _LOGGER.warning("stopped by signal %d after step %d; go on with --resume", stop.received, step)
    return stop.exit_status


def _log_changes(changes: Sequence[Change], *, batch_size: int, iter_size: int, devices: str) -> None:
    effective = f", {iter_size} batches an update" if iter_size > 1 else ""
    _LOGGER.info("batch of %d picture%s on %s%s", batch_size, "" if batch_size == 1 else "s", devices, effective)
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
