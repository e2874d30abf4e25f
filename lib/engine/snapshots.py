"""Hooks of the loop that write checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fpt.checkpoint.checkpoint import Checkpoint, checkpoint_name, save_checkpoint
from fpt.utils.distributed import gather_on_main, is_main
from fpt.utils.seeding import get_rng_state, preserve_rng_state

_LOGGER = logging.getLogger("fpt")


class Snapshots:
    """Writes ``model_step<N>.pth`` every `period` steps, ``model_best.pth`` on request.

    Every process calls it, for the state of its generators; the main process writes.

    Args:
        folder: the run's ``ckpt`` folder.
        model: whose weights are written.
        optimizer: whose state is written.
        classes: names without background.
        config: resolved configuration as yaml text.
        period: steps between two checkpoints.
        pictures_per_step: pictures that one step consumes.
        start_step: step of the loop's start, where `start_pictures` had been consumed.
        start_pictures: see `start_step`.
        best: highest selection metric so far, None before the first evaluation.
    """

    def __init__(
        self,
        *,
        folder: Path,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        classes: list[str],
        config: str,
        period: int,
        pictures_per_step: int,
        start_step: int = 0,
        start_pictures: int = 0,
        best: float | None = None,
    ) -> None:
        self.folder = folder
        self.model = model
        self.optimizer = optimizer
        self.classes = classes
        self.config = config
        self.period = period
        self.pictures_per_step = pictures_per_step
        self.start_step = start_step
        self.start_pictures = start_pictures
        self.best = best
        self._last_saved: int | None = None

    def __call__(self, step: int) -> None:
        """Hook: save when `step` is a multiple of the period."""
        if step % self.period == 0:
            self.save(step)

    def save(self, step: int) -> Path:
        """Write the checkpoint of `step`, unless that has just been done; returns its path."""
        path = self.folder / checkpoint_name(step)
        if self._last_saved != step:
            self._write(path, step, {})
            self._last_saved = step
            _LOGGER.info("saved %s", path)
        return path

    def save_if_best(self, step: int, metrics: Mapping[str, Any], value: float) -> None:
        """Write ``model_best.pth`` when `value`, the selection metric, is above all earlier ones."""
        if self.best is not None and not value > self.best:
            return
        self.best = value
        self._write(self.folder / "model_best.pth", step, dict(metrics))
        _LOGGER.info("best so far (AP %.4f): saved %s", value, self.folder / "model_best.pth")

    def _write(self, path: Path, step: int, metrics: dict[str, Any]) -> None:
        generators = gather_on_main(get_rng_state())
        if is_main():
            save_checkpoint(path, self._checkpoint(step, metrics, generators))

    def _checkpoint(self, step: int, metrics: dict[str, Any], generators: list[dict[str, Any]] | None) -> Checkpoint:
        return Checkpoint(
            model=self.model.state_dict(),
            classes=list(self.classes),
            config=self.config,
            step=step,
            pictures=self.start_pictures + (step - self.start_step) * self.pictures_per_step,
            optimizer={"type": type(self.optimizer).__name__, **self.optimizer.state_dict()},
            rng=generators,
            metrics=metrics,
            best=self.best,
        )


class PeriodicEvaluation:
    """Hook: evaluate every `period` steps, log the result, keep the best checkpoint.

    The generators are left as they were, so that training goes on as it would without evaluation.

    Args:
        evaluate: returns metrics as ``{"bbox": {"AP": ...}, "segm": {...}}``.
        period: steps between two evaluations.
        last_step: evaluated too, whatever the period.
        on_metrics: gets the step, the metrics and the selection metric.
    """

    def __init__(
        self,
        *,
        evaluate: Callable[[], Mapping[str, Mapping[str, Any]]],
        period: int,
        last_step: int,
        on_metrics: Callable[[int, Mapping[str, Any], float], None],
    ) -> None:
        self.evaluate = evaluate
        self.period = period
        self.last_step = last_step
        self.on_metrics = on_metrics

    def __call__(self, step: int) -> None:
        if step % self.period and step != self.last_step:
            return
        with preserve_rng_state():
            metrics = self.evaluate()
        self.on_metrics(step, metrics, selection_metric(metrics))


def selection_metric(metrics: Mapping[str, Mapping[str, Any]]) -> float:
    """What "best" means: the mask AP where masks are evaluated, else the box AP; -1 without any."""
    for kind in ("segm", "bbox"):
        if kind in metrics:
            return float(metrics[kind].get("AP", -1.0))
    return -1.0
