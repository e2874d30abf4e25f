"""Names of data sets."""

from __future__ import annotations

import pytest

from fpt.dataloaders.catalog import dataset_names, find_dataset
from fpt.structures.coco_classes import COCO_CLASSES
from fpt.utils.errors import UserError

DECLARED = {name: {"IMAGE_DIR": "nuts/images", "ANN_FILE": f"nuts/{name}.json"} for name in ("nuts_train", "nuts_val")}


def test_built_in_and_declared():
    files = find_dataset("coco_2017_val", DECLARED)
    assert files.ann_file == "coco/annotations/instances_val2017.json"
    assert files.image_dir == "coco/images/val2017"
    assert find_dataset("nuts_val", DECLARED).ann_file == "nuts/nuts_val.json"
    assert find_dataset("nuts_val", DECLARED).format == "coco"
    assert find_dataset("x", {"x": {"IMAGE_DIR": "a", "ANN_FILE": "b", "FORMAT": "csv"}}).format == "csv"
    own = {"coco_2017_val": {"IMAGE_DIR": "a", "ANN_FILE": "b"}}
    assert find_dataset("coco_2017_val", own).image_dir == "a"


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        ("coco2017", "coco_2017_train", "coco_2017_val"),
        ("coco", "coco_2017_train", "coco_2017_val"),
        ("keypoints_coco2017", "keypoints_coco_2017_train", "keypoints_coco_2017_val"),
        ("nuts", "nuts_train", "nuts_val"),
        ("nuts_val", "nuts_val", "nuts_val"),
        ("coco_2014_minival", "coco_2014_minival", "coco_2014_minival"),
    ],
)
def test_names_of_the_command_line(name: str, train: str, test: str):
    assert dataset_names(name, DECLARED) == ((train,), (test,))


def test_unknown_names_get_the_nearest_and_the_way_to_declare_one():
    for ask in (dataset_names, find_dataset):
        with pytest.raises(UserError) as error:
            ask("nuts_trian", DECLARED)
        message = str(error.value)
        assert "unknown data set 'nuts_trian'; did you mean 'nuts_train'?" in message
        assert "coco_2017_val" in message
        assert "DATASETS: {my_train: {IMAGE_DIR:" in message


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"IMAGE_DIR": "a"}, r"DATASETS\.x has \['IMAGE_DIR'\]; it needs exactly the keys IMAGE_DIR and ANN_FILE"),
        ({"IMAGE_DIR": "a", "ANN_FILE": "b", "ANN": "c"}, r"has \['ANN', 'ANN_FILE', 'IMAGE_DIR'\]"),
        ("a", r"DATASETS\.x has 'a'"),
        ({"IMAGE_DIR": "a", "ANN_FILE": "b", "FORMAT": ""}, r"DATASETS\.x\.FORMAT is ''; it must be a name"),
        ({"IMAGE_DIR": 3, "ANN_FILE": "b"}, r"DATASETS\.x\.IMAGE_DIR is 3; it must be a path"),
    ],
)
def test_wrong_declarations(entry, message: str):
    with pytest.raises(UserError, match=message):
        find_dataset("x", {"x": entry})


def test_coco_classes():
    assert len(COCO_CLASSES) == len(set(COCO_CLASSES)) == 80
    assert (COCO_CLASSES[0], COCO_CLASSES[12], COCO_CLASSES[-1]) == ("person", "parking meter", "toothbrush")
    assert "bench" in COCO_CLASSES
    assert all(name == name.strip() for name in COCO_CLASSES)


def test_a_declared_name_wins_over_a_family_of_ours():
    assert dataset_names("coco", {"coco": {}}) == (("coco",), ("coco",))
