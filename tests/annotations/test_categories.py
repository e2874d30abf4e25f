"""Placeholders and repeats among the classes, as tools write them."""

from __future__ import annotations

from typing import Any

import pytest

from fpt.annotations.pack import ReadAnnotations, pack_content
from fpt.utils.errors import UserError


def _pack(categories: list[dict[str, Any]], used: list[Any]) -> ReadAnnotations:
    annotations = [
        {"id": i, "image_id": 1, "category_id": value, "bbox": [i, 1, 5, 5]} for i, value in enumerate(used, start=1)
    ]
    images = [{"id": 1, "file_name": "a.png", "height": 50, "width": 50}]
    return pack_content("a.json", {"images": images, "categories": categories, "annotations": annotations})


def test_the_placeholder_of_roboflow_is_left_out():
    found = _pack(
        [{"id": 0, "name": "cells", "supercategory": "none"}]
        + [{"id": i, "name": name, "supercategory": "cells"} for i, name in enumerate(("RBC", "WBC"), start=1)],
        [1, 2, 2],
    )
    assert (found.categories.ids, found.categories.names) == ((1, 2), ("RBC", "WBC"))
    assert found.packed.labels.tolist() == [1, 2, 2]
    assert "classes without an object that others name as their supercategory: left out [id 0 cells]" in (
        found.report.text()
    )
    assert not found.report.has_faults


def test_a_placeholder_of_the_same_name_is_left_out():
    categories = [{"id": 0, "name": "box", "supercategory": "none"}, {"id": 1, "name": "box", "supercategory": "box"}]
    found = _pack(categories, [1])
    assert (found.categories.ids, found.packed.labels.tolist()) == ((1,), [1])
    assert not found.report.has_faults


@pytest.mark.parametrize("first_id", [0, 1])
def test_a_parent_class_stays_where_a_file_has_no_object_of_it(first_id: int):
    names = (("vehicle", "none"), ("car", "vehicle"), ("tree", "plant"))
    categories = [{"id": first_id + i, "name": n, "supercategory": s} for i, (n, s) in enumerate(names)]
    assert _pack(categories, [first_id + 1]).categories.names == ("vehicle", "car", "tree")


def test_a_supercategory_with_objects_is_a_class():
    categories = [{"id": 1, "name": "animal"}, {"id": 2, "name": "cat", "supercategory": "animal"}]
    assert _pack(categories, [1, 2]).categories.names == ("animal", "cat")


def test_a_class_that_names_itself_is_no_placeholder():
    categories = [{"id": 1, "name": "person", "supercategory": "person"}, {"id": 2, "name": "bicycle"}]
    assert _pack(categories, [2]).categories.names == ("person", "bicycle")


def test_identical_repeats_are_one():
    found = _pack([{"id": 1, "name": "box", "supercategory": "class"}] * 4, [1, 1])
    assert (found.categories.ids, found.packed.labels.tolist()) == ((1,), [1, 1])
    assert "3 x repeated classes: left out [id 1 box" in found.report.text()
    assert not found.report.has_faults


def test_one_name_under_several_ids():
    categories = [
        {"id": 3, "name": "nut"},
        {"id": 4, "name": "date"},
        {"id": 8, "name": "nut"},
        {"id": 9, "name": "nut"},
    ]
    found = _pack(categories, [8, 9, 4])
    assert found.categories.ids == (4, 8)
    assert found.packed.labels.tolist() == [2, 2, 1]
    text = found.report.text()
    assert "repeated classes: left out [id 3 nut]" in text
    assert "class names with several ids: taken as one class [nut (ids 8, 9)]" in text


def test_one_id_under_several_names_is_refused():
    with pytest.raises(UserError, match=r"category ids with several names: .* \[id 1 is nut and date\]"):
        _pack([{"id": 1, "name": "nut"}, {"id": 1, "name": "date"}], [1])


def test_ids_of_text():
    found = _pack([{"id": "nut", "name": "nut"}, {"id": "date", "name": "date"}], ["date", "nut", "date"])
    assert (found.categories.ids, found.categories.names) == ((1, 2), ("nut", "date"))
    assert found.packed.labels.tolist() == [2, 1, 2]


@pytest.mark.parametrize("name", [None, "", "  ", [1], {}])
def test_a_class_without_a_name_is_called_by_its_id(name):
    assert _pack([{"id": 7, "name": name}], [7]).categories.names == ("7",)
