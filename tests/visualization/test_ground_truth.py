"""Ground truth in the form of detections."""

from __future__ import annotations

import numpy as np

from fpt.structures.paste import decode_mask
from fpt.visualization.ground_truth import detections_from_annotations


def test_polygons_and_both_kinds_of_rle() -> None:
    square = [[2.0, 1.0, 5.0, 1.0, 5.0, 4.0, 2.0, 4.0]]
    runs = {"size": [6, 8], "counts": [13, 3, 3, 3, 3, 3, 20]}
    item = {"bbox": [2, 1, 3, 3], "category_id": 9, "iscrowd": 0}
    found = detections_from_annotations(
        [{**item, "segmentation": square}, {**item, "segmentation": runs}, {**item, "iscrowd": 1}],
        (4, 9),
        image_id=3,
        size_hw=(6, 8),
    )
    assert found.labels.tolist() == [2, 2]
    assert found.boxes[0].tolist() == [2, 1, 5, 4]
    assert found.rles is not None
    expected = np.zeros((6, 8), bool)
    expected[1:4, 2:5] = True
    assert (decode_mask(found.rles[1]) == expected).all()
    assert (decode_mask(found.rles[0]) == expected).all()
    again = detections_from_annotations([{**item, "segmentation": found.rles[0]}], (4, 9), image_id=3, size_hw=(6, 8))
    assert again.rles == found.rles[:1]


def test_boxes_alone_and_nothing() -> None:
    item = {"bbox": [2, 1, 3, 3], "category_id": 4}
    assert detections_from_annotations([item], (4,), image_id=1, size_hw=(6, 8)).rles is None
    assert len(detections_from_annotations([], (4,), image_id=1, size_hw=(6, 8))) == 0
