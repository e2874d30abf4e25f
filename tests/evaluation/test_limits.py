"""More than 100 objects an image, files without annotations, raw files, evaluators that fail."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fpt.annotations.ground_truth import GroundTruth, read_ground_truth
from fpt.evaluation.coco import evaluate_coco
from fpt.evaluation.evaluate import EVALUATORS, evaluate_dataset
from fpt.structures.detections import Detections
from fpt.utils.errors import UserError


@pytest.fixture(params=["pycocotools", "hotcoco"])
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "hotcoco":
        pytest.importorskip("hotcoco")
    return str(request.param)


def _content(num_objects: int, **changes: Any) -> dict[str, Any]:
    """An image of 200 x 200 with a grid of boxes."""
    annotations = [
        {"id": i + 1, "image_id": 1, "category_id": 1, "bbox": [12 * (i % 16), 12 * (i // 16), 10, 10], **changes}
        for i in range(num_objects)
    ]
    images = [{"id": 1, "width": 200, "height": 200, "file_name": "a.png"}]
    return {"images": images, "categories": [{"id": 1, "name": "nut"}], "annotations": annotations}


def _found(content: dict[str, Any]) -> Detections:
    boxes = np.array([item["bbox"] for item in content["annotations"]], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    scores = np.linspace(0.9, 0.1, len(boxes), dtype=np.float32)
    return Detections(1, (200, 200), boxes, np.ones(len(boxes), np.int64), scores)


@dataclass
class _Dataset:
    content: dict[str, Any]
    max_detections: int = 100
    oks_sigmas: tuple[float, ...] = ()
    raw_annotations: Any = None
    ann_file: Path = Path("a.json")
    has_masks: bool = False
    category_ids: tuple[int, ...] = (1,)
    image_ids: list[int] = field(default_factory=lambda: [1])

    def ground_truth(self) -> GroundTruth:
        return read_ground_truth(self.content)


def test_150_exact_detections(backend: str, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder):
    content = _content(150)
    metrics = evaluate_dataset(_Dataset(content, 200), [_found(content)], None, evaluators=(backend,))["bbox"]
    assert metrics["AP"] == metrics["AR200"] == 1.0
    assert metrics["AR100"] == pytest.approx(100 / 150)
    assert not [item for item in recwarn if "max_dets" in str(item.message)]
    with caplog.at_level(logging.INFO, "fpt"):
        metrics = evaluate_dataset(_Dataset(content, 100), [_found(content)], None, evaluators=(backend,))["bbox"]
    assert metrics["AR100"] == pytest.approx(100 / 150)
    assert "50 objects cannot be found: 1 images have more than the 100 detections" in caplog.text
    assert "TEST.DETECTIONS_PER_IM" in caplog.text
    assert "AR100" in caplog.text


def test_the_limit_is_100_at_least(backend: str):
    content = _content(60)
    metrics = evaluate_dataset(_Dataset(content, 20), [_found(content)], None, evaluators=(backend,))["bbox"]
    assert metrics["AR100"] == 1.0


@pytest.mark.parametrize("has_key", [True, False])
def test_a_file_without_annotations_gives_results_and_no_ap(tmp_path: Path, has_key: bool, caplog):
    content = _content(0)
    found = _found(_content(3))
    if not has_key:
        del content["annotations"]
    assert evaluate_dataset(_Dataset(content), [found], tmp_path) == {}
    assert "a.json has no annotations: the results are written, and there is no AP" in caplog.text
    assert (tmp_path / "bbox.json").read_text().count("image_id") == 3
    assert (tmp_path / "metrics.json").read_text().strip() == "{}"


def test_both_numbers_where_training_reads_a_file_otherwise(backend: str):
    content = _content(4)
    content["annotations"][3]["bbox"] = [20, 20, 0, 10]  # of no size: no detection can find it
    found = _found(_content(3))
    dataset = _Dataset(content, raw_annotations=lambda: content)
    metrics = evaluate_dataset(dataset, [found], None, evaluators=(backend,))
    assert metrics["bbox"]["AP"] == 1.0
    assert metrics["bbox_raw"]["AP"] == pytest.approx(76 / 101)  # three of four are found


def test_classes_that_do_not_count_are_left_out_of_the_raw_numbers_too():
    content = _content(4)
    content["categories"].append({"id": 2, "name": "bolt"})
    content["annotations"].append({**content["annotations"][0], "id": 9, "category_id": 2, "bbox": [150, 150, 9, 9]})
    truth = read_ground_truth(content)
    dataset = _Dataset(content, raw_annotations=lambda: content)
    dataset.ground_truth = lambda: truth.of_categories({1})  # type: ignore[method-assign]
    metrics = evaluate_dataset(dataset, [_found(_content(4))], None)
    assert metrics["bbox"] == metrics["bbox_raw"]
    assert metrics["bbox_raw"]["per_class"] == {"nut": 1.0}


@pytest.mark.parametrize("image_id", ["1", "img_1"])
def test_the_raw_numbers_of_a_file_whose_ids_are_text(image_id: str):
    content = _content(4)
    content["images"][0]["id"] = image_id
    for item in content["annotations"]:
        item |= {"image_id": image_id, "category_id": "nut"}
    content["categories"][0]["id"] = "nut"
    dataset = _Dataset(content, raw_annotations=lambda: content)
    metrics = evaluate_dataset(dataset, [_found(_content(4))], None)
    assert metrics["bbox"]["AP"] == metrics["bbox_raw"]["AP"] == 1.0


def test_a_raw_file_that_cannot_be_evaluated_is_named_and_costs_no_other_number(tmp_path: Path, caplog):
    dataset = _Dataset(_content(2), raw_annotations=lambda: {"images": [7]})
    metrics = evaluate_dataset(dataset, [_found(_content(2))], tmp_path)
    assert "TEST.RAW_GROUND_TRUTH: the annotation file cannot be evaluated on as it is" in caplog.text
    assert metrics["bbox"]["AP"] == 1.0
    assert "bbox_raw" not in metrics
    assert (tmp_path / "metrics.json").is_file()


@pytest.mark.parametrize("name", [{}, {"name": ""}, {"name": 7}])
@pytest.mark.parametrize("crowd", [{}, {"iscrowd": "0"}, {"iscrowd": "false"}])
def test_raw_numbers_of_odd_names_and_crowds(name: dict[str, Any], crowd: dict[str, Any]):
    content = _content(4, **crowd)
    content["categories"] = [{"id": 1, **name}]
    metrics = evaluate_dataset(_Dataset(content, raw_annotations=lambda: content), [_found(_content(4))], None)
    assert metrics["bbox"]["AP"] == metrics["bbox_raw"]["AP"] == 1.0


@pytest.mark.parametrize("key", ["image_id", "category_id"])
def test_negative_ids(key: str):
    content = _content(4)
    content["images" if key == "image_id" else "categories"][0]["id"] = -1
    for item in content["annotations"]:
        item[key] = -1
    results = [{**item, "score": 0.5} for item in content["annotations"]]
    assert evaluate_coco(content, results, iou_type="bbox")["AP"] == 1.0


def test_ids_beyond_what_a_float_holds(backend: str):
    first = 1403636579763555584  # nanoseconds since 1970
    content = _content(4)
    content["images"] = [{**content["images"][0], "id": first + i, "file_name": f"{i}.png"} for i in range(4)]
    for i, item in enumerate(content["annotations"]):
        item["image_id"] = first + i
    results = [
        {"image_id": first + i, "category_id": 1, "bbox": item["bbox"], "score": 0.5}
        for i, item in enumerate(content["annotations"])
    ]
    assert evaluate_coco(content, results, iou_type="bbox", backend=backend)["AP"] == 1.0


def test_what_an_evaluator_raises_is_one_message(monkeypatch: pytest.MonkeyPatch):
    def fail(dataset: object, detections: object) -> dict[str, Any]:
        raise KeyError("date_captured")

    monkeypatch.setitem(EVALUATORS, "mine", fail)
    with pytest.raises(UserError, match=r"the evaluator mine fails on a\.json: KeyError: 'date_captured'"):
        evaluate_dataset(_Dataset(_content(2)), [_found(_content(2))], None, evaluators=("mine",))


def test_detections_on_an_object_without_a_mask_do_not_count(backend: str):
    content = _content(3)
    for annotation in content["annotations"][:2]:
        x, y, w, h = annotation["bbox"]
        annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    truth = read_ground_truth(content)
    results = [
        {
            "image_id": 1,
            "category_id": 1,
            "score": 0.9 - i / 10,
            "bbox": item["bbox"],
            "segmentation": _rle(item["bbox"]),
        }
        for i, item in enumerate(reversed(content["annotations"]))
    ]
    assert evaluate_coco(truth, results, iou_type="segm", backend=backend)["AP"] == 1.0
    assert evaluate_coco(truth, results, iou_type="bbox", backend=backend)["AP"] == 1.0


def _rle(box: list[float]) -> dict[str, Any]:
    from pycocotools import mask as coco_mask

    x, y, w, h = box
    rle = coco_mask.merge(coco_mask.frPyObjects([[x, y, x + w, y, x + w, y + h, x, y + h]], 200, 200))
    return {"size": [200, 200], "counts": rle["counts"].decode()}
