"""A checkpoint alone detects in images of every kind."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from fpt.checkpoint.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fpt.core.config import load_cfg
from fpt.dataloaders.image_io import ImageReading
from fpt.run.predictor import Predictor, to_pixels
from fpt.utils.errors import UserError


@pytest.fixture(scope="module")
def predictor(trained, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """Of a checkpoint that lies alone, away from its yaml file and data."""
    alone = tmp_path_factory.mktemp("alone") / "model.pth"
    shutil.copy(trained.checkpoint, alone)
    return Predictor(alone, device="cpu", score_threshold=0.0)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)


def test_every_kind_of_image_gives_the_same(predictor: Predictor, pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), pixels[..., ::-1])
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    kinds = [path, str(path), pixels, Image.fromarray(pixels), tensor, tensor.float()]
    found = predictor(kinds)
    assert len(found) == len(kinds)
    assert len(found[0]) > 0
    for one in found:
        assert np.array_equal(one.boxes, found[0].boxes)
        assert np.array_equal(one.scores, found[0].scores)
        assert np.array_equal(one.image, pixels)
    assert [one.source for one in found] == [path, path, None, None, None, None]
    assert np.array_equal(predictor(pixels).scores, found[0].scores)


def test_grey_images(predictor: Predictor, pixels: np.ndarray) -> None:
    grey = np.repeat(pixels[..., :1], 3, axis=2)
    assert np.array_equal(predictor(pixels[..., 0]).scores, predictor(grey).scores)
    assert np.array_equal(to_pixels(Image.fromarray(pixels[..., 0])), grey)


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16),
        np.linspace(0, 4095, 64 * 48).reshape(48, 64).astype(np.uint16),
        np.linspace(0, 1, 64 * 48).reshape(48, 64).astype(np.float32),
    ],
)
def test_deep_images_of_pillow_are_read_as_their_files(values: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(values).save(tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as image:
        assert np.array_equal(to_pixels(image), to_pixels(tmp_path / "a.tif"))


@pytest.mark.parametrize("exif", ["auto", "apply", "ignore"])
def test_images_of_pillow_are_turned_as_their_files(pixels: np.ndarray, tmp_path: Path, exif: str) -> None:
    tags = Image.Exif()
    tags[0x112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=tags)
    reading = ImageReading(exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(to_pixels(image, reading=reading), to_pixels(tmp_path / "a.png", reading=reading))


def test_a_buffer_may_be_used_again(predictor: Predictor, pixels: np.ndarray) -> None:
    frame = pixels.copy()
    tensor = torch.from_numpy(frame).permute(2, 0, 1)
    found = [predictor(frame), predictor(tensor)]
    frame[:] = 0
    assert all(np.array_equal(one.image, pixels) for one in found)
    assert not predictor(tensor.float()).image.any()  # a black frame


def test_what_a_prediction_holds(predictor: Predictor, pixels: np.ndarray) -> None:
    found = predictor(pixels)
    count = len(found)
    assert (found.boxes.dtype, found.boxes.shape) == (np.float32, (count, 4))
    assert (found.labels.dtype, found.scores.dtype) == (np.int64, np.float32)
    assert found.class_names == [("red", "green")[label - 1] for label in found.labels.tolist()]
    assert (np.diff(found.scores) <= 0).all()
    assert (found.masks.dtype, found.masks.shape) == (bool, (count, 50, 70))
    assert found.masks.any()
    drawn = found.draw()
    assert (drawn.dtype, drawn.shape[2]) == (np.uint8, 3)
    assert not np.array_equal(drawn, found.draw(colour_by="object", mask_opacity=0.1))


def test_coco_results(predictor: Predictor, pixels: np.ndarray) -> None:
    found = predictor(pixels)
    results = found.to_coco(image_id=42, category_ids=[7, 9])
    assert len(results) == len(found)
    assert {item["image_id"] for item in results} == {42}
    assert {item["category_id"] for item in results} <= {7, 9}
    x, y, w, h = results[0]["bbox"]
    assert [x, y, x + w, y + h] == pytest.approx(found.boxes[0].tolist(), abs=1e-2)
    assert results[0]["segmentation"]["size"] == [50, 70]
    assert {item["image_id"] for item in predictor([pixels, pixels])[1].to_coco()} == {1}


def test_files(predictor: Predictor, pixels: np.ndarray, tmp_path: Path) -> None:
    found = predictor(pixels)
    for suffix in ("png", "jpg", "pdf"):
        found.save(tmp_path / f"a.{suffix}")
        assert (tmp_path / f"a.{suffix}").stat().st_size > 0
    found.save(str(tmp_path / "a.json"))
    content = json.loads((tmp_path / "a.json").read_text())
    assert (content["width"], content["height"], len(content["detections"])) == (70, 50, len(found))
    with pytest.raises(UserError, match=r"image format '\.webp'"):
        found.save(tmp_path / "a.webp")


def test_the_threshold_is_the_configurations_or_the_callers(trained, pixels: np.ndarray) -> None:
    assert Predictor(trained.checkpoint).score_threshold == 0.7
    strict = Predictor(trained.checkpoint, score_threshold=1.0)
    assert len(strict(pixels)) == 0
    assert strict(pixels).masks.shape == (0, 50, 70)
    assert strict(pixels).to_coco() == []


def test_another_configuration_of_the_same_model(trained, pixels: np.ndarray) -> None:
    cfg = load_cfg(trained.cfg, ["TEST.SCALE", "32", "TEST.DETECTIONS_PER_IM", "3"])
    assert 0 < len(Predictor(trained.checkpoint, cfg=cfg, score_threshold=0.0)(pixels)) <= 3
    other = load_cfg(trained.cfg, ["FPN.DIM", "16"])
    with pytest.raises(UserError, match="holds another model"):
        Predictor(trained.checkpoint, cfg=other)


def test_averaged_weights_are_those_that_detect(trained, predictor: Predictor, pixels: np.ndarray, tmp_path) -> None:
    checkpoint = load_checkpoint(trained.checkpoint)
    content = {field.name: getattr(checkpoint, field.name) for field in fields(Checkpoint)}
    noise = {name: torch.zeros_like(value) for name, value in checkpoint.model.items()}
    save_checkpoint(tmp_path / "a.pth", Checkpoint(**{**content, "model": noise, "average": checkpoint.model}))
    found = Predictor(tmp_path / "a.pth", score_threshold=0.0)(pixels)
    assert np.array_equal(found.scores, predictor(pixels).scores)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), r"float32 \(4, 4, 3\); an image is uint8 \[H, W, 3\] in RGB"),
        (np.zeros((4, 4, 4), np.uint8), r"uint8 \(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), r"uint8 \(0, 4, 3\)"),
        (torch.zeros(4, 4, 3), r"shape \(4, 4, 3\); an image is \[3, H, W\]"),
        (torch.rand(3, 4, 4), r"multiply values in 0\.\.1 by 255"),
        (torch.full((3, 4, 4), -1.0), "values from -1 to -1"),
        (7, "this is a int"),
        ("none.png", "none.png: cannot be read: No such file or directory"),
    ],
)
def test_what_is_no_image_is_named(image: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        to_pixels(image)


def test_a_missing_checkpoint_and_an_absent_device(trained, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        Predictor(tmp_path / "none.pth")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="DEVICE is cuda, but torch sees no GPU"):
            Predictor(trained.checkpoint, device="cuda")


@pytest.mark.parametrize("is_given", [True, False])
def test_a_lower_threshold_than_the_models_lowers_that(
    trained, pixels: np.ndarray, is_given: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="fpt")
    opts = ["TEST.SCORE_THRESH", "0.9", *([] if is_given else ["VIS_TH", "0.0"])]
    predictor = Predictor(
        trained.checkpoint, cfg=load_cfg(trained.cfg, opts), score_threshold=0.0 if is_given else None
    )
    assert predictor.cfg.TEST.SCORE_THRESH == 0
    assert 0 <= predictor(pixels).scores.min() < 0.9
    assert "TEST.SCORE_THRESH: 0.9 -> 0, the lowest score that is shown" in caplog.text
    higher = Predictor(trained.checkpoint, cfg=load_cfg(trained.cfg), score_threshold=0.5)
    assert higher.cfg.TEST.SCORE_THRESH == 0.05
