"""Data sets known by name, and the names that ``--dataset`` takes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fpt.utils.errors import UserError

_DECLARE = (
    "declare others in the yaml file: DATASETS: {my_train: {IMAGE_DIR: folder of images, ANN_FILE: COCO-format json}}"
)


@dataclass(frozen=True)
class DatasetFiles:
    """Where a data set lies; relative paths count from DATA_DIR, the yaml file's folder or ``data``.

    Attributes:
        name: its name.
        image_dir: folder of the images.
        ann_file: annotation file, or folder of them.
        format: name of its reader, in DATASET_READERS.
        classes: names of the classes that are used, in this order; none = all.
        box_format: what the four numbers of a box are, one of BOX_FORMATS.
        ignored: ids of a map of classes that count for nothing.
    """

    name: str
    image_dir: str
    ann_file: str
    format: str = "coco"
    classes: tuple[str, ...] = ()
    box_format: str = "xywh"
    ignored: tuple[int, ...] = ()


def _coco(name: str, images: str, annotations: str) -> DatasetFiles:
    return DatasetFiles(name, f"coco/images/{images}", f"coco/annotations/{annotations}.json")


def _voc(name: str, listing: str) -> DatasetFiles:
    return DatasetFiles(name, "VOC2012/JPEGImages", f"VOC2012/ImageSets/Segmentation/{listing}.txt", "voc")


_BUILT_IN = {
    files.name: files
    for files in (
        _coco("coco_2014_train", "train2014", "instances_train2014"),
        _coco("coco_2014_val", "val2014", "instances_val2014"),
        _coco("coco_2014_minival", "val2014", "instances_minival2014"),
        _coco("coco_2014_valminusminival", "val2014", "instances_valminusminival2014"),
        _coco("coco_2017_train", "train2017", "instances_train2017"),
        _coco("coco_2017_val", "val2017", "instances_val2017"),
        _coco("coco_2017_test", "test2017", "image_info_test2017"),
        _coco("coco_2017_test-dev", "test2017", "image_info_test-dev2017"),
        _coco("keypoints_coco_2014_train", "train2014", "person_keypoints_train2014"),
        _coco("keypoints_coco_2014_val", "val2014", "person_keypoints_val2014"),
        _coco("keypoints_coco_2014_minival", "val2014", "person_keypoints_minival2014"),
        _coco("keypoints_coco_2014_valminusminival", "val2014", "person_keypoints_valminusminival2014"),
        _coco("keypoints_coco_2017_train", "train2017", "person_keypoints_train2017"),
        _coco("keypoints_coco_2017_val", "val2017", "person_keypoints_val2017"),
        DatasetFiles("cityscapes_train", "cityscapes/leftImg8bit/train", "cityscapes/gtFine/train", "cityscapes"),
        DatasetFiles("cityscapes_val", "cityscapes/leftImg8bit/val", "cityscapes/gtFine/val", "cityscapes"),
        DatasetFiles("ade20k_train", "ade20k/images/training", "ade20k/annotations/training", "ade20k"),
        DatasetFiles("ade20k_val", "ade20k/images/validation", "ade20k/annotations/validation", "ade20k"),
        DatasetFiles("lip_train", "lip/train_images", "lip/train_id.txt", "lip"),
        DatasetFiles("lip_val", "lip/val_images", "lip/val_id.txt", "lip"),
        _voc("voc_2012_train", "train"),
        _voc("voc_2012_train_aug", "trainaug"),
        _voc("voc_2012_val", "val"),
    )
}

_PAIRS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "coco": (("coco_2017_train",), ("coco_2017_val",)),
    "coco2017": (("coco_2017_train",), ("coco_2017_val",)),
    "coco2014": (("coco_2014_train",), ("coco_2014_val",)),
    "keypoints_coco": (("keypoints_coco_2017_train",), ("keypoints_coco_2017_val",)),
    "keypoints_coco2017": (("keypoints_coco_2017_train",), ("keypoints_coco_2017_val",)),
    "cityscapes": (("cityscapes_train",), ("cityscapes_val",)),
    "ade20k": (("ade20k_train",), ("ade20k_val",)),
    "lip": (("lip_train",), ("lip_val",)),
    "voc2012": (("voc_2012_train_aug",), ("voc_2012_val",)),
}


def find_dataset(name: str, declared: Mapping[str, Mapping[str, Any]]) -> DatasetFiles:
    """Files of a data set that the configuration declares (``declared`` is its DATASETS) or that is built in.

    Raises:
        UserError: the name is unknown, or its declaration lacks a key or has a key too many.
    """
    if name not in declared:
        if name in _BUILT_IN:
            return _BUILT_IN[name]
        raise UserError(_unknown(name, [*declared, *_BUILT_IN]))
    entry = declared[name]
    keys, optional = {"IMAGE_DIR", "ANN_FILE"}, {"FORMAT", "CLASSES", "BOX_FORMAT", "IGNORE"}
    if not isinstance(entry, Mapping) or set(entry) - optional != keys:
        found = sorted(entry) if isinstance(entry, Mapping) else repr(entry)
        raise UserError(
            f"DATASETS.{name} has {found}; it needs exactly the keys IMAGE_DIR and ANN_FILE, and may have "
            f"{', '.join(sorted(optional))} too"
        )
    for key, value in entry.items():
        if key not in ("CLASSES", "IGNORE") and (not isinstance(value, str) or not value):
            raise UserError(f"DATASETS.{name}.{key} is {value!r}; it must be a {'path' if key in keys else 'name'}")
    return DatasetFiles(
        name,
        entry["IMAGE_DIR"],
        entry["ANN_FILE"],
        entry.get("FORMAT", "coco"),
        _classes(name, entry.get("CLASSES", ())),
        entry.get("BOX_FORMAT", "xywh"),
        _ignored(name, entry.get("IGNORE", ())),
    )


def _ignored(name: str, value: Any) -> tuple[int, ...]:
    ids = (value,) if isinstance(value, int) else tuple(value) if isinstance(value, Sequence) else (None,)
    if not all(isinstance(item, int) and 0 <= item < 2**16 for item in ids):
        raise UserError(f"DATASETS.{name}.IGNORE is {value!r}; it must be a list of ids, 0 to 65535")
    return ids


def _classes(name: str, value: Any) -> tuple[str, ...]:
    classes = (value,) if isinstance(value, str) else tuple(value)
    if not all(isinstance(item, str) and item for item in classes) or len(set(classes)) < len(classes):
        raise UserError(f"DATASETS.{name}.CLASSES is {value!r}; it must be a list of different class names")
    return classes


def dataset_names(name: str, declared: Mapping[str, Any] | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names for TRAIN.DATASETS and TEST.DATASETS that a value of ``--dataset`` means.

    A value is a family (coco2017, keypoints_coco2017, or NAME where NAME_train and NAME_val are declared) or a single
    data set, which then serves both.

    Raises:
        UserError: the name is unknown; the message names the nearest and all others.
    """
    declared = declared or {}
    if name in _PAIRS and name not in declared:
        return _PAIRS[name]
    if name in declared or name in _BUILT_IN:
        return (name,), (name,)
    if f"{name}_train" in declared and f"{name}_val" in declared:
        return (f"{name}_train",), (f"{name}_val",)
    families = [item[: -len("_train")] for item in declared if item.endswith("_train")]
    raise UserError(_unknown(name, [*declared, *families, *_PAIRS, *_BUILT_IN]))


def _unknown(name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ";"
    return f"unknown data set {name!r}{hint} known are {', '.join(known)}; {_DECLARE}"
