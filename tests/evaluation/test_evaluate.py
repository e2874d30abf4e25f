"""Evaluation of a data set from detections to files."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fpt.annotations.ground_truth import GroundTruth, read_ground_truth
from fpt.evaluation.evaluate import EVALUATORS, evaluate_dataset
from fpt.structures.detections import Detections
from fpt.structures.paste import encode_patch
from fpt.synthetic.shapes import generate_shapes
from fpt.utils.errors import UserError


@dataclass
class _Dataset:
    ann_file: Path
    category_ids: tuple[int, ...]
    image_ids: list[int]
    has_masks: bool = True
    max_detections: int = 100
    oks_sigmas: tuple[float, ...] = ()
    raw_annotations: Any = None

    def ground_truth(self) -> GroundTruth:
        return read_ground_truth(self.ann_file)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> _Dataset:
    folder = tmp_path_factory.mktemp("shapes")
    generate_shapes(folder, num_train=0, num_val=6, size=64)
    truth = read_ground_truth(folder / "annotations/val.json")
    return _Dataset(
        folder / "annotations/val.json",
        tuple(category["id"] for category in truth.categories),
        [image["id"] for image in truth.images],
    )


def _perfect(dataset: _Dataset, *, with_masks: bool) -> list[Detections]:
    truth = read_ground_truth(dataset.ann_file)
    images = []
    for image in truth.images:
        items = [a for a in truth.annotations if a["image_id"] == image["id"] and not a["iscrowd"]]
        boxes = np.array([a["bbox"] for a in items], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        size_hw = (image["height"], image["width"])
        rles = []
        for x1, y1, x2, y2 in boxes.astype(int).tolist():
            rles.append(encode_patch(np.ones((y2 - y1, x2 - x1), bool), x1, y1, size_hw))
        labels = np.array([a["category_id"] for a in items], np.int64)
        scores = np.ones(len(items), np.float32)
        images.append(Detections(image["id"], size_hw, boxes, labels, scores, rles if with_masks else None))
    return images


def test_files_and_numbers(dataset: _Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="fpt")
    metrics = evaluate_dataset(dataset, _perfect(dataset, with_masks=True), tmp_path)
    assert metrics["bbox"]["AP"] == pytest.approx(1.0)
    assert 0 < metrics["segm"]["AP50"] < 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bbox.json", "metrics.json", "segm.json"]
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["bbox"]["AP"] == metrics["bbox"]["AP"]
    assert "locked_ring" in caplog.text


def test_no_masks_found(dataset: _Dataset, tmp_path: Path) -> None:
    metrics = evaluate_dataset(dataset, _perfect(dataset, with_masks=False), tmp_path)
    assert list(metrics) == ["bbox"]


def test_nothing_found(dataset: _Dataset, tmp_path: Path) -> None:
    empty = [Detections.empty(image_id, (64, 64), with_masks=True) for image_id in dataset.image_ids]
    metrics = evaluate_dataset(dataset, empty, tmp_path)
    assert metrics["bbox"]["AP"] == metrics["segm"]["AP"] == 0.0
    assert json.loads((tmp_path / "bbox.json").read_text()) == []


def test_a_label_out_of_range_is_named(dataset: _Dataset, tmp_path: Path) -> None:
    strange = _Dataset(dataset.ann_file, (1, 2), dataset.image_ids)
    found = Detections(dataset.image_ids[0], (64, 64), np.ones((1, 4)), np.array([7]), np.ones(1))
    with pytest.raises(UserError, match="label 7, but .* has 2 classes"):
        evaluate_dataset(strange, [found], tmp_path)


def test_evaluators_are_put_together(
    dataset: _Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="fpt")
    monkeypatch.setitem(EVALUATORS, "number", lambda dataset, detections: {"found": {"images": len(detections)}})
    metrics = evaluate_dataset(
        dataset, _perfect(dataset, with_masks=False), tmp_path, evaluators=("number", "pycocotools")
    )
    assert list(metrics) == ["found", "bbox"]
    assert json.loads((tmp_path / "metrics.json").read_text())["found"] == {"images": 6}
    assert re.search(r"found +value\n-+ +-+\nimages +6", caplog.text)


@pytest.mark.parametrize(
    ("evaluators", "message"),
    [
        (("coco",), "TEST.EVALUATOR is 'coco'; legal: auto, hotcoco, pycocotools; the nearest is"),
        ((), "TEST.EVALUATOR is empty; legal: one or more of auto, hotcoco, pycocotools"),
        (("auto", "pycocotools"), r"pycocotools returns bbox, as one before it does; leave one of them out"),
    ],
)
def test_wrong_evaluators_are_named(
    dataset: _Dataset, tmp_path: Path, evaluators: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        evaluate_dataset(dataset, _perfect(dataset, with_masks=False), tmp_path, evaluators=evaluators)
