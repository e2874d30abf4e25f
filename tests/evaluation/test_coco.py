"""COCO evaluation: the reference numbers to the last digit, and the odd cases, with both evaluators."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from fpt.annotations.ground_truth import read_ground_truth
from fpt.evaluation import coco_backends
from fpt.evaluation.coco import (
    METRIC_NAMES,
    evaluate_coco,
)
from fpt.evaluation.coco_backends import resolve_backend
from fpt.evaluation.results import to_coco_results, write_metrics, write_results
from fpt.structures.detections import Detections
from fpt.utils.errors import UserError
from fpt.visualization.ground_truth import detections_from_annotations


@pytest.fixture(params=["pycocotools", "hotcoco"])
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "hotcoco":
        pytest.importorskip("hotcoco")
    return str(request.param)


def _rectangle(x: float, y: float, w: float, h: float) -> list[list[float]]:
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def _truth(objects: list[tuple[int, int, tuple[float, float, float, float], int]]) -> dict[str, Any]:
    """Two images of 100 x 100, categories 3 and 7; objects are (image_id, category_id, box, iscrowd)."""
    annotations = []
    for number, (image_id, category_id, box, iscrowd) in enumerate(objects, start=1):
        segmentation: Any = _rectangle(*box)
        if iscrowd:
            mask = np.zeros((100, 100), np.uint8, order="F")
            x, y, w, h = (int(value) for value in box)
            mask[y : y + h, x : x + w] = 1
            rle = coco_mask.encode(mask)
            segmentation = {"size": rle["size"], "counts": rle["counts"].decode()}
        item = {"id": number, "image_id": image_id, "category_id": category_id, "bbox": list(box), "iscrowd": iscrowd}
        annotations.append({**item, "area": box[2] * box[3], "segmentation": segmentation})
    return {
        "images": [{"id": number, "height": 100, "width": 100, "file_name": f"{number}.jpg"} for number in (1, 2)],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        "annotations": annotations,
    }


def _found(image_id: int, category_id: int, box: tuple[float, float, float, float], score: float) -> dict[str, Any]:
    (rle,) = coco_mask.frPyObjects(_rectangle(*box), 100, 100)
    segmentation = {"size": rle["size"], "counts": rle["counts"].decode()}
    item = {"image_id": image_id, "category_id": category_id, "bbox": list(box), "score": score}
    return {**item, "segmentation": segmentation}


BOX = (10.0, 20.0, 40.0, 40.0)
SMALL = (70.0, 70.0, 10.0, 10.0)


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_reference_numbers_to_the_last_digit(
    shared_data: Path, backend: str, iou_type: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = shared_data / "coco_eval_reference"
    expected = json.loads((folder / "instances_val2014_100_pycocotools_2.0.11_stats.json").read_text())[iou_type]
    results = json.loads((folder / f"instances_val2014_fake{iou_type}100_results.json").read_text())
    metrics = evaluate_coco(folder / "instances_val2014_100.json", results, iou_type=iou_type, backend=backend)
    assert [metrics[name] for name in METRIC_NAMES] == expected
    assert len(metrics["per_class"]) == 80
    counted = [value for value in metrics["per_class"].values() if value >= 0]
    assert np.mean(counted) == pytest.approx(metrics["AP"], abs=1e-12)
    assert capfd.readouterr().out == ""


def test_both_evaluators_agree_by_class(shared_data: Path) -> None:
    pytest.importorskip("hotcoco")
    folder = shared_data / "coco_eval_reference"
    results = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    ground_truth = read_ground_truth(folder / "instances_val2014_100.json")
    image_ids = [image["id"] for image in ground_truth.images][::2]
    metrics = [
        evaluate_coco(
            ground_truth, results, iou_type="bbox", backend=name, image_ids=image_ids, category_ids=[1, 3, 44]
        )
        for name in ("hotcoco", "pycocotools")
    ]
    assert metrics[0] == metrics[1]
    assert list(metrics[0]["per_class"]) == ["person", "car", "bottle"]


@pytest.mark.parametrize("name", ["nuts/annotations/val.json", "coco/annotations/instances_val2017.json"])
@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_the_truth_of_real_photos_is_found_perfect(shared_data: Path, backend: str, iou_type: str, name: str) -> None:
    truth = read_ground_truth(shared_data / name)
    category_ids = sorted(category["id"] for category in truth.categories)
    images = [
        detections_from_annotations(
            [item for item in truth.annotations if item["image_id"] == image["id"]],
            category_ids,
            image_id=image["id"],
            size_hw=(image["height"], image["width"]),
        )
        for image in truth.images
    ]
    results = [item for item in to_coco_results(images, category_ids) if "segmentation" in item]
    metrics = evaluate_coco(truth, results, iou_type=iou_type, backend=backend)
    assert metrics["AP"] == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_hand_made_case(backend: str, iou_type: str) -> None:
    truth = _truth([(1, 3, BOX, 0), (2, 3, SMALL, 0), (2, 7, BOX, 0)])
    results = [_found(1, 3, BOX, 0.9), _found(2, 7, SMALL, 0.8)]
    metrics = evaluate_coco(truth, results, iou_type=iou_type, backend=backend)
    # dog: one of two found: precision 1 up to recall 0.5, that is at 51 of 101 points; cat: nothing right.
    assert metrics["per_class"] == pytest.approx({"dog": 51 / 101, "cat": 0.0})
    assert metrics["per_class_AP50"] == pytest.approx({"dog": 51 / 101, "cat": 0.0})
    assert metrics["AP"] == pytest.approx(51 / 202)
    assert metrics["AR100"] == pytest.approx(0.25)
    assert metrics["APs"] == 0.0
    assert metrics["APl"] == -1.0


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_nothing_found(backend: str, iou_type: str) -> None:
    metrics = evaluate_coco(_truth([(1, 3, BOX, 0)]), [], iou_type=iou_type, backend=backend)
    assert metrics["AP"] == 0.0
    assert metrics["per_class"] == {"dog": 0.0, "cat": -1.0}


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
@pytest.mark.parametrize("results", [[], [_found(1, 3, BOX, 0.5)]])
def test_no_ground_truth(backend: str, iou_type: str, results: list[dict[str, Any]]) -> None:
    metrics = evaluate_coco(_truth([]), results, iou_type=iou_type, backend=backend)
    assert {metrics[name] for name in METRIC_NAMES} == {-1.0}


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_detections_in_a_crowd_do_not_count(backend: str, iou_type: str) -> None:
    truth = _truth([(1, 3, BOX, 0), (1, 3, (55.0, 0.0, 40.0, 90.0), 1)])
    inside = [_found(1, 3, (60.0, 10.0 * k, 12.0, 9.0), 0.95) for k in range(4)]
    metrics = evaluate_coco(truth, [*inside, _found(1, 3, BOX, 0.9)], iou_type=iou_type, backend=backend)
    assert metrics["AP"] == pytest.approx(1.0)


def test_subsets_of_images_and_categories(backend: str) -> None:
    truth = _truth([(1, 3, BOX, 0), (2, 7, BOX, 0)])
    results = [_found(1, 3, BOX, 0.9)]
    whole = evaluate_coco(truth, results, iou_type="bbox", backend=backend)
    assert whole["AP"] == pytest.approx(0.5)
    first = evaluate_coco(truth, results, iou_type="bbox", backend=backend, image_ids=[1])
    assert first["AP"] == pytest.approx(1.0)
    cats = evaluate_coco(truth, results, iou_type="bbox", backend=backend, category_ids=[7])
    assert (cats["AP"], cats["per_class"]) == (0.0, {"cat": 0.0})


def test_masks_are_sorted_into_area_classes_by_their_own_area(backend: str) -> None:
    thin = _truth([(1, 3, BOX, 0)])
    thin["annotations"][0]["segmentation"] = _rectangle(10, 20, 40, 2)
    thin["annotations"][0]["area"] = 80
    result = _found(1, 3, (10.0, 20.0, 40.0, 2.0), 0.9)
    result["bbox"] = list(BOX)
    metrics = evaluate_coco(thin, [result], iou_type="segm", backend=backend)
    assert metrics["APs"] == pytest.approx(1.0)


def test_incomplete_annotations(backend: str, tmp_path: Path) -> None:
    truth = _truth([(1, 3, BOX, 0), (2, 3, BOX, 0)])
    truth["annotations"][0]["id"] = 0
    for key in ("area", "iscrowd"):
        del truth["annotations"][0][key]
    truth["annotations"][1]["segmentation"] = []
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(truth))
    results = [_found(1, 3, BOX, 0.9), _found(2, 3, BOX, 0.8)]
    assert evaluate_coco(path, results, iou_type="bbox", backend=backend)["AP"] == pytest.approx(1.0)
    assert evaluate_coco(path, results, iou_type="segm", backend=backend)["AR100"] == pytest.approx(1.0)


MALFORMED_MASKS = [
    [[]],
    [[1.0, 1.0, 5.0, 1.0]],
    [[1.0, 1.0, 5.0, 1.0, 5.0, 5.0, 1.0]],
    [["a"] * 6],
    "x",
    None,
    {"size": [100, 100], "counts": "zz"},
    {"size": [5, 5], "counts": [0, 25]},
    {"size": [100, 100], "counts": 7},
]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("segmentation", MALFORMED_MASKS)
def test_malformed_masks_and_null_are_no_masks(backend: str, tmp_path: Path, segmentation: object) -> None:
    truth = _truth([(1, 3, BOX, 0), (2, 3, BOX, 0)])
    truth["annotations"][1].update(segmentation=segmentation, area=None, iscrowd=None)
    path = tmp_path / "truth.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(truth).encode())
    results = [_found(1, 3, BOX, 0.9), _found(2, 3, BOX, 0.8)]
    assert evaluate_coco(path, results, iou_type="bbox", backend=backend)["AP"] == pytest.approx(1.0)
    assert evaluate_coco(path, results, iou_type="segm", backend=backend)["AR100"] == pytest.approx(1.0)


def test_polygon_without_its_outer_list_is_a_mask(backend: str, tmp_path: Path) -> None:
    truth = _truth([(1, 3, BOX, 0)])
    truth["annotations"][0]["segmentation"] = truth["annotations"][0]["segmentation"][0]
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(truth))
    assert evaluate_coco(path, [_found(1, 3, BOX, 0.9)], iou_type="segm", backend=backend)["AP"] == pytest.approx(1.0)


def test_file_of_images_alone_has_no_ground_truth(backend: str, tmp_path: Path) -> None:
    truth = _truth([])
    del truth["annotations"]
    path = tmp_path / "test.json"
    path.write_text(json.dumps(truth))
    assert evaluate_coco(path, [_found(1, 3, BOX, 0.9)], iou_type="bbox", backend=backend)["AP"] == -1.0


def test_inputs_stay_as_they_are(backend: str) -> None:
    truth, results = _truth([(1, 3, BOX, 0)]), [_found(1, 3, BOX, 0.9)]
    before = json.dumps([truth, results])
    for iou_type in ("bbox", "segm"):
        evaluate_coco(truth, results, iou_type=iou_type, backend=backend)
    assert json.dumps([truth, results]) == before


def test_wrong_input_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = _truth([(1, 3, BOX, 0)])
    with pytest.raises(UserError, match="IoU type 'box' is unknown; legal: bbox, segm"):
        evaluate_coco(truth, [], iou_type="box")
    with pytest.raises(UserError, match="1 images that the ground truth lacks, first id 5"):
        evaluate_coco(truth, [_found(5, 3, BOX, 1.0)], iou_type="bbox")
    with pytest.raises(UserError, match="evaluator 'fast' is unknown; legal: auto, hotcoco, pycocotools"):
        resolve_backend("fast")
    broken = tmp_path / "broken.json"
    broken.write_text('{"images": [')
    with pytest.raises(UserError, match="broken.json: broken json at line 1"):
        read_ground_truth(broken)
    monkeypatch.setattr(coco_backends.importlib.util, "find_spec", lambda name: None)
    assert resolve_backend("auto") == "pycocotools"
    with pytest.raises(UserError, match=r"pip install 'fpt\[fasteval\]'"):
        resolve_backend("hotcoco")


def test_detections_become_results(tmp_path: Path) -> None:
    rle = {"size": [9, 9], "counts": "abc"}
    boxes = np.array([[1.0, 2.0, 4.0, 8.0]], np.float32)
    image = Detections(42, (9, 9), boxes, np.array([2]), np.array([0.5], np.float32), [rle])
    results = to_coco_results([image, Detections.empty(43, (9, 9))], (3, 7))
    assert results == [
        {"image_id": 42, "category_id": 7, "bbox": [1.0, 2.0, 3.0, 6.0], "score": 0.5, "segmentation": rle}
    ]
    assert [path.name for path in write_results(tmp_path, results)] == ["bbox.json", "segm.json"]
    assert "segmentation" not in json.loads((tmp_path / "bbox.json").read_text())[0]
    assert json.loads((tmp_path / "segm.json").read_text())[0]["segmentation"] == rle
    assert [path.name for path in write_results(tmp_path, [])] == ["bbox.json"]
    assert not (tmp_path / "segm.json").exists()


def test_metrics_are_valid_json(tmp_path: Path) -> None:
    metrics = {"bbox": {"AP": 0.5, "APs": -1.0, "per_class": {"dog": float("nan"), "cat": np.float32(0.25)}}}
    write_metrics(tmp_path / "metrics.json", metrics)
    read = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert read == {"bbox": {"AP": 0.5, "APs": None, "per_class": {"dog": None, "cat": 0.25}}}
