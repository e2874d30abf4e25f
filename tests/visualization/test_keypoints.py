"""Drawings of key points."""

from __future__ import annotations

import numpy as np

from fpt.structures.detections import Detections
from fpt.visualization.draw import detections_to_json, draw_detections, draw_side_by_side
from fpt.visualization.ground_truth import detections_from_annotations


def _detections(scores: list[float], *, size: int = 800) -> Detections:
    points = np.array([[[200 + 150 * i, 400, score] for i, score in enumerate(scores)]], np.float32)
    box = np.array([[100, 100, 790, 700]], np.float32)
    return Detections(1, (size, size), box, np.array([1]), np.array([0.9], np.float32), None, points)


def _drawn(scores: list[float], **options: object) -> np.ndarray:
    return draw_detections(np.full((800, 800, 3), 90, np.uint8), _detections(scores), ["figure"], **options)


def test_certain_points_are_dots_others_rings_and_absent_ones_nothing() -> None:
    image = _drawn([0.6, 0.01, 0.0])
    assert image[400, 200].tolist() == [255, 255, 255]
    assert image[400, 350].tolist() == [90, 90, 90]  # the middle of a ring
    assert image[395:406, 345:356].min(axis=2).max() > 200
    assert (image[390:411, 490:511] == 90).all()
    truth = _drawn([1.0, 0.5, 0.0], is_truth=True)
    assert truth[400, 200].tolist() == [255, 255, 255]
    assert truth[400, 350].tolist() == [90, 90, 90]


def test_the_skeleton_connects_points_that_are_there() -> None:
    image = _drawn([0.6, 0.6, 0.0], skeleton=((0, 1), (1, 2)))
    assert image[400, 275].tolist() != [90, 90, 90]
    assert image[400, 425].tolist() == [90, 90, 90]


def test_found_beside_annotated() -> None:
    items = [
        {"bbox": [100, 100, 600, 500], "category_id": 1, "keypoints": [200, 400, 2, 350, 400, 1]},
        {"bbox": [10, 10, 30, 30], "category_id": 1},
    ]
    truth = detections_from_annotations(items, [1], image_id=1, size_hw=(800, 800))
    assert truth.keypoints[..., 2].tolist() == [[1, 0.5], [0, 0]]
    both = draw_side_by_side(np.full((800, 800, 3), 90, np.uint8), _detections([0.6]), truth, ["figure"])
    assert both.shape[1] > 1600
    none = detections_from_annotations(items[1:], [1], image_id=1, size_hw=(800, 800))
    assert none.keypoints is None


def test_as_json() -> None:
    (item,) = detections_to_json(_detections([0.6, 0.25]), ["figure"])["detections"]
    assert item["keypoints"] == [[200.0, 400.0, 0.6], [350.0, 400.0, 0.25]]
