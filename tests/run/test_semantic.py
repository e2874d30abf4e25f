"""Semantic segmentation from training to results, on a small folder of images and maps."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fpt
from fpt.cli import attention, check_data, infer, test, train
from fpt.core.config import load_cfg
from fpt.modeling.build import build_model
from fpt.parallel.data_parallel import DataParallel
from fpt.structures.semantic_classes import CITYSCAPES_IDS

SIZES = ((40, 56), (33, 65), (20, 24))


def _make(folder: Path, split: str, count: int) -> None:
    """Images whose left part is dark (ground) and whose right part is bright (sky), and a few ignored pixels."""
    for index in range(count):
        h, w = SIZES[index % len(SIZES)]
        rng = np.random.default_rng((count, index))
        edge = int(rng.integers(w // 4, 3 * w // 4))
        classes = np.zeros((h, w), np.uint8)
        classes[:, edge:] = 1
        pixels = np.where(classes[..., None] > 0, 210, 40) + rng.integers(-20, 21, (h, w, 3))
        classes[:2, :3] = 255
        for kind, values in (("images", pixels.astype(np.uint8)), ("maps", classes)):
            path = folder / kind / split / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(path)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sides")
    _make(folder, "train", 6)
    _make(folder, "val", 3)
    entries = {
        f"sides_{split}": {
            "IMAGE_DIR": f"images/{split}",
            "ANN_FILE": f"maps/{split}",
            "FORMAT": "label_maps",
            "CLASSES": ["ground", "sky"],
            "IGNORE": [255],
        }
        for split in ("train", "val")
    }
    content = {
        "MODEL": {"TYPE": "semantic_segmentor", "CONV_BODY": "UFP.ResNet18_conv5_body_fpt", "FPT": {"LOCAL_WINDOW": 3}},
        "DATASETS": entries,
        "RESNETS": {"BASE_CHANNELS": 16, "USE_GN": True, "FREEZE_AT": 0, "RES4_DILATION": 2, "RES5_DILATION": 4},
        "FPN": {"DIM": 16},
        "SEMANTIC": {"HEAD_DIM": 16, "AUXILIARY_DIM": 8, "CROP_SIZE": [32, 32], "PALETTE": [90, 60, 30, 120, 180, 255]},
        "SOLVER": {"TYPE": "AdamW", "BASE_LR": 0.003, "MAX_ITER": 6, "WARM_UP_ITERS": 0, "LR_POLICY": "poly"},
        "TRAIN": {"DATASETS": ["sides_train"], "IMS_PER_BATCH": 2, "EVAL_PERIOD": 3, "VIS_PERIOD": 6},
        "TEST": {"DATASETS": ["sides_val"]},
        "DATA_LOADER": {"NUM_THREADS": 0},
    }
    path = folder / "sides.yaml"
    path.write_text(json.dumps(content), encoding="utf-8")  # json is yaml
    return path


@pytest.fixture(scope="module")
def run(recipe: Path) -> Path:
    folder = recipe.parent / "run"
    assert train.main(["--cfg", str(recipe), "--output_dir", str(folder)]) == 0
    return folder


def test_a_training_leaves_metrics_the_best_checkpoint_and_drawings(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "eval.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6]
    assert all(0 <= line["semantic"]["mIoU"] <= 1 for line in lines)
    assert set(lines[0]["semantic"]["per_class_IoU"]) == {"ground", "sky"}
    assert (run / "ckpt" / "model_best.pth").is_file()
    assert len(list((run / "images" / "step6").glob("*.png"))) == 3


def test_a_resumed_training_ends_with_equal_weights(run: Path, recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    common = ["--cfg", str(recipe), "--output_dir", str(folder)]
    assert train.main([*common, "--set", "TRAIN.SNAPSHOT_ITERS", "3", "SOLVER.MAX_ITER", "6"]) == 0
    (folder / "ckpt" / "model_step6.pth").unlink()
    (folder / "ckpt" / "model_best.pth").unlink()
    assert train.main([*common, "--resume"]) == 0
    first, second = (fpt.Predictor(path / "ckpt" / "model_step6.pth") for path in (run, folder))
    image = recipe.parent / "images" / "val" / "1.png"
    assert np.array_equal(first(image).scores, second(image).scores)


def test_evaluation_and_windows(run: Path, recipe: Path, tmp_path: Path) -> None:
    common = ["--cfg", str(recipe), "--load_ckpt", str(run / "ckpt" / "model_step6.pth")]
    assert test.main([*common, "--output_dir", str(tmp_path / "whole"), "--vis"]) == 0
    assert re.search(r"3 images in \S+ \(\d+\.\d+ s/image\)", (tmp_path / "whole" / "log.txt").read_text())
    options = ["--set", "SEMANTIC.WINDOW", "(100, 100)", "SEMANTIC.WINDOW_OVERLAP", "0.5"]
    assert test.main([*common, "--output_dir", str(tmp_path / "window"), *options]) == 0
    whole, window = (
        json.loads((tmp_path / name / "metrics.json").read_text())["semantic"] for name in ("whole", "window")
    )
    assert whole == window
    assert len(list((tmp_path / "whole" / "vis").glob("*.png"))) == 3
    assert sum(whole["per_class_pixels"].values()) == sum(h * w - 6 for h, w in SIZES)
    options = ["--set", "SEMANTIC.TEST_SCALES", "(0.5, 1.0)", "SEMANTIC.TEST_FLIP", "True"]
    assert test.main([*common, "--output_dir", str(tmp_path / "views"), *options]) == 0


def test_a_checkpoint_is_evaluated_by_numpy_too(run: Path, recipe: Path) -> None:
    cfg = load_cfg(recipe)
    predictor = fpt.Predictor(run / "ckpt" / "model_step6.pth")
    metrics = fpt.evaluate(cfg, predictor._model, "sides_val")["semantic"]
    truth, found = [], []
    for path in sorted((recipe.parent / "images" / "val").iterdir()):
        truth.append(np.asarray(Image.open(recipe.parent / "maps" / "val" / path.name)).ravel())
        found.append(predictor(path).classes.ravel())
    truth, found = np.concatenate(truth), np.concatenate(found)
    is_counted = truth != 255
    for label, name in enumerate(("ground", "sky")):
        true, own = (truth == label) & is_counted, (found == label) & is_counted
        assert metrics["per_class_IoU"][name] == pytest.approx((true & own).sum() / (true | own).sum(), abs=1e-12)


def test_images_get_drawings_maps_and_json(run: Path, recipe: Path, tmp_path: Path) -> None:
    images = recipe.parent / "images" / "val"
    weights = ["--cfg", str(recipe), "--load_ckpt", str(run / "ckpt" / "model_step6.pth")]
    assert infer.main([*weights, "--image_dir", str(images), "--output_dir", str(tmp_path)]) == 0
    predictor = fpt.Predictor(run / "ckpt" / "model_step6.pth")
    for index, (h, w) in enumerate(SIZES):
        found = predictor(images / f"{index}.png")
        ids = np.asarray(Image.open(tmp_path / f"{index}.ids.png"))
        assert ids.shape == (h, w)
        assert np.array_equal(ids, found.classes)
        content = json.loads((tmp_path / f"{index}.json").read_text())
        assert (content["height"], content["width"]) == (h, w)
        assert sum(item["share"] for item in content["classes"]) == pytest.approx(1)
        assert content["classes"][0]["colour"] in ([90, 60, 30], [120, 180, 255])
        assert (tmp_path / f"{index}.png").is_file()
    by_object = ["--image_dir", str(images), "--output_dir", str(tmp_path / "o"), "--colour_by", "object"]
    assert infer.main([*weights, *by_object]) == 1


def test_a_photo_with_an_orientation_is_drawn_as_its_map_lies(run: Path, recipe: Path, tmp_path: Path) -> None:
    _make(tmp_path, "val", 1)
    photo, exif = tmp_path / "images" / "val" / "0.png", Image.Exif()
    exif[0x112] = 6
    Image.open(photo).save(photo, exif=exif)
    weights = ["--load_ckpt", str(run / "ckpt" / "model_step6.pth"), "--output_dir", str(tmp_path / "out"), "--vis"]
    assert test.main(["--cfg", str(recipe), *weights, "--set", "DATA_DIR", str(tmp_path)]) == 0
    assert len(list((tmp_path / "out" / "vis").glob("*.png"))) == 1


def test_the_checker_names_what_is_wrong(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_data.main(["--cfg", str(recipe), "--draw", str(tmp_path / "drawn")]) == 0
    assert "share of the pixels: ground" in capsys.readouterr().out
    assert len(list((tmp_path / "drawn" / "sides_val").glob("*.png"))) == 3
    _make(tmp_path, "train", 3)
    Image.fromarray(np.full((40, 56), 7, np.uint8)).save(tmp_path / "maps" / "train" / "0.png")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "maps" / "train" / "1.png")
    options = ["--set", "DATA_DIR", str(tmp_path), "--dataset", "sides_train"]
    assert check_data.main(["--cfg", str(recipe), *options]) == 1
    out = capsys.readouterr().out
    assert "has id 7, but there are 2 classes" in out
    assert "is 65 x 33 (width x height), but its map of classes 9 x 9" in out
    assert "3 images, 2 of them cannot be used" in out


def test_a_detectors_format_and_wrong_submission(
    recipe: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = ["--load_ckpt", str(run / "ckpt" / "model_step6.pth"), "--output_dir", str(tmp_path / "out")]
    assert test.main(["--cfg", str(recipe), *weights, "--set", "SEMANTIC.SUBMISSION", "True"]) == 2
    assert "SEMANTIC.SUBMISSION is for Cityscapes" in capsys.readouterr().err
    detector = [*weights, "--image_dir", str(recipe.parent / "images"), "--output_format", "ids"]
    assert infer.main(["--cfg", str(recipe), *detector, "--set", "MODEL.TYPE", "detector"]) == 2
    assert "this model is a detector" in capsys.readouterr().err


def test_attention_is_drawn(run: Path, recipe: Path, tmp_path: Path) -> None:
    weights = ["--cfg", str(recipe), "--load_ckpt", str(run / "ckpt" / "model_step6.pth")]
    images = ["--images", str(recipe.parent / "images" / "val" / "0.png"), "--points", "30,20"]
    assert attention.main([*weights, *images, "--output_dir", str(tmp_path)]) == 0
    assert (tmp_path / "0_30_20.png").stat().st_size > 10_000


def test_cityscapes_and_its_submission(recipe: Path, tmp_path: Path) -> None:
    for split, count in (("train", 2), ("val", 1)):
        for index in range(count):
            name = f"bonn_{split}_{index}"
            image = tmp_path / "cityscapes/leftImg8bit" / split / "bonn" / f"{name}_leftImg8bit.png"
            ids = tmp_path / "cityscapes/gtFine" / split / "bonn" / f"{name}_gtFine_labelIds.png"
            for path, values in ((image, np.full((40, 64, 3), 80, np.uint8)), (ids, np.full((40, 64), 7, np.uint8))):
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(values).save(path)
    options = ["--dataset", "cityscapes", "--set", "DATA_DIR", str(tmp_path), "SOLVER.MAX_ITER", "1"]
    options += ["TRAIN.EVAL_PERIOD", "0", "TRAIN.VIS_PERIOD", "0", "SEMANTIC.SUBMISSION", "True"]
    assert train.main(["--cfg", str(recipe), "--output_dir", str(tmp_path / "run"), *options]) == 0
    weights = ["--load_ckpt", str(tmp_path / "run" / "ckpt" / "model_step1.pth")]
    assert test.main(["--cfg", str(recipe), *weights, "--output_dir", str(tmp_path / "out"), *options]) == 0
    ids = np.asarray(Image.open(tmp_path / "out" / "submission" / "bonn_val_0_leftImg8bit.png"))
    assert ids.shape == (40, 64)
    assert set(np.unique(ids).tolist()) <= set(CITYSCAPES_IDS)


def test_devices_share_a_batch(recipe: Path) -> None:
    cfg = load_cfg(recipe, ["SEMANTIC.DROPOUT", "0", "MODEL.FPT.DROPBLOCK_KEEP_PROB", "1"])
    torch.manual_seed(0)
    model = build_model(cfg, num_classes=3)
    images = [torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8) for _ in range(4)]
    targets = [{"classes": torch.randint(0, 2, (32, 32), dtype=torch.int16)} for _ in range(4)]
    alone = model(images, targets)["loss_sem"]
    together = DataParallel(model, devices=[torch.device("cpu")] * 2)(images, targets)["loss_sem"]
    torch.testing.assert_close(together.mean(), alone)
