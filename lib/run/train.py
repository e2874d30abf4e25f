"""One training run, from the configuration to the last checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fpt.checkpoint.store import BEST, CheckpointStore, checkpoints_in
from fpt.core.config_node import CfgNode
from fpt.dataloaders.build import build_train_loader
from fpt.dataloaders.collate import Batch
from fpt.dataloaders.concat import ConcatImages
from fpt.engine.bad_sample_report import BadSampleReport
from fpt.engine.interrupt import StopSignals
from fpt.engine.snapshots import PeriodicEvaluation, Snapshots
from fpt.engine.train_loop import Hook, LoopSettings
from fpt.engine.train_loop import train as run_loop
from fpt.engine.writers import SkippedStepsWriter
from fpt.modeling.detector import compile_backbone
from fpt.parallel.processes import process_group
from fpt.run.adapt import adapt_to_batch, resolve_config
from fpt.run.devices import describe_devices, parallelize
from fpt.run.evaluate import evaluation_files
from fpt.run.folder import growing_files, new_run_folder, start_run_folder
from fpt.run.keypoints import keypoints_of_data
from fpt.run.options import RunOptions
from fpt.run.periodic_evaluation import evaluation_folder, make_evaluation, open_test_datasets
from fpt.run.pixels import resolve_pixels
from fpt.run.reporting import check_packages, make_curves, make_profile, make_writers
from fpt.run.start import build_training, read_start
from fpt.run.training_images import TrainingImages
from fpt.solver.build import amp_dtype, build_schedule
from fpt.utils.distributed import from_main
from fpt.utils.errors import LoaderError, UserError
from fpt.utils.folder_lock import locked_folder
from fpt.utils.heap import keep_freed_memory
from fpt.utils.logging import run_logging
from fpt.utils.memory import frozen_objects
from fpt.utils.seeding import seed_everything

_LOGGER = logging.getLogger("fpt")


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a training leaves.

    Attributes:
        output_dir: the run folder.
        step: finished steps.
        model: with the weights of the last step, on cfg.DEVICE.
        class_names: of the data set; label i + 1 is class_names[i].
        checkpoint: the newest checkpoint, None without any.
        best_checkpoint: that of the best evaluation, None without any.
        metrics: of the last evaluation, as ``fpt.evaluate`` returns them; None without any.
        skipped: steps that were left out, because a loss or gradient was not finite.
        signal: number of the signal that has stopped the training early, None if none has.
    """

    output_dir: Path
    step: int
    model: nn.Module
    class_names: tuple[str, ...]
    checkpoint: Path | None
    best_checkpoint: Path | None
    metrics: Mapping[str, Any] | None
    skipped: int
    signal: int | None

    @property
    def exit_status(self) -> int:
        """What a command that has trained exits with: 0, or 128 + the signal that has stopped it."""
        return 0 if self.signal is None else 128 + self.signal


def train(cfg: CfgNode, options: RunOptions | None = None) -> TrainResult:
    """Train the model that the configuration describes; under torchrun, on every process.

    Everything is built before the run folder is made, so that a wrong input leaves none behind.

    Args:
        cfg: from ``load_cfg`` or ``get_cfg``; it is not changed.
        options: where to, from where, how often; None = the defaults.

    Raises:
        UserError: wrong input; or, after the last step, its evaluation has failed.
        NonFiniteLossError: the training has diverged.
        LoaderError: the loader hung, or lost a worker.
    """
    options = options or RunOptions()
    keep_freed_memory()
    with process_group(), run_logging(), ExitStack() as locks:
        return _Run(adapt_to_batch(resolve_config(cfg), options), options, locks).train()


