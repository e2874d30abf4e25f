"""Masks in slightly other forms than COCO's are read where they can mean one thing only."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from fpt.annotations.pack import ReadAnnotations, pack_content

FLAT = [4, 6, 14, 6, 14, 18, 4, 18]
PAIRS = [[4, 6], [14, 6], [14, 18], [4, 18]]


def _rle() -> dict[str, Any]:
    mask = np.zeros((30, 40), np.uint8, order="F")
    mask[6:18, 4:14] = 1
    rle = coco_mask.encode(mask)
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def _pack(segmentation: Any, **more: Any) -> ReadAnnotations:
    annotation = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [4, 6, 10, 12],
        "segmentation": segmentation,
        **more,
    }
    images = [{"id": 1, "file_name": "a.png", "height": 30, "width": 40}]
    return pack_content(
        "a.json", {"images": images, "categories": [{"id": 1, "name": "a"}], "annotations": [annotation]}
    )


@pytest.mark.parametrize(
    "segmentation",
    [
        PAIRS,
        [PAIRS],
        [[FLAT]],
        [[[FLAT]]],
        json.dumps([FLAT]),
        [[str(number) for number in FLAT]],
        [{"x": x, "y": y} for x, y in PAIRS],
    ],
)
def test_polygons_in_other_forms(segmentation):
    found = _pack(segmentation)
    assert [part.ravel().tolist() for part in found.packed.polygons(0)] == [FLAT]
    assert "segmentations in another form" in found.report.text()
    assert not found.report.has_faults


def test_several_polygons_a_bracket_too_deep():
    assert len(_pack([[FLAT], [FLAT]]).packed.polygons(0)) == 2


@pytest.mark.parametrize("wrap", [lambda rle: [rle], lambda rle: [[rle]], json.dumps, lambda rle: [rle, rle]])
def test_run_lengths_in_other_forms(wrap):
    found = _pack(wrap(_rle()))
    assert found.packed.polygons(0) == []
    assert np.array_equal(coco_mask.decode(found.packed.rle(0, (30, 40))), coco_mask.decode(_rle()))
    assert not found.report.has_faults


@pytest.mark.parametrize(
    ("segmentation", "fault"),
    [
        ([[4, 6, 14, 18]], "less than 3 points: dropped [annotation 1 has 4 (a box?)]"),
        ([4, 6, 14, 18], "less than 3 points: dropped [annotation 1 has 4 (a box?)]"),
        ("a text", "neither polygons nor run lengths: dropped [annotation 1 has 'a text']"),
        (7, "neither polygons nor run lengths: dropped [annotation 1 has 7]"),
        ([_rle() | {"size": [40, 30]}], "the image has [30, 40] (height, width)"),
        ([[[[[FLAT]]]]], "polygons that are no lists of numbers: dropped"),
        ([[4, 6, 14, 6, 14, int("9" * 400)]], "polygons"),
    ],
)
def test_what_cannot_be_read_is_named(segmentation, fault):
    found = _pack(segmentation)
    assert not found.packed.has_mask().any()
    assert fault in found.report.text()
    assert found.report.has_faults


@pytest.mark.parametrize("segmentation", [None, [], "", {}])
def test_nothing_is_no_fault(segmentation):
    found = _pack(segmentation)
    assert not found.packed.has_mask().any()


@pytest.mark.parametrize("keypoints", [[5, 7, 2, 0, 0, 0], [[5, 7, 2], [0, 0, 0]], ["5", "7.0", 2, 0, 0, 0]])
def test_key_points(keypoints):
    assert _pack([FLAT], keypoints=keypoints).packed.keypoints_of(0).tolist() == [[5, 7, 2], [0, 0, 0]]


@pytest.mark.parametrize(
    "keypoints", [5, "x", [1, 2], [1, 2, float("nan")], [int("9" * 400), 1, 2], {"a": 1}, [None] * 3]
)
def test_wrong_key_points_are_named(keypoints):
    found = _pack([FLAT], keypoints=keypoints)
    assert len(found.packed.keypoints) == 0
    assert "key points that are not x, y, visibility each: dropped [annotation 1]" in found.report.text()
