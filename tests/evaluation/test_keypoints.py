"""COCO's numbers of key points, beside pycocotools run by hand."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fpt.annotations.ground_truth import read_ground_truth
from fpt.evaluation.coco import KEYPOINT_METRIC_NAMES, evaluate_coco, raw_ground_truth, resolve_sigmas
from fpt.evaluation.results import to_coco_results
from fpt.evaluation.tables import format_metrics
from fpt.structures.detections import Detections
from fpt.structures.keypoints import COCO_SIGMAS
from fpt.utils.errors import UserError


@pytest.fixture(params=["pycocotools", "hotcoco"])
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "hotcoco":
        pytest.importorskip("hotcoco")
    return str(request.param)


def _content(num_points: int, seed: int = 0) -> dict[str, Any]:
    """Six images of 200 x 200 with figures of all sizes, a crowd, one without annotated points, one class without."""
    rng = np.random.default_rng(seed)
    names = [f"p{i}" for i in range(num_points)]
    annotations = []
    for number in range(1, 25):
        x, y, w, h = (float(v) for v in (*rng.uniform(0, 60, 2), *rng.uniform(20, 130, 2)))
        points = np.column_stack([rng.uniform(x, x + w, num_points), rng.uniform(y, y + h, num_points)])
        seen = rng.integers(0, 3, num_points) if number != 5 else np.zeros(num_points, int)
        item = {"id": number, "image_id": 1 + number % 6, "category_id": 4, "bbox": [x, y, w, h], "area": w * h / 2}
        item |= {"iscrowd": int(number == 7), "num_keypoints": int((seen > 0).sum())}
        item["keypoints"] = np.column_stack([points.round(2), seen]).ravel().tolist()
        annotations.append(item)
    annotations.append({"id": 99, "image_id": 1, "category_id": 9, "bbox": [1, 1, 5, 5], "area": 25, "iscrowd": 0})
    return {
        "images": [{"id": i, "height": 200, "width": 200, "file_name": f"{i}.jpg"} for i in range(1, 7)],
        "categories": [{"id": 4, "name": "figure", "keypoints": names}, {"id": 9, "name": "dot"}],
        "annotations": annotations,
    }


def _found(content: dict[str, Any], num_points: int) -> list[dict[str, Any]]:
    """Figures with points that are off by up to a few pixels, and some that are nowhere."""
    rng = np.random.default_rng(1)
    results = []
    for item in content["annotations"][:-1]:
        points = np.array(item["keypoints"]).reshape(-1, 3) + rng.normal(0, rng.uniform(0.5, 9), (num_points, 3))
        results.append({"image_id": item["image_id"], "category_id": 4, "score": float(rng.uniform())})
        results[-1] |= {"bbox": item["bbox"], "keypoints": points.round(3).ravel().tolist()}
    results.append({"image_id": 2, "category_id": 9, "score": 0.5, "bbox": [1, 1, 5, 5], "keypoints": [1.0] * 3})
    return results


def _by_hand(content: dict[str, Any], results: list[dict[str, Any]], sigmas: tuple[float, ...]) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {**content, "annotations": [dict(item) for item in content["annotations"][:-1]]}
        truth.createIndex()
        points = [{k: v for k, v in item.items() if k != "bbox"} for item in results[:-1]]
        evaluator = COCOeval(truth, truth.loadRes(points), "keypoints")
        evaluator.params.kpt_oks_sigmas = np.array(sigmas)
        evaluator.params.catIds = [4]
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return [float(value) for value in evaluator.stats]


@pytest.mark.parametrize("num_points", [17, 5])
def test_the_numbers_of_pycocotools(num_points: int, backend: str) -> None:
    content = _content(num_points)
    results = _found(content, num_points)
    sigmas = COCO_SIGMAS if num_points == 17 else (0.05,) * 5
    metrics = evaluate_coco(content, results, iou_type="keypoints", backend=backend)
    expected = _by_hand(content, results, sigmas)
    assert 0.05 < expected[0] < 0.95
    assert [metrics[name] for name in KEYPOINT_METRIC_NAMES] == pytest.approx(expected, abs=1e-12)
    assert metrics["per_class"] == {"figure": pytest.approx(expected[0])}
    table = format_metrics({"bbox": metrics, "keypoints": metrics})["average precision and recall"]
    assert "key points" in table


def test_given_sigmas(backend: str) -> None:
    content = _content(5)
    results = _found(content, 5)
    sigmas = (0.2, 0.1, 0.05, 0.05, 0.02)
    metrics = evaluate_coco(content, results, iou_type="keypoints", backend=backend, oks_sigmas=sigmas)
    assert metrics["AP"] == pytest.approx(_by_hand(content, results, sigmas)[0])


def test_perfect_points(backend: str) -> None:
    content = _content(5)
    results = [{**item, "score": 0.5} for item in content["annotations"][:-1]]
    assert evaluate_coco(content, results, iou_type="keypoints", backend=backend)["AP"] == pytest.approx(1.0)
    assert evaluate_coco(content, [], iou_type="keypoints", backend=backend)["AP"] == 0
    raw = evaluate_coco(raw_ground_truth(content), results, iou_type="keypoints", backend=backend)
    assert raw["AP"] == pytest.approx(1.0)


def test_numbers_of_points_must_fit() -> None:
    truth = read_ground_truth(_content(5)).annotations
    assert resolve_sigmas(truth, [], ()) == (0.05,) * 5
    with pytest.raises(UserError, match=r"have \[5, 17\] key points"):
        resolve_sigmas(truth, [{"keypoints": [0.0] * 51}], ())
    with pytest.raises(UserError, match=r"have \[5\] key points, TEST.OKS_SIGMAS has 3 numbers"):
        resolve_sigmas(truth, [], (0.1, 0.1, 0.1))


def test_detections_with_points_in_cocos_format() -> None:
    points = np.array([[[1.23456, 2, 0.5], [3, 4, 0.25]]], np.float32)
    boxes = np.array([[0, 0, 5, 5]], np.float32)
    found = Detections(3, (10, 10), boxes, np.array([1]), np.array([0.5], np.float32), None, points)
    assert to_coco_results([found], [7])[0]["keypoints"] == [1.235, 2, 0.5, 3, 4, 0.25]
    assert found.select(np.array([0, 0])).keypoints.shape == (2, 2, 3)
    with pytest.raises(ValueError, match=r"key points \(1, 2\) do not fit"):
        Detections(3, (10, 10), boxes, np.array([1]), np.array([0.5], np.float32), None, points[..., 0])
