"""Evaluation of a whole data set: results, measures and tables."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from fpt.annotations.ground_truth import GroundTruth
from fpt.evaluation.coco import count_over_limit, evaluate_coco, raw_ground_truth
from fpt.evaluation.coco_backends import BACKENDS
from fpt.evaluation.results import to_coco_results, write_metrics, write_results
from fpt.evaluation.tables import format_metrics
from fpt.structures.detections import Detections
from fpt.utils.errors import UserError
from fpt.utils.parts import find_part

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

    @property
    def max_detections(self) -> int:
        """Detections that an image may have."""

    @property
    def oks_sigmas(self) -> Sequence[float]:
        """Precision of each key point; none = the usual ones."""

    @property
    def ground_truth(self) -> Callable[[], GroundTruth]:
        """Gives the classes that count and their objects, as training reads them."""

    @property
    def raw_annotations(self) -> Callable[[], dict[str, Any]] | None:
        """Reads what the annotation file holds, as it is, to be evaluated on beside; None = that is not asked for."""


Metrics = dict[str, dict[str, Any]]
"""Numbers by kind and name, such as {"bbox": {"AP": 0.4}}."""

Evaluator = Callable[[EvaluatedDataset, Sequence[Detections]], Metrics]
"""Metrics of the detections of a data set: one for each of its images, found or not."""


def evaluate_with_coco(
    dataset: EvaluatedDataset, detections: Sequence[Detections], *, backend: str = "auto"
) -> Metrics:
    """COCO's numbers of boxes (``bbox``) and, when both sides have them, of masks (``segm``) and key points
    (``keypoints``); see ``evaluate_coco``.

    Without a single annotation, as in the files of a contest, there are none.
    """
    truth = dataset.ground_truth()
    if not truth.annotations:
        _logger.warning("%s has no annotations: the results are written, and there is no AP", dataset.ann_file)
        return {}
    results = to_coco_results(detections, dataset.category_ids)
    num_over, num_images = count_over_limit(truth, dataset.image_ids, dataset.max_detections)
    if num_over:
        _logger.warning(
            "%d objects cannot be found: %d images have more than the %d detections that an image may have "
            "(TEST.DETECTIONS_PER_IM)",
            num_over,
            num_images,
            dataset.max_detections,
        )
    metrics = _evaluate(truth, results, dataset, detections, backend)
    if dataset.raw_annotations is not None:
        counted = {category["name"] for category in truth.categories}
        try:
            raw = raw_ground_truth(dataset.raw_annotations()).of_names(counted)
            found = _evaluate(raw, results, dataset, detections, backend)
            metrics |= {f"{kind}_raw": values for kind, values in found.items()}
        except UserError as error:
            _logger.warning("no numbers of the file as it is: %s", error)
    return metrics


def _evaluate(
    truth: GroundTruth,
    results: Sequence[dict[str, Any]],
    dataset: EvaluatedDataset,
    detections: Sequence[Detections],
    backend: str,
) -> Metrics:
    known = {category["id"] for category in truth.categories}
    kinds = ["bbox"]
    if dataset.has_masks and any(image.rles is not None for image in detections):
        kinds.append("segm")
    if any(image.keypoints is not None for image in detections) and any(
        "keypoints" in item for item in truth.annotations
    ):
        kinds.append("keypoints")
    return {
        iou_type: evaluate_coco(
            truth,
            [item for item in results if item["category_id"] in known],
            iou_type=iou_type,
            backend=backend,
            image_ids=[int(image_id) for image_id in dataset.image_ids],
            max_detections=dataset.max_detections,
            oks_sigmas=dataset.oks_sigmas,
        )
        for iou_type in kinds
    }


EVALUATORS: dict[str, Evaluator] = {name: partial(evaluate_with_coco, backend=name) for name in BACKENDS}


def find_evaluators(names: Sequence[str]) -> list[Evaluator]:
    """The evaluators of these names.

    Raises:
        UserError: one is unknown, or there is none.
    """
    if not names:
        raise UserError(f"TEST.EVALUATOR is empty; legal: one or more of {', '.join(EVALUATORS)}")
    return [find_part(EVALUATORS, name, option="TEST.EVALUATOR") for name in names]


def evaluate_dataset(
    dataset: EvaluatedDataset,
    detections: Sequence[Detections],
    output_dir: Path | None,
    *,
    evaluators: Sequence[str] = ("auto",),
    writes_results: bool = True,
) -> Metrics:
    """Write the results, evaluate them, write the metrics and log the tables.

    Files in `output_dir`: bbox.json, segm.json, keypoints.json (COCO's results format) and metrics.json.

    Args:
        dataset: ground truth; all of its `image_ids` count, found or not.
        detections: one for each image.
        output_dir: where the files go; None writes none.
        evaluators: names in EVALUATORS; what they return is put together.
        writes_results: write what was found, too, not the metrics alone.

    Returns:
        {"bbox": {"AP": ..., ...}, "segm": {...}, ...}.

    Raises:
        UserError: an evaluator is unknown or fails, two return one kind of metrics, the ground truth cannot be read, or
            its number of classes does not fit the detections.
    """
    chosen = find_evaluators(evaluators)
    num_classes = len(dataset.category_ids)
    highest = max((int(image.labels.max()) for image in detections if len(image)), default=0)
    if highest > num_classes:
        raise UserError(f"a detection has label {highest}, but {dataset.ann_file} has {num_classes} classes")
    if output_dir is not None and writes_results:
        write_results(output_dir, to_coco_results(detections, dataset.category_ids))
    metrics: Metrics = {}
    for name, evaluate in zip(evaluators, chosen, strict=True):
        found = _run_evaluator(name, evaluate, dataset, detections)
        if twice := sorted(metrics.keys() & found.keys()):
            raise UserError(
                f"TEST.EVALUATOR is {tuple(evaluators)}: {name} returns {', '.join(twice)}, as one before it does; "
                "leave one of them out"
            )
        metrics |= found
    if output_dir is not None:
        write_metrics(output_dir / "metrics.json", metrics)
    _logger.info("%d detections in %d images", sum(map(len, detections)), len(detections))
    for title, text in format_metrics(metrics).items():
        _logger.info("%s:\n%s", title, text)
    return metrics


def _run_evaluator(
    name: str, evaluate: Evaluator, dataset: EvaluatedDataset, detections: Sequence[Detections]
) -> Metrics:
    """Its metrics; whatever it raises is one message, so that a training goes on."""
    try:
        return evaluate(dataset, detections)
    except (UserError, OSError):
        raise
    except Exception as error:
        _logger.debug("evaluator %s", name, exc_info=True)
        raise UserError(
            f"the evaluator {name} fails on {dataset.ann_file}: {type(error).__name__}: {error}; another one is chosen "
            "by TEST.EVALUATOR"
        ) from error
