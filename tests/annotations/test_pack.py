"""Every fault of an annotation file is named, with what is done about it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fpt.annotations.ground_truth import read_ground_truth
from fpt.annotations.json_file import load_json
from fpt.annotations.pack import read_packed
from fpt.utils.errors import UserError


def _error(coco_folder) -> str:
    coco_folder.write()
    with pytest.raises(UserError) as error:
        read_packed(coco_folder.ann_file, load_json)
    return str(error.value)


def _findings(coco_folder) -> tuple[Any, str]:
    coco_folder.write()
    found = read_packed(coco_folder.ann_file, load_json)
    return found.packed, found.report.text()


def test_packed_arrays(coco_folder):
    packed, text = _findings(coco_folder)
    assert "\n" not in text
    assert packed.object_offsets.tolist() == [0, 3, 4, 4]
    assert packed.annotation_ids.tolist() == [1, 3, 4, 2]
    assert packed.labels.tolist() == [2, 1, 1, 1]
    assert packed.is_crowd.tolist() == [False, True, False, False]
    assert packed.areas.tolist() == [100, 60, 300, 300]  # the file's, and those of the masks
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
        (b"", "the annotation file is empty"),
        (b"{", "broken json at line 1, column 2"),
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
    assert "the file has 'annotations'" in message


def test_file_without_annotations_is_images_alone(coco_folder):
    del coco_folder.content["annotations"]
    packed, text = _findings(coco_folder)
    assert len(packed) == 3
    assert "no key 'annotations': read as images alone" in text


def test_fatal_faults_are_reported_together(coco_folder):
    coco_folder.annotations[0]["category_id"] = 8
    coco_folder.annotations[1]["image_id"] = 99
    coco_folder.annotations[2]["bbox"] = [1, 2, 3]
    coco_folder.annotations[3]["iscrowd"] = "maybe"
    message = _error(coco_folder)
    assert "1 x annotations whose 'category_id' is not in the file: correct it [annotation 1 has 8]" in message
    assert "1 x annotations whose 'image_id' is not in the file: correct it [annotation 2 has 99]" in message
    assert "boxes that are not [x, y, width, height]: correct them [annotation 3 has [1, 2, 3]]" in message
    assert "annotations whose 'iscrowd' is neither 0 nor 1: correct it [annotation 4 has 'maybe']" in message


def test_faults_of_images_are_reported_together_and_alone(coco_folder):
    coco_folder.content["images"][0]["height"] = 0
    coco_folder.content["images"][1].pop("width")
    coco_folder.content["images"][2].pop("id")
    message = _error(coco_folder)
    assert "images whose 'height' is not a whole number from 1 to 1000000: correct it [0.png has 0]" in message
    assert "images without height and width: add them [1.png]" in message
    assert "images without the key 'id': add it [2.png]" in message
    assert "not in the file" not in message  # it would only follow


def test_repeated_ids_of_images_are_named(coco_folder):
    coco_folder.content["images"][1]["id"] = 10
    assert "image ids that occur more than once: give each its own [10 (2 times)]" in _error(coco_folder)


@pytest.mark.parametrize("ids", [[1, 1, 3, 4], [None] * 4, ["a", "b", "c", "d"], [1 << 70, 2, 3, 4], [[], {}, 1, 2]])
def test_annotations_are_numbered_anew_where_their_ids_are_none(coco_folder, ids):
    for annotation, value in zip(coco_folder.annotations, ids, strict=True):
        annotation["id"] = value
    packed, text = _findings(coco_folder)
    assert sorted(packed.annotation_ids.tolist()) == [1, 2, 3, 4]
    assert "all are numbered anew" in text


@pytest.mark.parametrize("value", [1.5, None, [1], "x"])
def test_references_that_are_no_whole_numbers(coco_folder, value):
    coco_folder.annotations[0]["image_id"] = value
    message = _error(coco_folder)
    assert "without the key 'image_id'" in message or f"annotation 1 has {value!r}" in message
    assert "not in the file" not in message


def test_numbers_as_text_are_numbers(coco_folder):
    coco_folder.content["images"][0] |= {"id": "10", "height": "30.0000", "width": "40"}
    coco_folder.annotations[0] |= {
        "image_id": "10",
        "category_id": "7",
        "bbox": ["4.0", "6", "10", "12"],
        "iscrowd": "0",
    }
    packed, text = _findings(coco_folder)
    assert packed.object_offsets.tolist() == [0, 3, 4, 4]
    assert packed.boxes_xyxy[0].tolist() == [4, 6, 14, 18]
    assert packed.is_crowd.tolist() == [False, True, False, False]
    assert text.count("\n") == 1
    assert (
        "6 x numbers that are written as text: read as numbers [id of 0.png: '10', height of 0.png: '30.0000'" in text
    )


@pytest.mark.parametrize(
    ("value", "is_crowd"), [("0", False), ("1", True), ("false", False), (True, True), (None, False), (1.0, True)]
)
def test_crowd_flags(coco_folder, value, is_crowd):
    coco_folder.annotations[0]["iscrowd"] = value
    assert _findings(coco_folder)[0].is_crowd[0] == is_crowd


def test_text_ids_are_numbered(coco_folder):
    for entry in coco_folder.content["images"]:
        entry["id"] = f"image-{entry['id']}"
    for entry in coco_folder.annotations:
        entry["image_id"] = f"image-{entry['image_id']}"
    packed, text = _findings(coco_folder)
    assert packed.image_ids.tolist() == [1, 2, 3]
    assert packed.object_offsets.tolist() == [0, 3, 4, 4]
    assert "3 x image ids that are text: numbered from 1 in the file's order ['image-10'" in text


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c["images"][0].update(height=int("9" * 400)),
        lambda c: c["images"][0].update(height=1 << 31),
        lambda c: c["images"][0].update(height=-5),
        lambda c: c["images"][0].update(height="9" * 400),
        lambda c: c["images"][0].update(file_name="\ud800.png"),
        lambda c: c["images"][0].update(file_name="a\0.png"),
        lambda c: c["annotations"][0].update(bbox=[0, 0, int("9" * 400), 1]),
        lambda c: c["annotations"][0].update(image_id=int("9" * 400)),
        lambda c: c["categories"][0].update(id=int("9" * 400)),
    ],
)
def test_numbers_and_texts_beyond_all_bounds_are_named(coco_folder, damage):
    damage(coco_folder.content)
    assert "ERROR" in _error(coco_folder)


def test_a_number_of_5000_digits_is_named(coco_folder):
    text = json.dumps(coco_folder.content).replace('"height": 30', '"height": ' + "9" * 5000, 1)
    coco_folder.ann_file.write_text(text)
    with pytest.raises(UserError, match="a number of thousands of digits"):
        read_packed(coco_folder.ann_file, load_json)


@pytest.mark.parametrize(
    "harmless",
    [
        lambda c: c["images"][0].update(date_captured=0, license="1", flickr_url=None),
        lambda c: c["categories"][0].update(supercategory=0),
        lambda c: c["categories"][0].update(keypoints=5, skeleton="x"),
        lambda c: c["categories"][0].update(name=5),
        lambda c: c["categories"][0].pop("name"),
        lambda c: c["categories"][0].update(name="\ud800"),
        lambda c: c.update(info=[], licenses=0),
        lambda c: c["annotations"][0].update(attributes={"x": [1]}, score="high", num_keypoints="none"),
        lambda c: c["annotations"][0].update(keypoints=[]),
    ],
)
def test_foreign_fields_of_any_type_do_not_matter(coco_folder, harmless):
    harmless(coco_folder.content)
    packed, text = _findings(coco_folder)
    assert len(packed.labels) == 4
    assert "\n" not in text
    read_ground_truth(coco_folder.content)


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
        ([[1, 2, 3, 4]], "odd count of numbers or less than 3 points: dropped [annotation 1 has 4 (a box?)]"),
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
    assert "objects without a mask among others with one: they train the box, not the mask" in text
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


@pytest.mark.parametrize("area", [float("nan"), None, "x", 0, -4, 1e308, int("9" * 400), 4])
def test_areas_that_cannot_be_are_those_of_the_mask(coco_folder, area):
    coco_folder.annotations[0]["area"] = area
    coco_folder.annotations[3]["area"] = 299
    packed, _ = _findings(coco_folder)
    assert packed.areas.tolist() == [4 if area == 4 else 60, 60, 299, 300]  # a few pixels are not far


def test_areas_far_from_the_masks_are_named(coco_folder):
    coco_folder.annotations[3]["area"] = 5000
    packed, text = _findings(coco_folder)
    assert packed.areas[2] == 300
    assert "areas far from those of the masks or boxes: ours are taken" in text
    assert "annotation 4: 5000, not 300" in text


@pytest.mark.parametrize(("area", "kept"), [(20, 20), (120, 120), (5000, 120), (1, 120), (0.5, 120)])
def test_an_object_without_a_mask_may_fill_little_of_its_box(coco_folder, area, kept):
    del coco_folder.annotations[0]["segmentation"]
    coco_folder.annotations[0] |= {"bbox": [4, 6, 10, 12], "area": area}
    packed, _ = _findings(coco_folder)
    assert packed.areas[0] == kept


@pytest.mark.parametrize("value", [2, -1, float("nan"), "maybe", [1]])
def test_a_crowd_is_0_or_1(coco_folder, value):
    coco_folder.annotations[0]["iscrowd"] = value
    assert "annotations whose 'iscrowd' is neither 0 nor 1: correct it [annotation 1" in _error(coco_folder)


def test_two_images_with_the_id_of_minus_1(coco_folder):
    for image in coco_folder.content["images"][:2]:
        image["id"] = -1
    assert "image ids that occur more than once: give each its own [-1 (2 times)]" in _error(coco_folder)


def test_boxes_around_masks_where_there_are_none(coco_folder):
    for annotation in coco_folder.annotations:
        del annotation["bbox"]
    packed, text = _findings(coco_folder)
    assert packed.boxes_xyxy.tolist() == [[4, 6, 9, 18], [0, 0, 2, 30], [20, 10, 40, 30], [0, 0, 30, 20]]
    assert "4 x annotations without the key 'bbox': taken from the mask" in text
    del coco_folder.annotations[0]["segmentation"]
    assert "annotations without the key 'bbox' and without a mask: add it [annotation 1]" in _error(coco_folder)


def test_sizes_from_the_images(coco_folder):
    for image in coco_folder.content["images"]:
        del image["height"], image["width"]
    assert "3 x images without height and width: add them [0.png, 1.png, 2.png]" in _error(coco_folder)
    dataset = coco_folder.open()
    assert [dataset.size_hw(i) for i in range(3)] == [(30, 40), (40, 30), (30, 40)]
    assert "3 x images without height and width: taken from the image" in dataset.report.text()
    (coco_folder.image_dir / "1.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"add them; the image cannot be read either \[1.png\]"):
        coco_folder.open()
