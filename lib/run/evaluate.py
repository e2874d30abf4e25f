"""Evaluation of a model, or of a checkpoint, on whole data sets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fpt.annotations.ground_truth import GroundTruth
from fpt.core.config_node import CfgNode
from fpt.dataloaders.build import check_range
from fpt.dataloaders.coco import CocoDataset
from fpt.dataloaders.concat import AnyDataset
from fpt.dataloaders.proposals import pack_proposals, write_proposals
from fpt.dataloaders.semantic.dataset import SemanticDataset
from fpt.evaluation.evaluate import evaluate_dataset
from fpt.parallel.processes import process_group
from fpt.run.adapt import resolve_config
from fpt.run.detect import detect_dataset, match_classes, open_test_dataset
from fpt.run.devices import own_devices, parallelize
from fpt.run.draw_dataset import draw_dataset, drawing_files
from fpt.run.folder import log_files, start_log
from fpt.run.options import EvaluationOptions
from fpt.run.segment import segment_dataset, submission_files
from fpt.run.trained_model import load_trained_model
from fpt.structures.detections import Detections
from fpt.utils.distributed import from_main, is_distributed, is_main, world_size
from fpt.utils.errors import UserError
from fpt.utils.heap import keep_freed_memory
from fpt.utils.logging import run_logging
from fpt.utils.own_files import check_outputs, claim_outputs, recorded
from fpt.utils.seeding import seed_everything

_LOGGER = logging.getLogger("fpt")

PROPOSALS = "proposals.npz"
"""What a model of proposals alone finds, for TRAIN.PROPOSAL_FILES and TEST.PROPOSAL_FILES."""


def evaluate(
    cfg: CfgNode, model: nn.Module, dataset: str | AnyDataset, options: EvaluationOptions | None = None
) -> dict[str, Any]:
    """COCO's metrics of a model on a data set; under torchrun each process takes its part of the images.

    Args:
        cfg: the configuration that the model was built with.
        model: as ``build_model`` or ``train`` gives it; comes back in the mode that it was in, on cfg.DEVICE.
        dataset: name of a data set, or one that was opened by `open_test_dataset`.
        options: where the results go, which images; None = the defaults.

    Returns:
        {"bbox": {"AP": ..., ...}, "segm": {...}}, fractions of 1; "segm" where model and data set have masks.

    Raises:
        UserError: the data set is unknown or does not fit, an image cannot be read, or the results cannot be written.
    """
    options = options or EvaluationOptions()
    with process_group(), run_logging():
        cfg = resolve_config(cfg)
        model.to(torch.device(cfg.DEVICE))
        opened = open_test_dataset(cfg, dataset) if isinstance(dataset, str) else dataset
        classes = opened.class_names if options.class_names is None else options.class_names
        labels = match_classes(opened, classes, source="the model")
        return _evaluate_and_draw(cfg, model, opened, options, labels, tuple(classes))[0]


@dataclass(frozen=True, kw_only=True)
class EvaluatedCheckpoint:
    """What an evaluation of a checkpoint gives.

    Attributes:
        metrics: by the name of the data set, as `evaluate` returns them.
        failures: drawings that could not be written.
    """

    metrics: dict[str, dict[str, Any]]
    failures: list[Path]


def evaluate_checkpoint(
    cfg: CfgNode, checkpoint: Path, options: EvaluationOptions | None = None
) -> EvaluatedCheckpoint:
    """Evaluate a checkpoint on every data set of TEST.DATASETS.

    Each data set's results go into a folder of its own where there are several.

    Args:
        cfg: the configuration that the checkpoint was trained with.
        checkpoint: its file.
        options: `output_dir` None means ``test/`` in the checkpoint's run folder.

    Raises:
        UserError: no data set is named, the checkpoint or a data set does not fit, or the results cannot be written.
    """
    keep_freed_memory()
    options = options or EvaluationOptions()
    with process_group(), run_logging():
        cfg = resolve_config(cfg)
        if not cfg.TEST.DATASETS:
            raise UserError("no data set to evaluate on: give --dataset NAME, or set TEST.DATASETS in the yaml file")
        seed_everything(cfg.RNG_SEED)
        datasets = [open_test_dataset(cfg, name) for name in cfg.TEST.DATASETS]
        if options.index_range is not None:
            for dataset in datasets:
                check_range(dataset, *options.index_range)
        output_dir = options.output_dir or default_output_dir(checkpoint)
        parts = [
            EvaluationOptions(
                output_dir=output_dir / dataset.name if len(datasets) > 1 else output_dir,
                index_range=options.index_range,
                draws=options.draws or cfg.VIS,
            )
            for dataset in datasets
        ]
        from_main(lambda: _check_outputs(cfg, output_dir, options.command, datasets, parts))
        trained = load_trained_model(checkpoint, cfg)
        labels = [match_classes(dataset, trained.class_names, source=checkpoint) for dataset in datasets]
        from_main(lambda: start_log(output_dir, command=options.command))
        _LOGGER.info("evaluating on %s", _describe_devices(cfg, uses_all=options.uses_all_gpus))
        model: nn.Module = trained.model
        if options.uses_all_gpus and not is_distributed():
            model = parallelize(model, cfg).eval()
        _LOGGER.info("checkpoint %s: %d steps", checkpoint, trained.step)
        result = EvaluatedCheckpoint(metrics={}, failures=[])
        for dataset, part, own_labels in zip(datasets, parts, labels, strict=True):
            metrics, failures = _evaluate_and_draw(cfg, model, dataset, part, own_labels, trained.class_names)
            result.metrics[dataset.name] = metrics
            result.failures.extend(failures)
            _LOGGER.info("results: %s", part.output_dir)
        return result


def _check_outputs(
    cfg: CfgNode,
    output_dir: Path,
    command: Sequence[str],
    datasets: Sequence[AnyDataset],
    parts: Sequence[EvaluationOptions],
) -> None:
    """UserError before any work where a result would be written over a file that is not ours."""
    check_outputs(log_files(output_dir, command=command))
    for dataset, part in zip(datasets, parts, strict=True):
        check_outputs(_result_files(cfg, dataset, part), inputs=_inputs(dataset, part))


def _result_files(cfg: CfgNode, dataset: AnyDataset, options: EvaluationOptions) -> list[Path]:
    """What an evaluation of a data set writes."""
    if options.output_dir is None:
        return []
    ids = list(dataset.image_ids)[slice(*(options.index_range or (None,)))]
    drawings = drawing_files(dataset, ids, options.output_dir / "vis") if options.draws else []
    maps = submission_files(cfg, dataset, options.output_dir) if isinstance(dataset, SemanticDataset) else []
    return [*evaluation_files(options.output_dir), *drawings, *maps]


def _inputs(dataset: AnyDataset, options: EvaluationOptions) -> list[Path]:
    images = [dataset.image_path(index) for index in range(len(dataset))] if options.draws else []
    return [dataset.ann_file, *images]


def evaluation_files(folder: Path) -> list[Path]:
    """What `evaluate_detections` writes into a folder."""
    return [folder / name for name in ("bbox.json", "segm.json", "keypoints.json", PROPOSALS, "metrics.json")]


def _evaluate_and_draw(
    cfg: CfgNode,
    model: nn.Module,
    dataset: AnyDataset,
    options: EvaluationOptions,
    labels: np.ndarray,
    class_names: tuple[str, ...],
) -> tuple[dict[str, Any], list[Path]]:
    """Metrics, and the drawings that could not be written; `labels` are those of `match_classes`."""
    from_main(lambda: claim_outputs(_result_files(cfg, dataset, options), inputs=_inputs(dataset, options)))
    folder = options.output_dir / "vis" if options.draws and options.output_dir is not None else None
    if isinstance(dataset, SemanticDataset):
        done = segment_dataset(
            cfg,
            model,
            dataset,
            options.output_dir,
            labels=labels,
            class_names=class_names,
            index_range=options.index_range,
            drawings=folder,
        )
        return done.metrics, done.failures
    detections = detect_dataset(cfg, model, dataset, labels=labels, index_range=options.index_range)
    metrics = evaluate_detections(cfg, dataset, detections, options.output_dir, labels=labels)
    if folder is None or not is_main():
        return metrics, []
    return metrics, draw_dataset(dataset, detections, folder, score_threshold=cfg.VIS_TH).failures


def evaluate_opened(
    cfg: CfgNode,
    model: nn.Module,
    dataset: AnyDataset,
    output_dir: Path,
    *,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    should_stop: Callable[[], bool],
) -> dict[str, Any]:
    """Metrics of a model of whatever type on a data set; see `detect_dataset` and `segment_dataset`."""
    if isinstance(dataset, SemanticDataset):
        return segment_dataset(
            cfg, model, dataset, output_dir, labels=labels, class_names=class_names, should_stop=should_stop
        ).metrics
    found = detect_dataset(cfg, model, dataset, labels=labels, should_stop=should_stop)
    return evaluate_detections(cfg, dataset, found, output_dir, labels=labels)


def default_output_dir(checkpoint: Path) -> Path:
    """``test`` in the run folder of ``<run>/ckpt/<file>``, else beside the file."""
    folder = checkpoint.parent
    return (folder.parent if folder.name == "ckpt" else folder) / "test"


@dataclass
class EvaluatedPart:
    """Ground truth of some images of a data set; see EvaluatedDataset.

    Attributes:
        ann_file: annotation file.
        category_ids: ids in it; label i + 1 is category_ids[i].
        image_ids: images that were run, and that count.
        has_masks: whether the file has masks.
        max_detections: detections that an image may have.
        oks_sigmas: precision of each key point; none = the usual ones.
        ground_truth: gives the classes that count and their objects.
        raw_annotations: reads the file as it is; None = it is not evaluated on.
    """

    ann_file: Path
    category_ids: Sequence[int]
    image_ids: Sequence[int]
    has_masks: bool
    max_detections: int
    oks_sigmas: Sequence[float]
    ground_truth: Callable[[], GroundTruth]
    raw_annotations: Callable[[], dict[str, Any]] | None


def evaluate_detections(
    cfg: CfgNode,
    dataset: CocoDataset,
    detections: Sequence[Detections],
    output_dir: Path | None,
    *,
    labels: np.ndarray | None = None,
) -> dict[str, Any]:
    """Metrics of the images in `detections`; result files and metrics.json go into `output_dir`, if there is one.

    The main process evaluates what it has; every process returns the metrics. Classes of the data set that are not in
    `labels` (see `match_classes`) do not count; None = all count.

    Raises:
        UserError: (on all processes) a file cannot be written.
    """
    ids = dataset.category_ids
    counted = set(ids) if labels is None else {ids[label - 1] for label in labels.tolist() if label}
    part = EvaluatedPart(
        ann_file=dataset.ann_file,
        category_ids=ids,
        image_ids=[image.image_id for image in detections],
        has_masks=dataset.has_masks,
        max_detections=cfg.TEST.RPN_POST_NMS_TOP_N if cfg.MODEL.RPN_ONLY else cfg.TEST.DETECTIONS_PER_IM,
        oks_sigmas=cfg.TEST.OKS_SIGMAS,
        ground_truth=lambda: dataset.ground_truth().of_categories(counted),
        raw_annotations=dataset.load_annotations if cfg.TEST.RAW_GROUND_TRUTH and not cfg.MODEL.RPN_ONLY else None,
    )
    return from_main(lambda: _evaluate_or_explain(cfg, part, detections, output_dir))


def _evaluate_or_explain(
    cfg: CfgNode, part: EvaluatedPart, detections: Sequence[Detections], output_dir: Path | None
) -> dict[str, Any]:
    written = [] if output_dir is None else evaluation_files(output_dir)
    try:
        with recorded(*written):
            if output_dir is not None and cfg.MODEL.RPN_ONLY:
                _write_proposals(output_dir / PROPOSALS, detections)
            return evaluate_dataset(
                part,
                detections,
                output_dir,
                evaluators=cfg.TEST.EVALUATOR,
                writes_results=not cfg.MODEL.RPN_ONLY,
            )
    except OSError as error:
        raise UserError(f"the results cannot be written into {output_dir}: {error}") from error


def _write_proposals(path: Path, detections: Sequence[Detections]) -> None:
    ids = [found.image_id for found in detections]
    write_proposals(path, pack_proposals(ids, [found.boxes for found in detections], [d.scores for d in detections]))
    _LOGGER.info("proposals of %d images: %s", len(ids), path)


def _describe_devices(cfg: CfgNode, *, uses_all: bool) -> str:
    if is_distributed():
        return f"{cfg.DEVICE}, {world_size()} processes with a part of the images each"
    devices = own_devices(cfg)
    used = ", ".join(str(device) for device in (devices if uses_all else devices[:1]))
    rest = len(devices) - 1
    return used if uses_all or not rest else f"{used}; {rest} more GPUs are visible (--multi-gpu-testing or torchrun)"
