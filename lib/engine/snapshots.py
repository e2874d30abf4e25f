"""Hooks of the loop that write checkpoints."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

from fpt.checkpoint.checkpoint import Checkpoint
from fpt.checkpoint.store import CheckpointStore
from fpt.engine.interrupt import EvaluationStoppedError
from fpt.engine.state import TrainState
from fpt.utils.distributed import from_main, is_main
from fpt.utils.errors import UserError
from fpt.utils.seeding import preserve_rng_state

_LOGGER = logging.getLogger("fpt")


class Snapshots:
    """Writes ``model_step<N>.pth`` every `period` steps, ``model_best.pth`` on request.

    Where `period` steps take long, checkpoints are written between them too, so that no more than `max_seconds` of work
    can be lost; each of these goes when the next checkpoint is there.

    Every process calls it, the main process writes. A disk that is full, or a folder
    that can't be written, doesn't end the training: it is reported, and tried again at the next period.

    Args:
        store: the run's checkpoints.
        state: what is written.
        classes: names without background.
        config: resolved configuration as yaml text.
        period: steps between two checkpoints.
        max_seconds: time between two checkpoints; 0 = any.
    """

    def __init__(
        self,
        *,
        store: CheckpointStore,
        state: TrainState,
        classes: list[str],
        config: str,
        period: int,
        max_seconds: float = 0.0,
    ) -> None:
        self.store = store
        self.state = state
        self.classes = classes
        self.config = config
        self.period = period
        self.max_seconds = max_seconds
        self._last_saved: int | None = None
        self._tried = time.monotonic()

    def begin(self) -> None:
        """The training starts, or goes on: from here on its folder holds nothing of later steps.

        Raises:
            UserError: (on every process) the disk has no room for a single checkpoint.
        """
        self._tried = time.monotonic()
        if from_main(self._prepare_folder):
            self.state.best = None

    def _prepare_folder(self) -> bool:
        """True where the best so far is gone, as a later one took its place in a future that was given up."""
        self.store.remove_leftovers()
        has_lost_best = self.store.supersede(after=self.state.step)
        needed, free = self.state.checkpoint_bytes(), shutil.disk_usage(self.store.folder.parent).free
        if needed > free:
            raise UserError(
                f"{self.store.folder.parent} has {free / 2**20:.0f} MiB left, but a checkpoint takes about "
                f"{needed / 2**20:.0f} MiB; make room, give another --output_dir, or train with --no_save"
            )
        return has_lost_best

    def __call__(self, step: int) -> None:
        """Hook: save when `step` is a multiple of the period, or the time is over."""
        if step % self.period == 0:
            self._try(self.save)
        elif self.max_seconds and time.monotonic() - self._tried >= self.max_seconds:
            self._try(self._save_temporary)

    def save(self) -> None:
        """Write the checkpoint of the present step, unless that has just been done.

        Raises:
            OSError: it could not be written; older ones are untouched.
        """
        if is_main() and self._last_saved != self.state.step:
            self._write()
            self._last_saved = self.state.step

    def _save_temporary(self) -> None:
        if is_main():
            self._write(is_temporary=True)

    def _write(self, *, is_temporary: bool = False) -> None:
        path = self.store.save(self._checkpoint({}), is_temporary=is_temporary)
        _LOGGER.info("saved %s", path)

    def save_last(self) -> None:
        """As `save`, at the end of the training.

        Raises:
            UserError: (on every process) it could not be written.
        """
        from_main(self._save_or_explain)

    def save_in_emergency(self) -> None:
        """After an error: write the last finished step, if it is whole and there is one; never raises."""
        if self.state.is_consistent and self.state.step:
            self._try(self.save)

    def save_if_best(self, metrics: Mapping[str, Any], value: float) -> None:
        """Write ``model_best.pth`` when `value`, the selection metric, is above all earlier ones."""
        if self.state.best is not None and not value > self.state.best:
            return
        self.state.best = value
        if is_main():
            self._try(lambda: self._save_best(metrics, value))

    def _save_best(self, metrics: Mapping[str, Any], value: float) -> None:
        path = self.store.save_best(self._checkpoint(dict(metrics)))
        _LOGGER.info("best so far (%.4f): saved %s", value, path)

    def _save_or_explain(self) -> None:
        try:
            self.save()
        except OSError as error:
            raise UserError(
                f"the checkpoint of step {self.state.step} could not be written ({error}); make room or give another "
                f"--output_dir, and go on with --resume from the newest one in {self.store.folder}"
            ) from error

    def _checkpoint(self, metrics: dict[str, Any]) -> Checkpoint:
        return self.state.to_checkpoint(classes=self.classes, config=self.config, metrics=metrics)

    def _try(self, write: Callable[[], None]) -> None:
        self._tried = time.monotonic()
        try:
            write()
        except OSError as error:
            _LOGGER.error("no checkpoint of step %d: %s; older ones are untouched", self.state.step, error)


class PeriodicEvaluation:
    """Hook: evaluate every `period` steps, log the result, keep the best checkpoint.

    The generators are left as they were, so that training goes on as it would without evaluation. So it does after an
    evaluation that fails, of an image that can't be read or a full disk: that is reported, and `failure` tells of the
    last one.

    Args:
        evaluate: returns metrics as ``{"bbox": {"AP": ...}, "segm": {...}, "keypoints": {...}}``.
        period: steps between two evaluations.
        last_step: evaluated too, whatever the period.
        on_metrics: gets the step, the metrics and the selection metric.
        state: whose averaged weights, if there are any, are evaluated; remembers the step of the last evaluation.

    Attributes:
        failure: why the last evaluation has no result; empty if it has one.
        metrics: of the last evaluation that had a result, None before.
    """

    def __init__(
        self,
        *,
        evaluate: Callable[[], Mapping[str, Mapping[str, Any]]],
        period: int,
        last_step: int,
        on_metrics: Callable[[int, Mapping[str, Any], float], None],
        state: TrainState,
    ) -> None:
        self.evaluate = evaluate
        self.period = period
        self.last_step = last_step
        self.on_metrics = on_metrics
        self.state = state
        self.failure = ""
        self.metrics: Mapping[str, Mapping[str, Any]] | None = None

    def __call__(self, step: int) -> None:
        if not self.is_due(step):
            return
        average = self.state.average
        self.failure = ""
        try:
            with preserve_rng_state(), nullcontext() if average is None else average.applied():
                metrics = self.evaluate()
        except EvaluationStoppedError:
            _LOGGER.warning("the evaluation after step %d is left out; --resume makes up for it", step)
            return
        except UserError as error:
            self.failure = f"the evaluation after step {step} has failed: {error}"
            _LOGGER.error("%s", self.failure)
            return
        self.state.evaluated, self.metrics = step, metrics
        self.on_metrics(step, metrics, selection_metric(metrics))

    def is_due(self, step: int) -> bool:
        """Whether there is an evaluation after `step`, and it has not been made."""
        return step > self.state.evaluated and (step % self.period == 0 or step == self.last_step)


def selection_metric(metrics: Mapping[str, Mapping[str, Any]]) -> float:
    """What "best" means: the mIoU, or the AP of key points, of masks, of boxes: the first that there is; else -1."""
    if "semantic" in metrics:
        return float(metrics["semantic"]["mIoU"])
    for kind in ("keypoints", "segm", "bbox"):
        if kind in metrics:
            return float(metrics[kind].get("AP", -1.0))
    return -1.0
