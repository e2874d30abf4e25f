"""Boxes that cannot be x, y, width, height in pixels are refused with the arithmetic, and converted on demand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fpt.annotations.boxes import BOX_FORMATS, convert_boxes
from fpt.annotations.pack import ReadAnnotations, pack_content
from fpt.utils.errors import UserError

BOXES = [[10, 20, 30, 40], [50, 10, 40, 60], [5, 5, 20, 10], [60, 60, 30, 35]]
SIZE_WH = np.array([100.0, 100.0])


def _pack(boxes: list[list[float]], *, box_format: str = "xywh", with_masks: bool = False) -> ReadAnnotations:
    annotations: list[dict[str, Any]] = []
    for i, (box, (x, y, w, h)) in enumerate(zip(boxes, BOXES, strict=True), start=1):
        annotation = {"id": i, "image_id": 1, "category_id": 1, "bbox": box}
        if with_masks:
            annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        annotations.append(annotation)
    images = [{"id": 1, "file_name": "a.png", "height": 100, "width": 100}]
    content = {"images": images, "categories": [{"id": 1, "name": "a"}], "annotations": annotations}
    return pack_content("a.json", content, box_format=box_format)


def _in_format(box_format: str) -> list[list[float]]:
    boxes = np.array(BOXES, np.float64)
    if box_format.startswith("xyxy"):
        boxes[:, 2:] += boxes[:, :2]
    if box_format.startswith("cxcywh"):
        boxes[:, :2] += boxes[:, 2:] / 2
    return (boxes / 100 if box_format.endswith("relative") else boxes).tolist()


@pytest.mark.parametrize("box_format", BOX_FORMATS)
def test_each_form_gives_the_same_boxes(box_format: str):
    found = _pack(_in_format(box_format), box_format=box_format)
    assert np.allclose(found.packed.boxes_xywh, BOXES)
    assert np.allclose(found.packed.boxes_xyxy[:, 2:], np.array(BOXES)[:, :2] + np.array(BOXES)[:, 2:])


def test_relative_polygons_follow_their_boxes():
    content_boxes = _in_format("xywh_relative")
    found = _pack(content_boxes, box_format="xywh_relative", with_masks=True)
    assert found.packed.polygons(0)[0].tolist()[0] == [10, 20]  # in pixels already
    assert convert_boxes(np.array(content_boxes), np.full((4, 2), 100), "xywh_relative").tolist() == pytest.approx(
        np.array(BOXES, float)
    )


def test_boxes_between_0_and_1_are_refused_with_the_arithmetic():
    with pytest.raises(UserError, match="boxes whose numbers all lie between 0 and 1") as error:
        _pack(_in_format("xywh_relative"))
    message = str(error.value)
    assert "BOX_FORMAT xywh_relative" in message
    assert "[0.1, 0.2, 0.3, 0.4] as pixels of an image of 100 x 100 would be 0.3 x 0.4 pixels" in message
    assert "times the size it is 30 x 40 at 10, 20" in message
    assert "degenerate" not in message


@pytest.mark.parametrize("with_masks", [True, False])
def test_corners_are_refused_with_the_arithmetic(with_masks: bool):
    with pytest.raises(UserError, match="boxes that are corners") as error:
        _pack(_in_format("xyxy"), with_masks=with_masks)
    message = str(error.value)
    assert "declare the data set with BOX_FORMAT xyxy" in message
    assert "[60, 60, 90, 95]: 60 + 90 = 150 and 60 + 95 = 155, but the image is 100 x 100" in message
    assert "clipped" not in message


def test_right_boxes_that_would_be_possible_as_corners_pass():
    boxes = [[10, 20, 30, 40], [5, 5, 20, 10], [1, 1, 99, 99], [0, 0, 50, 50]]
    assert len(_pack(boxes).packed.labels) == 4


def test_large_boxes_of_which_one_reaches_out_are_no_corners():
    boxes = [[10.0, 10.0, 80.0, 85.0]] * 23 + [[10.0, 10.0, 92.0, 80.0]]
    annotations = [{"id": i, "image_id": 1, "category_id": 1, "bbox": box} for i, box in enumerate(boxes, start=1)]
    images = [{"id": 1, "file_name": "a.png", "height": 100, "width": 100}]
    found = pack_content("a", {"images": images, "categories": [{"id": 1, "name": "a"}], "annotations": annotations})
    assert found.packed.boxes_xywh[-1].tolist() == [10, 10, 90, 80]
    assert "boxes that reach out of their image: clipped to it [annotation 24" in found.report.text()


def test_relative_key_points_follow_their_boxes():
    categories = [{"id": 1, "name": "a", "keypoints": ["tip", "end", "lid"], "skeleton": []}]
    images = [{"id": 1, "file_name": "a.png", "height": 100, "width": 200}]
    points = [0.4, 0.3, 2, 0.5, 1, 1, 0, 0, 0]
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0.5, 0.5, 0.4, 0.8], "keypoints": points}
    content = {"images": images, "categories": categories, "annotations": [annotation]}
    found = pack_content("a.json", content, box_format="cxcywh_relative")
    assert found.packed.boxes_xywh[0].tolist() == pytest.approx([60, 10, 80, 80])
    assert found.packed.keypoints_of(0).ravel().tolist() == pytest.approx([80, 30, 2, 100, 100, 1, 0, 0, 0])


def test_an_unknown_form_is_named():
    with pytest.raises(UserError, match="BOX_FORMAT is 'yolo'; legal: xywh, xyxy"):
        _pack(BOXES, box_format="yolo")
