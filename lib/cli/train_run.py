"""One training run, from the configuration to the last checkpoint."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fpt.checkpoint.checkpoint import Checkpoint, load_checkpoint, load_weights, newest_checkpoint
from fpt.cli.evaluate import detect_dataset, evaluate_detections, open_test_dataset
from fpt.cli.run_folder import new_run_folder, start_run_folder
from fpt.core.config import with_absolute_paths
from fpt.core.config_node import CfgNode
from fpt.dataloaders.build import build_train_loader
from fpt.dataloaders.coco import CocoDataset
from fpt.dataloaders.loader import PictureLoader
from fpt.engine.interrupt import StopSignals
from fpt.engine.resume import check_classes, restore_training
from fpt.engine.snapshots import PeriodicEvaluation, Snapshots
from fpt.engine.train_loop import Hook, LoopSettings, Writer, train
from fpt.engine.writers import JsonlWriter, ProgressWriter, TensorboardWriter
from fpt.modeling.build import build_model, load_pretrained_body
from fpt.solver.batch_scaling import Change
from fpt.solver.build import amp_dtype, build_optimizer, build_schedule
from fpt.utils.errors import UserError
from fpt.utils.seeding import seed_everything, set_rng_state

_LOGGER = logging.getLogger("fpt")


class TrainingRun:
    """Builds everything first, so that a wrong input leaves no folder behind; then trains.

    Args:
        cfg: frozen, adapted to the batch size.
        args: parsed command line.
        arguments: the command line as it was given, for environment.json.
        changes: what the command line changed in the configuration, to be logged.
    """

    def __init__(
        self, cfg: CfgNode, args: argparse.Namespace, *, arguments: Sequence[str], changes: Sequence[Change]
    ) -> None:
        self.cfg = cfg
        self.args = args
        self.arguments = arguments
        self.changes = changes
        self.batch_size = int(cfg.NUM_GPUS * cfg.TRAIN.IMS_PER_BATCH)
        self.device = torch.device(cfg.DEVICE)

    def run(self) -> int:
        """Train; returns the exit status."""
        self._log_changes()
        seed_everything(self.cfg.RNG_SEED)
        source, checkpoint = self._read_checkpoint()
        start_step, start_pictures = self._start(checkpoint)
        loader = build_train_loader(
            self.cfg,
            batch_size=self.batch_size,
            num_workers=self.cfg.DATA_LOADER.NUM_THREADS,
            start_batch=start_pictures // self.batch_size,
        )
        model, optimizer = self._build(loader, source, checkpoint)
        test_datasets = self._open_test_datasets(_class_names(loader))
        folder = self._run_folder(source)
        start_run_folder(folder, self.cfg, program="fpt-train", arguments=self.arguments, is_resumed=self.args.resume)
        snapshots = Snapshots(
            folder=folder / "ckpt",
            model=model,
            optimizer=optimizer,
            classes=list(_class_names(loader)),
            config=with_absolute_paths(self.cfg).dump(),
            period=self.cfg.TRAIN.SNAPSHOT_ITERS,
            pictures_per_step=self.batch_size * self.args.iter_size,
            start_step=start_step,
            start_pictures=start_pictures,
            best=checkpoint.best if checkpoint and self.args.resume else None,
        )
        writers = self._writers(folder, start_step)
        hooks = self._hooks(model, snapshots, test_datasets, folder, writers)
        rng = checkpoint.rng if checkpoint and self.args.resume else None
        status = self._train(model, optimizer, loader, snapshots, writers, hooks, rng, start_step)
        for writer in writers:
            if isinstance(writer, TensorboardWriter):
                writer.close()
        return status

    def _log_changes(self) -> None:
        iter_size = self.args.iter_size
        effective = f", {iter_size} batches an update" if iter_size > 1 else ""
        _LOGGER.info("batch of %d pictures on %s%s", self.batch_size, self.cfg.DEVICE, effective)
        for change in self.changes:
            _LOGGER.info("adapted %s", change)
        if iter_size > 1:
            _LOGGER.info(
                "the gradient is the mean over the %d batches; SOLVER.BASE_LR is not raised for it (--lr X sets it)",
                iter_size,
            )

    def _read_checkpoint(self) -> tuple[Path | None, Checkpoint | None]:
        path: Path | None = self.args.load_ckpt
        if self.args.resume and path is None:
            if self.args.output_dir is None:
                raise UserError("--resume needs --output_dir DIR (its newest checkpoint) or --load_ckpt FILE")
            path = newest_checkpoint(self.args.output_dir)
        return path, None if path is None else load_checkpoint(path)

    def _start(self, checkpoint: Checkpoint | None) -> tuple[int, int]:
        """Finished steps and consumed pictures at the start."""
        if checkpoint is not None and self.args.resume:
            if self.args.start_step not in (0, checkpoint.step):
                _LOGGER.warning("--start_step %d: the checkpoint's %d counts", self.args.start_step, checkpoint.step)
            return checkpoint.step, checkpoint.pictures
        return self.args.start_step, self.args.start_step * self.batch_size * self.args.iter_size

    def _build(
        self, loader: PictureLoader, source: Path | None, checkpoint: Checkpoint | None
    ) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        class_names = _class_names(loader)
        model = build_model(self.cfg, num_classes=len(class_names) + 1)
        if checkpoint is None:
            load_pretrained_body(model, self.cfg)
        model.to(self.device)
        optimizer = build_optimizer(self.cfg, model)
        if checkpoint is None or source is None:
            return model, optimizer
        if self.args.resume:
            names = ", ".join(self.cfg.TRAIN.DATASETS)
            check_classes(checkpoint, class_names, source=source, dataset=names)
            restore_training(
                checkpoint, model=model, optimizer=optimizer, num_classes=len(class_names) + 1, source=source
            )
            _LOGGER.info("resumed from %s at step %d", source, checkpoint.step)
            return model, optimizer
        fresh = load_weights(model, checkpoint, num_classes=len(class_names) + 1, source=source)
        _LOGGER.info("loaded the weights of %s", source)
        if fresh:
            _LOGGER.warning("another number of classes: these start afresh: %s", ", ".join(fresh))
        elif tuple(checkpoint.classes) != class_names:
            _LOGGER.warning("the checkpoint was trained on other classes of the same number: %s", checkpoint.classes)
        return model, optimizer

    def _open_test_datasets(self, class_names: tuple[str, ...]) -> list[CocoDataset]:
        if not self.cfg.TRAIN.EVAL_PERIOD:
            return []
        if not self.cfg.TEST.DATASETS:
            raise UserError("TRAIN.EVAL_PERIOD is set, but TEST.DATASETS names no data set")
        datasets = [open_test_dataset(self.cfg, name) for name in self.cfg.TEST.DATASETS]
        for dataset in datasets:
            if dataset.class_names != class_names:
                raise UserError(
                    f"data set {dataset.name} of TEST.DATASETS has the classes {list(dataset.class_names)}, but "
                    f"training has {list(class_names)}"
                )
        return datasets

    def _run_folder(self, source: Path | None) -> Path:
        if self.args.output_dir is not None:
            return Path(self.args.output_dir)
        if self.args.resume and source is not None and source.parent.name == "ckpt":
            return source.parent.parent
        return new_run_folder(self.cfg.OUTPUT_DIR, Path(self.args.cfg_file).stem)

    def _writers(self, folder: Path, start_step: int) -> list[Writer]:
        writers: list[Writer] = [ProgressWriter(max_iter=self.cfg.SOLVER.MAX_ITER)]
        writers.append(JsonlWriter(folder / "metrics.jsonl", start_step=start_step))
        if self.args.use_tfboard:
            writers.append(TensorboardWriter(folder / "tensorboard", start_step=start_step))
        return writers

    def _hooks(
        self,
        model: torch.nn.Module,
        snapshots: Snapshots,
        datasets: list[CocoDataset],
        folder: Path,
        writers: list[Writer],
    ) -> list[Hook]:
        """Evaluation before the snapshot, so that the snapshot knows the best value."""
        hooks: list[Hook] = []
        if datasets:
            hooks.append(self._evaluation(model, snapshots, datasets, folder, writers))
        if not self.args.no_save:
            hooks.append(snapshots)
        return hooks

    def _evaluation(
        self,
        model: torch.nn.Module,
        snapshots: Snapshots,
        datasets: list[CocoDataset],
        folder: Path,
        writers: list[Writer],
    ) -> PeriodicEvaluation:
        def evaluate() -> dict[str, Any]:
            results = [
                evaluate_detections(self.cfg, data, detect_dataset(self.cfg, model, data), folder / "eval" / data.name)
                for data in datasets
            ]
            return results[0]

        def keep(step: int, metrics: Any, value: float) -> None:
            with (folder / "eval.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **metrics}) + "\n")
            flat = {f"{kind}/{name}": v for kind, part in metrics.items() for name, v in part.items() if _is_number(v)}
            for writer in writers:
                if isinstance(writer, TensorboardWriter):
                    writer({"step": step, **flat})
            if not self.args.no_save:
                snapshots.save_if_best(step, metrics, value)

        return PeriodicEvaluation(
            evaluate=evaluate, period=self.cfg.TRAIN.EVAL_PERIOD, last_step=self.cfg.SOLVER.MAX_ITER, on_metrics=keep
        )

    def _train(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        loader: PictureLoader,
        snapshots: Snapshots,
        writers: list[Writer],
        hooks: list[Hook],
        rng: dict[str, Any] | None,
        start_step: int,
    ) -> int:
        settings = LoopSettings(
            start_step=start_step,
            max_iter=self.cfg.SOLVER.MAX_ITER,
            iter_size=self.args.iter_size,
            clip_norm=self.cfg.SOLVER.CLIP_GRAD_NORM,
            disp_interval=self.args.disp_interval,
            device=self.device,
            amp_dtype=amp_dtype(self.cfg),
        )
        if start_step >= settings.max_iter:
            _LOGGER.info("nothing to train: %d steps are done, SOLVER.MAX_ITER is %d", start_step, settings.max_iter)
            return 0
        with StopSignals() as stop:
            batches = iter(loader)
            if rng is not None:  # after the loader: starting its workers draws from the generators
                set_rng_state(rng)
            step = train(
                model=model,
                optimizer=optimizer,
                schedule=build_schedule(self.cfg),
                batches=batches,
                settings=settings,
                writers=writers,
                hooks=hooks,
                should_stop=lambda: stop.received is not None,
            )
            if not self.args.no_save:
                snapshots.save(step)
        if stop.received is not None:
            _LOGGER.warning("stopped by signal %d after step %d; go on with --resume", stop.received, step)
        return stop.exit_status


def _class_names(loader: PictureLoader) -> tuple[str, ...]:
    return tuple(loader.dataset.class_names)  # type: ignore[attr-defined]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))