class _Run:
    """The parts of a training run; `locks` keeps its folder locked."""

    def __init__(self, cfg: CfgNode, options: RunOptions, locks: ExitStack) -> None:
        self.cfg, self.options = cfg, options
        self._locks, self._is_locked = locks, False
        batch_size = cfg.NUM_GPUS * cfg.TRAIN.IMS_PER_BATCH
        _log_batch(cfg, batch_size=batch_size, iter_size=options.iter_size)
        check_packages(options)
        seed_everything(cfg.RNG_SEED)
        self.images_per_step = batch_size * options.iter_size
        start = read_start(options, cfg, images_per_step=self.images_per_step, lock=self._lock)
        cfg = resolve_pixels(cfg, start.checkpoint)
        self.loader = build_train_loader(
            cfg,
            batch_size=batch_size,
            num_workers=cfg.DATA_LOADER.NUM_THREADS,
            start_batch=start.images // batch_size,
        )
        dataset: ConcatImages = self.loader.dataset  # type: ignore[assignment]
        self.class_names = dataset.class_names
        self.cfg = cfg = keypoints_of_data(cfg, dataset.keypoint_layout)
        self.state = build_training(cfg, self.class_names, start)
        if cfg.MODEL.COMPILE:
            compile_backbone(self.state.model)
        self.datasets = open_test_datasets(cfg, self.class_names)
        self.folder = from_main(lambda: start.run or new_run_folder(cfg.OUTPUT_DIR, options.name))
        self.start_step, self.identity = start.step, start.identity
        self.stop = StopSignals()

    def train(self) -> TrainResult:
        """Make the run folder, attach what reports, run the loop."""
        cfg, options, state, folder = self.cfg, self.options, self.state, self.folder
        from_main(self._start_folder)
        snapshots = self._make_snapshots() if options.saves_checkpoints else None
        curves = make_curves(cfg, options, folder, start_step=self.start_step)
        evaluation = make_evaluation(
            cfg,
            state,
            self.datasets,
            class_names=self.class_names,
            folder=folder,
            snapshots=snapshots,
            curves=curves,
            should_stop=self.stop.has_received,
        )
        report = BadSampleReport(folder / "bad_samples.jsonl", self.loader.dataset, start_step=self.start_step)  # type: ignore[arg-type]
        profile = make_profile(options, state, folder)
        images = None
        if cfg.TRAIN.VIS_PERIOD:
            images = TrainingImages(cfg, state, class_names=self.class_names, folder=folder, curves=curves)
        try:
            with frozen_objects():
                self._run_loop(
                    report.watch(self.loader, batches_per_step=options.iter_size),
                    snapshots=snapshots,
                    evaluation=evaluation,
                    observers=[hook for hook in (images, profile) if hook is not None],
                    writers=make_writers(cfg, options, folder, curves, start_step=self.start_step),
                )
        finally:
            if profile is not None:
                profile.close()
            curves.close()
        return self._result(evaluation)

    def _lock(self, folder: Path) -> None:
        """Keep other trainings out of the folder until this one ends; on the main process."""
        if not self._is_locked:
            self._locks.enter_context(locked_folder(folder))
            self._is_locked = True

    def _start_folder(self) -> None:
        self._lock(self.folder)
        evaluations = [evaluation_folder(self.folder, test.dataset.name) for test in self.datasets]
        start_run_folder(
            self.folder,
            self.cfg,
            command=self.options.command,
            identity=self.identity,
            growing=growing_files(self.folder, self.options),
            later=[path for folder in evaluations for path in evaluation_files(folder)],
        )

    def _make_snapshots(self) -> Snapshots:
        train = self.cfg.TRAIN
        return Snapshots(
            store=CheckpointStore(self.folder / "ckpt", keep_last=train.KEEP_CHECKPOINTS, keep_every=train.KEEP_EVERY),
            state=self.state,
            classes=list(self.class_names),
            config=self.cfg.dump(),
            period=train.SNAPSHOT_ITERS,
            max_seconds=60.0 * train.SNAPSHOT_MINUTES,
        )

    def _run_loop(
        self,
        batches: Iterator[Batch],
        *,
        snapshots: Snapshots | None,
        evaluation: PeriodicEvaluation | None,
        observers: Sequence[Hook],
        writers: list[Any],
    ) -> None:
        state, settings = self.state, self._loop_settings()
        is_done = state.step >= settings.max_iter
        if is_done and not (evaluation is not None and evaluation.is_due(state.step)):
            _LOGGER.info("nothing to train: %d steps are done, SOLVER.MAX_ITER is %d", state.step, settings.max_iter)
            return
        hooks: list[Hook] = [
            hook for hook in (evaluation, snapshots, *observers) if hook is not None
        ]  # best value first
        if snapshots is not None:
            snapshots.begin()
        with self.stop, self._saving_in_emergency(snapshots):
            if evaluation is not None:
                evaluation(state.step)  # of a run that was stopped before it
            if not self.stop.is_agreed():
                run_loop(
                    model=parallelize(state.model, self.cfg),
                    state=state,
                    schedule=build_schedule(self.cfg),
                    batches=batches,
                    settings=settings,
                    writers=writers,
                    hooks=hooks,
                    should_stop=self.stop.is_agreed,
                    on_skip=SkippedStepsWriter(self.folder / "skipped_steps.jsonl", start_step=self.start_step),
                )
            if snapshots is not None:
                snapshots.save_last()
        self._report_end(evaluation)

    @contextmanager
    def _saving_in_emergency(self, snapshots: Snapshots | None) -> Iterator[None]:
        """Where the training fails, the last finished step is saved; the signal of a launcher that ends all waits."""
        try:
            yield
        except Exception as error:
            if snapshots is not None:
                snapshots.save_in_emergency()
            if self.stop.received is None or not isinstance(error, LoaderError):
                raise
            _LOGGER.warning("%s: it may have got the signal, too", error)

    def _report_end(self, evaluation: PeriodicEvaluation | None) -> None:
        """Say what the end lacks; UserError if that is the last evaluation."""
        state, received = self.state, self.stop.received
        if state.skipped:
            _LOGGER.warning(
                "%d of %d steps were left out: no finite loss or gradient (skipped_steps.jsonl)",
                state.skipped,
                state.step,
            )
        if received is not None:
            _LOGGER.warning("stopped by signal %d after step %d; go on with --resume", received, state.step)
        elif evaluation is not None and evaluation.failure:
            raise UserError(f"all {state.step} steps are done, but {evaluation.failure}; --resume evaluates again")

    def _loop_settings(self) -> LoopSettings:
        cfg, options = self.cfg, self.options
        return LoopSettings(
            max_iter=cfg.SOLVER.MAX_ITER,
            images_per_step=self.images_per_step,
            iter_size=options.iter_size,
            clip_norm=cfg.SOLVER.CLIP_GRAD_NORM,
            disp_interval=options.disp_interval,
            device=torch.device(cfg.DEVICE),
            amp_dtype=amp_dtype(cfg),
            max_skipped=cfg.SOLVER.MAX_SKIPPED_STEPS,
            seed=cfg.RNG_SEED,
        )

    def _result(self, evaluation: PeriodicEvaluation | None) -> TrainResult:
        best = self.folder / "ckpt" / BEST
        newest = [path for path in checkpoints_in(self.folder / "ckpt") if path != best]
        return TrainResult(
            output_dir=self.folder,
            step=self.state.step,
            model=self.state.model,
            class_names=self.class_names,
            checkpoint=newest[0] if newest else None,
            best_checkpoint=best if best.is_file() else None,
            metrics=None if evaluation is None else evaluation.metrics,
            skipped=self.state.skipped,
            signal=self.stop.received,
        )


def _log_batch(cfg: CfgNode, *, batch_size: int, iter_size: int) -> None:
    effective = f", {iter_size} batches an update" if iter_size > 1 else ""
    images = "image" if batch_size == 1 else "images"
    _LOGGER.info("batch of %d %s on %s%s", batch_size, images, describe_devices(cfg), effective)
