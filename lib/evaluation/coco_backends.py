"""The two COCO evaluators behind one function: hotcoco (fast, optional) and pycocotools.

Both give the same numbers to the last digit. What they print goes to the debug log.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from fpt.utils.errors import UserError

BACKENDS = ("auto", "hotcoco", "pycocotools")

_LARGEST_EXACT = 2**53

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RawEvaluation:
    """What an evaluator computes.

    Attributes:
        stats: float64 [12], of key points [10], COCO's summary; -1 where there is no ground truth. With a limit over
            100 the recall at 100 follows.
        precision: float64 [T, R, K, A, M] by IoU threshold, recall, category, area range and detections per image;
            -1 likewise.
        category_ids: the K categories.
    """

    stats: np.ndarray
    precision: np.ndarray
    category_ids: list[int]


def resolve_backend(name: str) -> str:
    """`hotcoco` or `pycocotools`; auto takes hotcoco when it is installed.

    Raises:
        UserError: for an unknown name, or a backend that is not installed.
    """
    if name not in BACKENDS:
        raise UserError(f"COCO evaluator {name!r} is unknown; legal: {', '.join(BACKENDS)}")
    is_installed = importlib.util.find_spec("hotcoco") is not None
    if name == "auto":
        return "hotcoco" if is_installed else "pycocotools"
    if name == "hotcoco" and not is_installed:
        raise UserError(
            "COCO evaluator hotcoco is not installed: pip install 'fpt[fasteval]', or set TEST.EVALUATOR pycocotools"
        )
    return name


def run_backend(
    backend: str,
    ground_truth: dict[str, Any],
    results: Sequence[dict[str, Any]],
    *,
    iou_type: str,
    image_ids: Sequence[int],
    category_ids: Sequence[int],
    max_detections: int = 100,
    sigmas: Sequence[float] = (),
) -> RawEvaluation:
    """Evaluate with a resolved backend.

    Args:
        backend: `hotcoco` or `pycocotools`.
        ground_truth: content of a COCO json file, each annotation with area and iscrowd.
        results: COCO results on its images, each with the key of the IoU type alone: `bbox`, `segmentation` or
            `keypoints`.
        iou_type: `bbox`, `segm` or `keypoints`.
        image_ids: images that count.
        category_ids: categories that count.
        max_detections: detections of an image and class that count, by score; of key points 20 do, as in COCO.
        sigmas: of each key point, for `keypoints`.
    """
    limits = [20] if iou_type == "keypoints" else sorted({1, 10, 100, max_detections})
    run = _run_hotcoco if backend == "hotcoco" else _run_pycocotools
    output = io.StringIO()
    with contextlib.redirect_stdout(output), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # hotcoco warns of limits other than 100
        evaluator = run(ground_truth, results, iou_type, sorted(image_ids), sorted(category_ids), limits, sigmas)
    _logger.debug("%s:\n%s", backend, output.getvalue())
    summarize = _summarize_keypoints if iou_type == "keypoints" else _summarize
    return RawEvaluation(
        stats=summarize(np.asarray(evaluator.eval["precision"]), np.asarray(evaluator.eval["recall"])),
        precision=np.asarray(evaluator.eval["precision"]),
        category_ids=sorted(category_ids),
    )


def _summarize(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """COCO's twelve numbers, float64, at the highest limit of detections; pycocotools' own take 100 as given.

    Args:
        precision: [T, R, K, A, M] as in RawEvaluation; areas are all, small, medium and large, limits rise.
        recall: [T, K, A, M].
    """
    parts = [precision[..., 0, -1], precision[0, :, :, 0, -1], precision[5, :, :, 0, -1]]
    parts += [precision[..., area, -1] for area in (1, 2, 3)]
    parts += [recall[..., 0, limit] for limit in (0, 1, -1)]
    parts += [recall[..., area, -1] for area in (1, 2, 3)]
    parts += [recall[..., 0, 2]] if recall.shape[-1] > 3 else []
    return _means(parts)


def _summarize_keypoints(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """COCO's ten numbers of key points; areas are all, medium and large, and there is one limit."""
    parts = []
    for values in (precision, recall):
        parts += [values[..., 0, -1], values[0, ..., 0, -1], values[5, ..., 0, -1]]
        parts += [values[..., 1, -1], values[..., 2, -1]]
    return _means(parts)


def _means(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([part[part > -1].mean() if (part > -1).any() else -1.0 for part in parts])


def _run_hotcoco(
    ground_truth: dict[str, Any],
    results: Sequence[dict[str, Any]],
    iou_type: str,
    image_ids: list[int],
    category_ids: list[int],
    limits: list[int],
    sigmas: Sequence[float],
) -> Any:
    hotcoco: ModuleType = importlib.import_module("hotcoco")
    truth = hotcoco.COCO(ground_truth)
    found = truth.load_res(_as_array(results) if _fits_array(results, iou_type) else list(results))
    evaluator = hotcoco.COCOeval(truth, found, iou_type)
    evaluator.params.img_ids, evaluator.params.cat_ids = image_ids, category_ids
    evaluator.params.max_dets = limits
    if iou_type == "keypoints":
        evaluator.params.kpt_oks_sigmas = list(sigmas)
    evaluator.run()
    return evaluator


def _fits_array(results: Sequence[dict[str, Any]], iou_type: str) -> bool:
    """Whether `_as_array` can hold the results: boxes, and ids that a float64 holds to the last digit."""
    keys = ("image_id", "category_id")
    return iou_type == "bbox" and all(abs(item[key]) <= _LARGEST_EXACT for item in results for key in keys)


def _as_array(results: Sequence[dict[str, Any]]) -> np.ndarray:
    """float64 [N, 7]: image, x, y, width, height, score, category; read many times faster than dicts."""
    rows = [(item["image_id"], *item["bbox"], item["score"], item["category_id"]) for item in results]
    return np.array(rows, dtype=np.float64).reshape(-1, 7)


def _run_pycocotools(
    ground_truth: dict[str, Any],
    results: Sequence[dict[str, Any]],
    iou_type: str,
    image_ids: list[int],
    category_ids: list[int],
    limits: list[int],
    sigmas: Sequence[float],
) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO()
    # The evaluator writes into annotations and results.
    truth.dataset = {**ground_truth, "annotations": [dict(item) for item in ground_truth["annotations"]]}
    truth.createIndex()
    found = COCO()
    found.dataset = {"images": ground_truth["images"], "categories": ground_truth["categories"], "annotations": []}
    found.createIndex()
    if results:  # loadRes fails on an empty list
        found = truth.loadRes([dict(item) for item in results])
    evaluator = COCOeval(truth, found, iou_type)
    evaluator.params.imgIds, evaluator.params.catIds = image_ids, category_ids
    evaluator.params.maxDets = limits
    if iou_type == "keypoints":
        evaluator.params.kpt_oks_sigmas = np.array(sigmas)
    evaluator.evaluate()
    evaluator.accumulate()
    return evaluator
