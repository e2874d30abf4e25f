"""Evaluation while training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fpt.core.config_node import CfgNode
from fpt.dataloaders.concat import AnyDataset
from fpt.engine.curves import CurveWriter
from fpt.engine.snapshots import PeriodicEvaluation, Snapshots
from fpt.engine.state import TrainState
from fpt.engine.writers import JsonlWriter
from fpt.run.detect import match_classes, open_test_dataset
from fpt.run.evaluate import evaluate_opened
from fpt.utils.distributed import is_main
from fpt.utils.errors import UserError


class OpenedDataset(NamedTuple):
    """A data set that is evaluated on while training.

    Attributes:
        dataset: images and ground truth.
        labels: int64 [C + 1], its label for each label of the model; see ``match_classes``.
    """

    dataset: AnyDataset
    labels: np.ndarray


def open_test_datasets(cfg: CfgNode, class_names: tuple[str, ...]) -> list[OpenedDataset]:
    """The data sets of TEST.DATASETS when TRAIN.EVAL_PERIOD is set, else none.

    Raises:
        UserError: none is named, or one shares no class with training.
    """
    if not cfg.TRAIN.EVAL_PERIOD:
        return []
    if not cfg.TEST.DATASETS:
        raise UserError("TRAIN.EVAL_PERIOD is set, but TEST.DATASETS names no data set")
    datasets = [open_test_dataset(cfg, name) for name in cfg.TEST.DATASETS]
    source = f"training ({', '.join(cfg.TRAIN.DATASETS)})"
    return [OpenedDataset(data, match_classes(data, class_names, source=source)) for data in datasets]


def evaluation_folder(folder: Path, name: str) -> Path:
    """Where a run in `folder` writes what its evaluations of a data set find."""
    return folder / "eval" / name


def make_evaluation(
    cfg: CfgNode,
    state: TrainState,
    datasets: Sequence[OpenedDataset],
    *,
    class_names: tuple[str, ...],
    folder: Path,
    snapshots: Snapshots | None,
    curves: CurveWriter,
    should_stop: Callable[[], bool],
) -> PeriodicEvaluation | None:
    """Hook that evaluates on `datasets`, on all processes; the first data set decides which checkpoint is the best.

    Args:
        cfg: the configuration.
        state: the training; lines after its last evaluation are dropped from ``eval.jsonl``.
        datasets: none = no hook.
        class_names: of the model.
        folder: run folder; ``eval.jsonl`` and ``eval/<name>/`` are written in it.
        snapshots: keeps the best checkpoint; None keeps none.
        curves: where the metrics are drawn, too.
        should_stop: asked after each batch; True ends an evaluation without result.
    """
    if not datasets:
        return None
    log = JsonlWriter(folder / "eval.jsonl", start_step=state.evaluated) if is_main() else None

    def evaluate() -> dict[str, Any]:
        results = [
            evaluate_opened(
                cfg,
                state.model,
                test.dataset,
                evaluation_folder(folder, test.dataset.name),
                labels=test.labels,
                class_names=class_names,
                should_stop=should_stop,
            )
            for test in datasets
        ]
        return results[0]

    def on_metrics(step: int, metrics: Mapping[str, Any], value: float) -> None:
        if log is not None:
            log({"step": step, **metrics})
        curves({"step": step, **_flatten(metrics)})
        if snapshots is not None and metrics:
            snapshots.save_if_best(metrics, value)

    return PeriodicEvaluation(
        evaluate=evaluate,
        period=cfg.TRAIN.EVAL_PERIOD,
        last_step=cfg.SOLVER.MAX_ITER,
        on_metrics=on_metrics,
        state=state,
    )


def _flatten(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {
        f"{kind}/{name}": value
        for kind, part in metrics.items()
        for name, value in part.items()
        if isinstance(value, (int, float))
    }
