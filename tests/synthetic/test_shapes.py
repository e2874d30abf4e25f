"""The built-in data set: same bytes from the same seed, valid COCO truth, a class that only the context tells."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from fpt.cli.shapes import main
from fpt.synthetic.outlines import OUTLINES
from fpt.synthetic.scene import CLASS_NAMES, IGNORE_LABEL, make_scene
from fpt.synthetic.shapes import encode_uncompressed_rle, generate_shapes
from fpt.utils.errors import UserError


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "shapes"
    assert generate_shapes(path, num_train=40, num_val=4, size=96, seed=5)
    return path


def test_same_seed_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    generate_shapes(tmp_path / "again", num_train=40, num_val=4, size=96, seed=5)
    assert _digest(tmp_path / "again") == _digest(folder)


def test_another_seed_gives_other_images(folder: Path, tmp_path: Path) -> None:
    generate_shapes(tmp_path / "other", num_train=1, num_val=0, size=96, seed=6)
    name = "images/train/000000.jpg"
    assert (tmp_path / "other" / name).read_bytes() != (folder / name).read_bytes()


def test_a_image_depends_on_its_index_alone(folder: Path, tmp_path: Path) -> None:
    generate_shapes(tmp_path / "fewer", num_train=3, num_val=2, size=96, seed=5)
    for name in ("images/train/000002.jpg", "semantic/val/000001.png"):
        assert (tmp_path / "fewer" / name).read_bytes() == (folder / name).read_bytes()


def test_annotations_match_the_images(folder: Path) -> None:
    coco = COCO(str(folder / "annotations" / "train.json"))
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list(CLASS_NAMES)
    assert len(coco.imgs) == 40
    kinds = set()
    for annotation in coco.anns.values():
        image = coco.imgs[annotation["image_id"]]
        assert cv2.imread(str(folder / "images/train" / image["file_name"])).shape[:2] == (
            image["height"],
            image["width"],
        )
        kinds.add(type(annotation["segmentation"]))
        mask = coco.annToMask(annotation)
        assert annotation["area"] == pytest.approx(int(mask.sum()), rel=0.15, abs=20)
        x, y, w, h = annotation["bbox"]
        rows, columns = np.nonzero(mask)
        assert np.allclose(
            [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], [x, y, x + w, y + h], atol=2.01
        )
        assert len(annotation["keypoints"]) == 15
        assert annotation["num_keypoints"] == sum(v > 0 for v in annotation["keypoints"][2::3])
    assert kinds == {list, dict}


def test_semantic_classes_agree_with_the_masks(folder: Path) -> None:
    assert (folder / "classes.txt").read_text().split() == ["background", *CLASS_NAMES]
    coco = COCO(str(folder / "annotations" / "train.json"))
    for image in list(coco.imgs.values())[:10]:
        semantic = cv2.imread(str(folder / "semantic/train" / f"{Path(image['file_name']).stem}.png"), -1)
        expected = np.zeros_like(semantic)
        for annotation in coco.imgToAnns[image["id"]]:
            expected[coco.annToMask(annotation) > 0] = annotation["category_id"]
        sure = semantic != IGNORE_LABEL
        assert sure.mean() > 0.8
        assert (semantic == expected)[sure].mean() > 0.98


def test_only_the_context_tells_a_ring_class() -> None:
    counts = {"locked_ring": 0, "open_ring": 0}
    for index in range(150):
        names = [item.class_name for item in make_scene(seed=1, split=0, index=index, size=48).objects]
        assert not ("key" in names and "locked_ring" in names)
        assert not ("key" not in names and "open_ring" in names)
        for name in counts:
            counts[name] += names.count(name)
    assert min(counts.values()) > 30
    assert "ring" in OUTLINES
    assert not set(counts) & set(OUTLINES)


def test_objects_overlap_and_come_in_many_scales() -> None:
    scenes = [make_scene(seed=2, split=0, index=index, size=96) for index in range(60)]
    shares = [item.mask.mean() for scene in scenes for item in scene.objects]
    assert min(shares) < 0.01
    assert max(shares) > 0.2
    assert {len(scene.objects) for scene in scenes} >= {1, 2, 3, 4, 5}
    assert any(item.is_crowd for scene in scenes for item in scene.objects)
    for scene in scenes:
        assert sum((item.mask.astype(int) for item in scene.objects), np.zeros(1, int)).max() <= 1


def test_uncompressed_rle() -> None:
    mask = np.array([[True, False], [True, True]])
    assert encode_uncompressed_rle(mask) == {"size": [2, 2], "counts": [0, 2, 1, 1]}
    assert encode_uncompressed_rle(np.zeros((2, 2), bool))["counts"] == [4]


def test_a_made_folder_is_reused_and_replaced_only_on_demand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--output_dir", str(tmp_path / "set"), "--num_train", "1", "--num_val", "1", "--size", "48"]
    assert main(options) == 0
    assert main(options) == 0
    assert "found 1 training" in capsys.readouterr().out
    assert main([*options, "--seed", "9"]) == 2
    message = capsys.readouterr().err
    assert "seed 0 instead of 9" in message
    assert "--overwrite" in message
    assert main([*options, "--seed", "9", "--overwrite"]) == 0
    assert json.loads((tmp_path / "set" / "shapes.json").read_text())["seed"] == 9


def test_an_interrupted_run_is_made_again(folder: Path, tmp_path: Path) -> None:
    generate_shapes(tmp_path, num_train=1, num_val=0, size=48)
    marker = tmp_path / "shapes.json"
    marker.write_text(marker.read_text().replace("true", "false"))
    (tmp_path / "images/train/000000.jpg").unlink()
    assert generate_shapes(tmp_path, num_train=1, num_val=0, size=48)
    assert (tmp_path / "images/train/000000.jpg").exists()


def test_files_of_the_users_stay(tmp_path: Path) -> None:
    generate_shapes(tmp_path, num_train=2, num_val=0, size=48)
    (tmp_path / "images/train/mine.jpg").write_text("keep")
    assert generate_shapes(tmp_path, num_train=1, num_val=0, size=48, seed=1, overwrite=True)
    names = {path.name for path in (tmp_path / "images/train").glob("[!.]*")}
    assert names == {"000000.jpg", "mine.jpg"}
    (tmp_path / "images/train/000000.jpg").write_text("edited")
    with pytest.raises(UserError, match="000000.jpg would be written over, but was not written by this program"):
        generate_shapes(tmp_path, num_train=1, num_val=0, size=48, seed=2, overwrite=True)
    assert (tmp_path / "images/train/000000.jpg").read_text() == "edited"


@pytest.mark.parametrize("content", ["{}", '{"circles": 3}', "[1]", "mine"])
def test_a_marker_of_another_kind_is_no_permission(tmp_path: Path, content: str) -> None:
    (tmp_path / "shapes.json").write_text(content)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.jpg").write_text("keep")
    with pytest.raises(UserError, match="holds something else"):
        generate_shapes(tmp_path, overwrite=True)
    assert (tmp_path / "images" / "mine.jpg").exists()


def test_wrong_input_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="holds something else"):
        generate_shapes(tmp_path, overwrite=True)
    assert (tmp_path / "mine.txt").exists()
    with pytest.raises(UserError, match="size is 8, must be 32 to 4096"):
        generate_shapes(tmp_path / "new", size=8)
    with pytest.raises(UserError, match="seed is -1"):
        generate_shapes(tmp_path / "new", seed=-1)
    with pytest.raises(UserError, match="is a file"):
        generate_shapes(tmp_path / "mine.txt")
