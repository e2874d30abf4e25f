"""Semantic segmentation of whole data sets: classes of pixels, measures and drawings."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from fpt.core.config_node import CfgNode
from fpt.dataloaders.build import build_test_loader, check_range
from fpt.dataloaders.semantic.dataset import SemanticDataset
from fpt.engine.inference import Progress
from fpt.engine.interrupt import EvaluationStoppedError
from fpt.engine.segmentation import SegmentationSettings, segment_image
from fpt.evaluation.results import write_metrics
from fpt.evaluation.semantic import SemanticCounts
from fpt.evaluation.tables import format_metrics
from fpt.modeling.semantic.segmentor import SemanticSegmentor
from fpt.run.image_files import output_names
from fpt.solver.build import amp_dtype
from fpt.structures.keypoints import flip_order
from fpt.structures.semantic_classes import CITYSCAPES, CITYSCAPES_IDS
from fpt.utils.distributed import from_main, gather_everywhere, max_over_processes, share_of_range
from fpt.utils.errors import UserError
from fpt.utils.heap import HeapGaps
from fpt.utils.own_files import recorded
from fpt.visualization.image_output import explained_output, save_image
from fpt.visualization.segmentation import draw_classes_side_by_side

_LOGGER = logging.getLogger("fpt")


@dataclass(kw_only=True)
class SegmentedDataset:
    """What an evaluation of a data set gives.

    Attributes:
        metrics: {"semantic": {"mIoU": ...}}; see SemanticCounts.
        drawings: the last few drawings of this process, uint8 RGB, by name.
        failures: files that could not be written.
    """

    metrics: dict[str, Any]
    drawings: dict[str, np.ndarray] = field(default_factory=dict)
    failures: list[Path] = field(default_factory=list)


def segmentation_settings(cfg: CfgNode, class_names: tuple[str, ...]) -> SegmentationSettings:
    """How images are looked at; names that differ in left and right change places in mirrored ones."""
    options = cfg.SEMANTIC
    return SegmentationSettings(
        flip_order=flip_order(class_names),
        scales=options.TEST_SCALES,
        is_mirrored=options.TEST_FLIP,
        window_hw=options.WINDOW or None,
        overlap=options.WINDOW_OVERLAP,
        amp_dtype=amp_dtype(cfg),
    )


def segment_dataset(
    cfg: CfgNode,
    model: nn.Module,
    dataset: SemanticDataset,
    output_dir: Path | None,
    *,
    labels: np.ndarray,
    class_names: tuple[str, ...] | None = None,
    index_range: tuple[int, int] | None = None,
    drawings: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> SegmentedDataset:
    """Measures of a model on a data set; under torchrun each process takes its part of the images.

    Args:
        cfg: the configuration.
        model: a segmentor, or one on several devices, of which the first is used; comes back in its mode.
        dataset: images and maps.
        output_dir: gets metrics.json, and ``submission/`` where SEMANTIC.SUBMISSION is on; None = no files.
        labels: of ``match_classes``: for each class of the model and one before them, number of that of the data set.
        class_names: of the model; None = those of the data set.
        index_range: first image and the one after the last; None = all.
        drawings: folder of drawings; None = none.
        should_stop: asked after each image.

    Raises:
        EvaluationStoppedError: (on all processes) `should_stop` was true on one.
        UserError: (on all processes) an image or map cannot be read, or the results cannot be written.
    """
    start, end = index_range or (0, len(dataset))
    check_range(dataset, start, end)
    part = _Part(cfg, model, dataset, output_dir, drawings, labels, class_names or dataset.class_names)
    failure = ""
    try:
        part.run(*share_of_range(start, end), should_stop)
    except UserError as error:
        failure = str(error)
    if max_over_processes(int(should_stop())):
        raise EvaluationStoppedError
    if failures := [text for text in gather_everywhere(failure) if text]:
        raise UserError(failures[0])
    counts = SemanticCounts(len(dataset.class_names))
    for confusion, boundaries in gather_everywhere((part.counts.confusion, part.counts.boundaries)):
        counts.confusion += confusion
        counts.boundaries += boundaries
    metrics = {"semantic": counts.metrics(dataset.class_names)}
    from_main(lambda: _report(metrics, output_dir))
    return SegmentedDataset(metrics=metrics, drawings=part.last, failures=part.failures)


class _Part:
    """The images of one process."""

    def __init__(
        self,
        cfg: CfgNode,
        model: nn.Module,
        dataset: SemanticDataset,
        output_dir: Path | None,
        drawings: Path | None,
        labels: np.ndarray,
        class_names: tuple[str, ...],
    ) -> None:
        inner = getattr(model, "module", model)
        if not isinstance(inner, SemanticSegmentor):
            raise UserError(f"the model is a {type(inner).__name__}, but MODEL.TYPE is semantic_segmentor")
        self.cfg, self.model, self.dataset, self.drawings = cfg, inner, dataset, drawings
        self.settings = segmentation_settings(cfg, class_names)
        self.table = labels[1:].astype(np.int16) - 1  # 0, none, becomes -1
        self.counts = SemanticCounts(len(dataset.class_names))
        self.submission = output_dir / "submission" if output_dir is not None and cfg.SEMANTIC.SUBMISSION else None
        if self.submission is not None and dataset.class_names != CITYSCAPES:
            raise UserError(f"SEMANTIC.SUBMISSION is for Cityscapes, but data set {dataset.name} has other classes")
        self.names = output_names([dataset.image_path(index) for index in range(len(dataset))])
        self.last: dict[str, np.ndarray] = {}
        self.failures: list[Path] = []

    def run(self, start: int, end: int, should_stop: Callable[[], bool]) -> None:
        if start >= end:
            return
        loader = build_test_loader(
            self.cfg,
            self.dataset,
            batch_size=1,
            num_workers=min(self.cfg.DATA_LOADER.NUM_THREADS, end - start),
            index_range=(start, end),
        )
        was_training, device = self.model.training, torch.device(self.cfg.DEVICE)
        self.model.eval()
        progress, gaps, done = Progress(end - start), HeapGaps(), 0
        try:
            for done, batch in enumerate(loader, start=1):
                image = batch.images[0].to(device)
                found, _ = segment_image(self.model, image, self.settings, size_hw=batch.sizes_hw[0])
                assert batch.targets is not None
                self._finish(batch.image_ids[0], found.cpu().numpy(), batch.targets[0]["classes"].numpy())
                progress.report(done)
                gaps.after_item()
                if should_stop():
                    break
        finally:
            self.model.train(was_training)
        progress.finish(done)

    def _finish(self, index: int, found: np.ndarray, truth: np.ndarray) -> None:
        classes = self.table[found]
        self.counts.add(truth, classes)
        if self.submission is not None:
            ids = np.array((*CITYSCAPES_IDS, 0), np.uint8)[classes]
            self._save(self.submission / f"{self.names[index]}.png", lambda path: save_ids(path, ids))
        if self.drawings is not None:
            pixels, _ = self.dataset.read(index)
            drawing = draw_classes_side_by_side(
                pixels, classes, truth, self.dataset.class_names, palette=self.cfg.SEMANTIC.PALETTE
            )
            self._save(self.drawings / f"{self.names[index]}.png", lambda path: save_image(path, drawing))
            self.last = {**dict(list(self.last.items())[-3:]), self.names[index]: drawing}

    def _save(self, path: Path, write: Callable[[Path], None]) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with explained_output(path), recorded(path):
                write(path)
        except (UserError, OSError) as error:
            _LOGGER.error("%s", error)
            self.failures.append(path)


def save_ids(path: Path, classes: np.ndarray) -> None:
    """Write a map of numbers as a grey png of 8 or, above 255, of 16 bits."""
    dtype = np.uint8 if classes.size == 0 or classes.max() < 256 else np.uint16
    Image.fromarray(np.ascontiguousarray(classes.astype(dtype))).save(path)


def submission_files(cfg: CfgNode, dataset: SemanticDataset, output_dir: Path) -> list[Path]:
    """The maps that an evaluation writes for a benchmark's server."""
    if not cfg.SEMANTIC.SUBMISSION:
        return []
    names = output_names([dataset.image_path(index) for index in range(len(dataset))])
    return [output_dir / "submission" / f"{name}.png" for name in names]


def _report(metrics: dict[str, Any], output_dir: Path | None) -> None:
    if output_dir is not None:
        try:
            with recorded(output_dir / "metrics.json"):
                write_metrics(output_dir / "metrics.json", metrics)
        except OSError as error:
            raise UserError(f"the results cannot be written into {output_dir}: {error}") from error
    for title, text in format_metrics(metrics).items():
        _LOGGER.info("%s:\n%s", title, text)
