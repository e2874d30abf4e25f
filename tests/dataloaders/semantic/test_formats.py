"""Readers of every format on small folders, and what is wrong in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fpt.core.config import load_cfg
from fpt.dataloaders.build import build_dataset
from fpt.structures.semantic_classes import ADE20K, CITYSCAPES, LIP, VOC
from fpt.utils.errors import UserError

SEMANTIC = ("MODEL.TYPE", "semantic_segmentor")


def _save(path: Path, values: np.ndarray, *, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette:
        image = Image.fromarray(values, "L").convert("P")
        image = Image.frombytes("P", values.shape[::-1], values.tobytes())
        image.putpalette([7] * 768)
    image.save(path)


def _photo(path: Path, h: int = 4, w: int = 6) -> None:
    _save(path, np.full((h, w, 3), 90, np.uint8))


def _classes(root: Path, name: str, *options: str) -> tuple[list[np.ndarray], tuple[str, ...]]:
    cfg = load_cfg(None, [*SEMANTIC, "DATA_DIR", str(root), *options])
    dataset = build_dataset(cfg, name, is_train=False, with_masks=False)
    return [dataset[index]["target"]["classes"].numpy() for index in range(len(dataset))], dataset.class_names


IDS = np.array([[0, 1, 2, 3, 4, 5]] * 4, np.uint8)


def test_cityscapes(tmp_path: Path) -> None:
    ids = IDS + np.array([[7, 7, 20, 30, 0, 250]], np.uint8)  # 7, 8, 22, 33, 4, 255
    _photo(tmp_path / "cityscapes/leftImg8bit/val/bonn/bonn_1_leftImg8bit.png")
    _save(tmp_path / "cityscapes/gtFine/val/bonn/bonn_1_gtFine_labelIds.png", ids)
    (classes,), names = _classes(tmp_path, "cityscapes_val")
    assert classes[0].tolist() == [0, 1, 9, 18, -1, -1]
    assert names == CITYSCAPES
    assert len(CITYSCAPES) == 19


def test_ade20k(tmp_path: Path) -> None:
    _photo(tmp_path / "ade20k/images/validation/a.jpg")
    _save(tmp_path / "ade20k/annotations/validation/a.png", IDS)
    (classes,), names = _classes(tmp_path, "ade20k_val")
    assert classes[0].tolist() == [-1, 0, 1, 2, 3, 4]
    assert names == ADE20K
    assert len(set(ADE20K)) == 150


def test_lip(tmp_path: Path) -> None:
    _photo(tmp_path / "lip/val_images/7_1.jpg")
    _save(tmp_path / "lip/val_segmentations/7_1.png", IDS)
    (tmp_path / "lip/val_id.txt").write_text("7_1\n", encoding="utf-8")
    (classes,), names = _classes(tmp_path, "lip_val")
    assert classes[0].tolist() == [0, 1, 2, 3, 4, 5]
    assert names == LIP
    assert len(LIP) == 20


def test_voc_palette_and_sbd(tmp_path: Path) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    root = tmp_path / "VOC2012"
    for name in ("a", "b"):
        _photo(root / f"JPEGImages/{name}.jpg")
    _save(root / "SegmentationClass/a.png", np.where(IDS == 5, 255, IDS).astype(np.uint8), palette=True)
    (root / "SBD/cls").mkdir(parents=True)
    savemat(root / "SBD/cls/b.mat", {"GTcls": {"Segmentation": IDS + 15}})
    listing = root / "ImageSets/Segmentation/trainaug.txt"
    listing.parent.mkdir(parents=True)
    listing.write_text("a\nb\n", encoding="utf-8")
    (first, second), names = _classes(tmp_path, "voc_2012_train_aug")
    assert first[0].tolist() == [0, 1, 2, 3, 4, -1]
    assert second[0].tolist() == [15, 16, 17, 18, 19, 20]
    assert names == VOC


def test_coco_polygons(tmp_path: Path) -> None:
    """A small object lies on top of a large one, and a crowd counts for nothing where no object is."""
    _photo(tmp_path / "images/a.jpg", 8, 10)

    def item(number: int, category: int, box: tuple[int, int, int, int], crowd: int = 0) -> dict[str, object]:
        x, y, w, h = box
        polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
        mask = np.zeros((8, 10), int)
        mask[y : y + h, x : x + w] = 1
        runs, last, count = [], 0, 0
        for value in mask.T.ravel().tolist():
            if value != last:
                runs, last, count = [*runs, count], value, 0
            count += 1
        rle = {"size": [8, 10], "counts": [*runs, count]}
        return {
            "id": number,
            "image_id": 1,
            "category_id": category,
            "bbox": list(box),
            "area": w * h,
            "iscrowd": crowd,
            "segmentation": rle if crowd else [polygon],
        }

    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 10, "height": 8}],
        "categories": [{"id": 4, "name": "cup"}, {"id": 9, "name": "box"}],
        "annotations": [item(1, 4, (3, 3, 2, 2)), item(2, 9, (1, 1, 6, 6)), item(3, 4, (6, 0, 4, 8), crowd=1)],
    }
    (tmp_path / "a.json").write_text(json.dumps(content), encoding="utf-8")
    declared = ("DATASETS", "{'mine': {'IMAGE_DIR': 'images', 'ANN_FILE': 'a.json'}}")
    (classes,), names = _classes(tmp_path, "mine", *declared)
    assert names == ("background", "cup", "box")
    assert classes[4].tolist() == [0, 2, 2, 1, 1, 2, 2, -1, -1, -1]
    assert classes[0].tolist() == [0, 0, 0, 0, 0, 0, -1, -1, -1, -1]

    declared = ("DATASETS", "{'mine': {'IMAGE_DIR': 'images', 'ANN_FILE': 'a.json', 'CLASSES': ['box']}}")
    (classes,), names = _classes(tmp_path, "mine", *declared)
    assert names == ("background", "box")
    assert classes[4].tolist() == [0, 1, 1, 1, 1, 1, 1, 0, 0, 0]


PAIR = (
    "DATASETS",
    "{'mine': {'IMAGE_DIR': 'images', 'ANN_FILE': 'maps', 'FORMAT': 'label_maps', 'CLASSES': ['a', 'b', 'c'], "
    "'IGNORE': [300]}}",
)


def test_pairs_of_16_bits(tmp_path: Path) -> None:
    _photo(tmp_path / "images/sub/a.jpg")
    _save(tmp_path / "maps/sub/a.png", np.array([[0, 1, 2, 300, 0, 1]] * 4, np.uint16))
    (classes,), names = _classes(tmp_path, "mine", *PAIR)
    assert classes[0].tolist() == [0, 1, 2, -1, 0, 1]
    assert names == ("a", "b", "c")


@pytest.mark.parametrize("map_hw", [(4, 6), (6, 4)])
def test_a_photo_with_an_orientation_fits_a_map_of_either_size(tmp_path: Path, map_hw: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    values = np.zeros((4, 6, 3), np.uint8)
    values[0] = 200
    (tmp_path / "images").mkdir()
    Image.fromarray(values).save(tmp_path / "images/a.png", exif=exif)
    _save(tmp_path / "maps/a.png", np.zeros(map_hw, np.uint8))
    cfg = load_cfg(None, [*SEMANTIC, "DATA_DIR", str(tmp_path), *PAIR])
    sample = build_dataset(cfg, "mine", is_train=False, with_masks=False)[0]
    assert sample["size_hw"] == map_hw == tuple(sample["image"].shape[1:])
    bright = sample["image"][0] == 200
    assert bright[0].all() if map_hw == (4, 6) else bright[:, -1].all()


def test_a_coco_file_without_sizes(tmp_path: Path) -> None:
    _photo(tmp_path / "images/a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "cup"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 3, 0, 3, 4, 0, 4]]}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    declared = ("DATASETS", "{'mine': {'IMAGE_DIR': 'images', 'ANN_FILE': 'a.json', 'FORMAT': 'coco'}}")
    (classes,), _ = _classes(tmp_path, "mine", *declared)
    assert classes.tolist() == [[1, 1, 1, 0, 0, 0]] * 4


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    _photo(tmp_path / "images/a.jpg")
    (tmp_path / "maps").mkdir()
    with pytest.raises(UserError, match=r"1 of 1 images have no map of ids; the first: .*a\.png"):
        _classes(tmp_path, "mine", *PAIR)
    wrong = {
        r"has ids 3, 9, but there are 3 classes": np.array([[0, 3, 9, 0, 1, 1]] * 4, np.uint8),
        r"is 6 x 4 \(width x height\), but its map of classes 5 x 4": np.zeros((4, 5), np.uint8),
        r"a colour image \(RGB\)": np.zeros((4, 6, 3), np.uint8),
    }
    for message, values in wrong.items():
        _save(tmp_path / "maps/a.png", values)
        with pytest.raises(UserError, match=message):
            _classes(tmp_path, "mine", *PAIR)
    content = (tmp_path / "maps/a.png").read_bytes()
    (tmp_path / "maps/a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="cannot be read"):
        _classes(tmp_path, "mine", *PAIR)
    with pytest.raises(UserError, match="needs CLASSES"):
        _classes(tmp_path, "mine", "DATASETS", PAIR[1].replace("'CLASSES': ['a', 'b', 'c'], ", ""))
    with pytest.raises(UserError, match=r"IGNORE"):
        _classes(tmp_path, "mine", "DATASETS", PAIR[1].replace("[300]", "[70000]"))


@pytest.mark.parametrize(("key", "value", "kind"), [("CLASSES", ["a"], "lip"), ("IGNORE", [3], "coco")])
def test_a_format_that_knows_its_classes_takes_no_others(key: str, value: list[object], kind: str) -> None:
    entry = {"IMAGE_DIR": ".", "ANN_FILE": ".", "FORMAT": kind, key: value}
    cfg = load_cfg(None, [*SEMANTIC, "DATASETS", repr({"mine": entry})])
    with pytest.raises(UserError, match=rf"DATASETS.mine has {key}, but FORMAT {kind} says that itself; leave it out"):
        build_dataset(cfg, "mine", is_train=False, with_masks=False)


def test_a_detector_on_maps_of_classes_is_told_of_the_segmentor() -> None:
    with pytest.raises(UserError, match=r"FORMAT is 'cityscapes'.*is for MODEL.TYPE semantic_segmentor.*a detector"):
        build_dataset(load_cfg(None, []), "cityscapes_val", is_train=False, with_masks=False)
