"""Every fault of an annotation file is named, with what is done about it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from fpt.dataloaders.coco_json import load_json, read_packed
from fpt.utils.errors import UserError


def _error(coco_folder) -> str:
    coco_folder.write()
    with pytest.raises(UserError) as error:
        read_packed(coco_folder.ann_file, load_json)
    return str(error.value)


def _findings(coco_folder) -> tuple[Any, str]:
    coco_folder.write()
    packed, _, report = read_packed(coco_folder.ann_file, load_json)
    return packed, report.text()


def test_packed_arrays(coco_folder):
    packed, text = _findings(coco_folder)
    assert "\n" not in text
    assert packed.object_offsets.tolist() == [0, 3, 4, 4]
    assert packed.annotation_ids.tolist() == [1, 3, 4, 2]
    assert packed.labels.tolist() == [2, 1, 1, 1]
    assert packed.is_crowd.tolist() == [False, True, False, False]
    assert packed.areas.tolist() == [100, 60, 400, 600]
    assert packed.boxes_xyxy[2].tolist() == [20, 10, 40, 30]
    assert [len(packed.polygons(i)) for i in range(4)] == [1, 0, 2, 1]
    assert packed.polygons(3)[0].tolist() == [[0, 0], [30, 0], [30, 20]]
    assert packed.rle(0, (30, 40)) is None
    assert packed.rle(1, (30, 40))["size"] == [30, 40]
    assert packed.keypoints_of(0).tolist() == [[5, 7, 2], [0, 0, 0]]
    assert packed.keypoints_of(1).shape == (0, 3)
    assert packed.file_names(3) == ["0.png", "1.png", "2.png"]


def test_broken_json_names_the_position(coco_folder):
    text = json.dumps(coco_folder.content, indent=1)
    cut = text.index('"fig"')
    coco_folder.ann_file.write_text(text[:cut] + text[cut + 5 :])
    with pytest.raises(UserError, match=r"broken json at line \d+, column \d+ \(character \d+\): Expecting value"):
        read_packed(coco_folder.ann_file, load_json)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "broken json at line 1, column 1"),
        (b'{"images": "\xff"}', "byte 12 is no text"),
        (b"[1, 2]", "the json's top is a list"),
        (b"[" * 100_000, "nested too deep"),
    ],
)
def test_no_annotation_file(coco_folder, content: bytes, message: str):
    coco_folder.ann_file.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_packed(coco_folder.ann_file, load_json)


def test_missing_keys_are_listed_together(coco_folder):
    del coco_folder.content["categories"], coco_folder.content["images"]
    message = _error(coco_folder)
    assert "no key 'categories'" in message
    assert "no key 'images'" in message
    assert "the file has ['annotations']" in message


def test_file_without_annotations_is_images_alone(coco_folder):
    del coco_folder.content["annotations"]
    packed, text = _findings(coco_folder)
    assert len(packed) == 3
    assert "no key 'annotations': read as images alone" in text


def test_fatal_faults_are_reported_together(coco_folder):
    coco_folder.annotations[0]["category_id"] = 8
    coco_folder.annotations[1]["image_id"] = 99
    coco_folder.annotations[2]["bbox"] = [1, 2, 3]
    coco_folder.annotations[3].pop("bbox")
    coco_folder.content["images"][0]["height"] = 0
    coco_folder.content["images"][1].pop("width")
    message = _error(coco_folder)
    assert "1 x annotations whose 'category_id' is not in the file: correct it [annotation 1 has 8]" in message
    assert "1 x annotations whose 'image_id' is not in the file: correct it [annotation 2 has 99]" in message
    assert "boxes that are not [x, y, width, height]: correct them [id 3 has [1, 2, 3]]" in message
    assert "annotations without the key 'bbox': add it [id 4]" in message
    assert "images whose 'height' is not a whole number from 1: correct it [0.png has 0]" in message
    assert "images without the key 'width': add it [1.png]" in message


def test_duplicate_ids(coco_folder):
    coco_folder.annotations[1]["id"] = 1
    coco_folder.content["images"][1]["id"] = 10
    coco_folder.content["categories"].append({"id": 7, "name": "fig"})
    message = _error(coco_folder)
    for what, value in (("annotation", 1), ("image", 10), ("category", 7)):
        assert f"{what} ids that occur more than once: give each its own [{value} (2 times)]" in message
    assert "category names that occur more than once" in message


@pytest.mark.parametrize("value", ["10", 1.5, None, [1]])
def test_ids_that_are_no_whole_numbers(coco_folder, value):
    coco_folder.annotations[0]["image_id"] = value
    message = _error(coco_folder)
    assert "without the key 'image_id'" in message or f"id 1 has {value!r}" in message


def test_whole_floats_are_ids(coco_folder):
    coco_folder.annotations[0]["image_id"] = 10.0
    assert _findings(coco_folder)[0].object_offsets.tolist() == [0, 3, 4, 4]


def test_wrong_boxes_are_dropped_or_clipped(coco_folder):
    coco_folder.annotations[0]["bbox"] = [4, 6, 0, 12]
    coco_folder.annotations[1]["bbox"] = [-10, 0, 25, 60]
    coco_folder.annotations[2]["bbox"] = [float("nan"), 0, 2, 30]
    coco_folder.annotations[3]["bbox"] = [50, 0, 10, 10]
    packed, text = _findings(coco_folder)
    assert packed.boxes_xyxy.tolist() == [[0, 0, 15, 40]]
    assert "1 x degenerate boxes (no width or height): dropped [annotation 1 [4.0, 6.0, 0.0, 12.0]]" in text
    assert "1 x boxes with NaN or infinite numbers: dropped [annotation 3 " in text
    assert "1 x boxes outside their image: dropped [annotation 4 " in text
    assert "1 x boxes that reach out of their image: clipped to it [annotation 2 " in text
    assert "(2 without objects" in text


def test_box_over_the_edge_by_rounding_is_clipped_silently(coco_folder):
    coco_folder.annotations[3]["bbox"] = [20, 10, 20.4, 20]
    packed, text = _findings(coco_folder)
    assert packed.boxes_xyxy[2].tolist() == [20, 10, 40, 30]
    assert "\n" not in text


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 2, 3, 4]], "odd count of numbers or less than 3 points: dropped [annotation 1 has 4]"),
        ([[1, 2, 3, 4, 5, 6, 7]], "odd count of numbers or less than 3 points: dropped [annotation 1 has 7]"),
        ([[]], "[annotation 1 has 0]"),
        ([[1, 2, 3, 4, 5, float("nan")]], "polygons with NaN, infinite or huge numbers: dropped"),
        ([[1, 2, 3, 4, 5, 1e9]], "polygons with NaN, infinite or huge numbers: dropped"),
        ([["a", 2, 3, 4, 5, 6]], "polygons that are no lists of numbers: dropped"),
        ([None], "polygons that are no lists of numbers: dropped"),
        ("text", "neither polygons nor run lengths: dropped"),
        ({"size": [40, 30], "counts": [1200]}, "annotation 1: size [40, 30], the image has [30, 40]"),
        ({"size": [30, 40], "counts": [1199]}, "annotation 1: runs cover 1199 pixels, not 30 x 40"),
        ({"size": [30, 40], "counts": "!!"}, "annotation 1: counts are no compressed run lengths"),
        ({"size": [30, 40], "counts": [-1, 1201]}, "run lengths are not whole numbers from 0"),
        ({"counts": [1200]}, "annotation 1: no key 'size'"),
    ],
)
def test_wrong_masks_are_dropped(coco_folder, segmentation, message: str):
    coco_folder.annotations[0]["segmentation"] = segmentation
    packed, text = _findings(coco_folder)
    assert message in text
    assert "objects without a mask among others with one: the box stays" in text
    assert packed.has_mask().tolist() == [False, True, True, True]
    assert [len(packed.polygons(i)) for i in range(4)] == [0, 0, 2, 1]


def test_one_wrong_part_leaves_the_others(coco_folder):
    coco_folder.annotations[3]["segmentation"].insert(1, [1, 2])
    packed, _ = _findings(coco_folder)
    assert [part[0].tolist() for part in packed.polygons(2)] == [[20, 10], [20, 25]]


def test_polygon_without_outer_list(coco_folder):
    coco_folder.annotations[0]["segmentation"] = [4, 6, 14, 6, 14, 18]
    packed, _ = _findings(coco_folder)
    assert packed.polygons(0)[0].tolist() == [[4, 6], [14, 6], [14, 18]]


def test_wrong_keypoints_are_dropped(coco_folder):
    coco_folder.annotations[0]["keypoints"] = [1, 2, 2, 3]
    packed, text = _findings(coco_folder)
    assert "key points that are not x, y, visibility each: dropped [annotation 1]" in text
    assert len(packed.keypoints) == 0


def test_many_faults_show_the_first_few(coco_folder):
    coco_folder.content["annotations"] = [
        {"id": k, "image_id": 10, "category_id": 3, "bbox": [0, 0, 0, 0]} for k in range(1, 101)
    ]
    _, text = _findings(coco_folder)
    assert "100 x degenerate boxes" in text
    assert "annotation 5 [0.0, 0.0, 0.0, 0.0] and 95 more]" in text
    assert "annotation 6 " not in text


def test_empty_lists(coco_folder):
    coco_folder.content = {"images": [], "categories": [], "annotations": []}
    message = _error(coco_folder)
    assert "empty list under 'images': fill it" in message
    assert "empty list under 'categories': fill it" in message


def test_areas_default_to_the_box(coco_folder):
    coco_folder.annotations[0]["area"] = float("nan")
    packed, _ = _findings(coco_folder)
    assert np.isclose(packed.areas[0], 120)


def test_id_of_more_than_64_bits_is_named(coco_folder):
    coco_folder.content["annotations"][0]["id"] = 1 << 70
    assert f"annotations whose 'id' is not a whole number: correct it [id {1 << 70} has {1 << 70}]" in _error(
        coco_folder
    )
