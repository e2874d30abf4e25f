"""Evaluation of a whole data set: results, measures and tables."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from fpt.evaluation.coco import evaluate_coco, load_ground_truth, to_coco_results, write_metrics, write_results
from fpt.evaluation.tables import format_per_class, format_summary
from fpt.structures.detections import Detections
from fpt.utils.errors import UserError

_logger = logging.getLogger(__name__)


class EvaluatedDataset(Protocol):
    """What evaluation must know of a data set."""

    ann_file: Path

    @property
    def category_ids(self) -> Sequence[int]:
        """Ids in the file: label i + 1 is category_ids[i]."""

    @property
    def image_ids(self) -> Sequence[int]:
        """Images that were run."""

    @property
    def has_masks(self) -> bool:
        """Whether the file has masks to compare with."""


def evaluate_dataset(
    dataset: EvaluatedDataset, detections: Sequence[Detections], output_dir: Path | None, *, backend: str = "auto"
) -> dict[str, Any]:
    """Write the results, evaluate boxes and (when both sides have them) masks, write the metrics and log the tables.

    Files in `output_dir`: bbox.json, segm.json (COCO's results format) and metrics.json.

    Args:
        dataset: ground truth; all of its `image_ids` count, found or not.
        detections: one for each image.
        output_dir: where the files go; None writes none.
        backend: evaluator: `auto`, `hotcoco` or `pycocotools`.

    Returns:
        {"bbox": {"AP": ..., ...}, "segm": {...}}; see ``evaluate_coco``.

    Raises:
        UserError: when the ground truth cannot be read or its number of classes does not fit the detections.
    """
    num_classes = len(dataset.category_ids)
    highest = max((int(image.labels.max()) for image in detections if len(image)), default=0)
    if highest > num_classes:
        raise UserError(f"a detection has label {highest}, but {dataset.ann_file} has {num_classes} classes")
    results = to_coco_results(detections, dataset.category_ids)
    if output_dir is not None:
        write_results(output_dir, results)
    ground_truth = load_ground_truth(dataset.ann_file)
    has_masks = dataset.has_masks and any(image.rles is not None for image in detections)
    metrics = {
        iou_type: evaluate_coco(
            ground_truth,
            results,
            iou_type=iou_type,
            backend=backend,
            image_ids=[int(image_id) for image_id in dataset.image_ids],
            category_ids=[int(category_id) for category_id in dataset.category_ids],
        )
        for iou_type in (("bbox", "segm") if has_masks else ("bbox",))
    }
    if output_dir is not None:
        write_metrics(output_dir / "metrics.json", metrics)
    _logger.info("%d detections in %d images", len(results), len(detections))
    _logger.info("average precision by class:\n%s", format_per_class(metrics))
    _logger.info("average precision and recall:\n%s", format_summary(metrics))
    return metrics
