"""The command that checks data sets."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from fpt.cli.check_data import main


@pytest.mark.parametrize("is_damaged", [False, True])
@pytest.mark.parametrize("option", ["--read_images", "--read_pictures"])
def test_report_and_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], is_damaged: bool, option: str
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((20, 30, 3), np.uint8))
    box = [0, 0, 0 if is_damaged else 5, 5]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}],
        "categories": [{"id": 1, "name": "fig"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": box}],
    }
    (tmp_path / "ann.json").write_text(json.dumps(content))
    if is_damaged:
        (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-20])
    cfg_file = tmp_path / "own.yaml"
    cfg_file.write_text("DATASETS: {own: {IMAGE_DIR: ., ANN_FILE: ann.json}}\nTRAIN: {DATASETS: [own]}\n")
    assert main(["--cfg", str(cfg_file), option, "--set", "DATA_DIR", str(tmp_path)]) == int(is_damaged)
    shown = capsys.readouterr().out
    assert "data set own: 1 classes (fig), boxes only" in shown
    assert ("1 x degenerate boxes (no width or height): dropped" in shown) == is_damaged
    assert ("a.png: the image is truncated" in shown) == is_damaged


def test_key_points_are_counted_and_checked(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads((tiny.folder / "tiny.json").read_text())
    content["categories"][0] |= {"keypoints": ["left", "right"], "skeleton": [[1, 2]]}
    for item in content["annotations"]:
        if item["category_id"] == content["categories"][0]["id"]:
            item["keypoints"] = [item["bbox"][0], item["bbox"][1], 2, item["bbox"][0] + 3, item["bbox"][1] + 3, 1]
    (tiny.folder / "tiny.json").write_text(json.dumps(content))
    draw = tiny.folder / "looks"
    assert main(tiny.arguments("--draw", draw, "--set", "MODEL.KEYPOINTS_ON", "True")) == 0
    assert "2 key points (left, right)" in capsys.readouterr().out
    assert list(draw.rglob("*.png"))
    content["categories"][1]["keypoints"] = ["nose"]
    (tiny.folder / "tiny.json").write_text(json.dumps(content))
    assert main(tiny.arguments("--set", "MODEL.KEYPOINTS_ON", "True")) == 1
    assert "have other key points (2 and 1)" in capsys.readouterr().out
    assert main(tiny.arguments()) == 0


def test_images_are_read_only_where_that_is_asked_for(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    (tiny.folder / "images" / "1.png").write_bytes(b"no image")
    assert main(tiny.arguments()) == 0
    assert main(tiny.arguments("--read_images")) == 1
    assert capsys.readouterr().out.count("ERROR") == 2  # the image is in two data sets


def test_data_sets_are_named_by_the_file_or_the_option(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tiny.arguments("--dataset", "tiny_val")) == 0
    shown = capsys.readouterr().out
    assert "data set tiny_val: 2 classes (red, green), masks" in shown
    assert "tiny_train" not in shown
    assert main([]) == 2
    assert "no data set is named: give --cfg or --dataset" in capsys.readouterr().err


def test_a_data_set_that_cannot_be_used_does_not_hide_the_next(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tiny.arguments("--set", "DATASETS.tiny_train.ANN_FILE", "none.json")) == 1
    shown = capsys.readouterr().out
    assert "'none.json' does not exist" in shown
    assert "data set tiny_val" in shown


def test_the_older_spelling_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert "--read_images" in shown
    assert "--read_pictures" not in shown
