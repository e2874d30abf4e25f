"""The inference command: one result for every image, and what happens to bad ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from fpt.cli.infer import main
from fpt.run.image_files import find_images, output_names
from fpt.utils.errors import UserError


def test_every_image_has_its_files_even_with_nothing_found(trained, tmp_path: Path) -> None:
    more = ("--load_ckpt", trained.checkpoint, "--image_dir", trained.folder / "images", "--output_dir", tmp_path)
    assert main(trained.arguments(*more, "--thresh", "1")) == 0
    assert {path.name for path in tmp_path.iterdir()} >= {"1.png", "1.json", "2.png", "2.json"}
    content = json.loads((tmp_path / "1.json").read_text())
    assert (content["width"], content["height"], content["detections"]) == (64, 64, [])


def test_detections_have_names_and_masks(trained, tmp_path: Path) -> None:
    more = (
        "--load_ckpt",
        trained.checkpoint,
        "--images",
        trained.folder / "images" / "1.png",
        "--output_dir",
        tmp_path,
    )
    assert main(trained.arguments(*more, "--thresh", "0", "--output_format", "json")) == 0
    found = json.loads((tmp_path / "1.json").read_text())["detections"]
    assert found
    assert {item["class"] for item in found} <= {"red", "green"}
    assert {"score", "box_xyxy", "mask_rle"} <= set(found[0])
    assert not (tmp_path / "1.png").exists()


def test_formats_and_merged_pdf(trained, tmp_path: Path) -> None:
    more = ("--load_ckpt", trained.checkpoint, "--image_dir", trained.folder / "images", "--output_dir", tmp_path)
    assert main(trained.arguments(*more, "--output_format", "jpg", "pdf", "--merge_pdfs")) == 0
    assert {path.suffix for path in tmp_path.glob("[12].*")} == {".jpg", ".pdf"}
    assert (tmp_path / "results.pdf").read_bytes()[:5] == b"%PDF-"


def test_unreadable_images_are_named_and_the_others_done(
    trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(trained.folder / "images" / "1.png", folder / "a.png")
    cv2.imwrite(str(folder / "a.jpg"), np.zeros((40, 30), np.uint8))
    whole = (folder / "a.jpg").read_bytes()
    (folder / "b.jpg").write_bytes(whole[: len(whole) // 2])
    more = ("--load_ckpt", trained.checkpoint, "--image_dir", folder, "--output_dir", tmp_path / "out")
    assert main(trained.arguments(*more)) == 1
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"a_jpg.png", "a_png.png"}
    captured = capsys.readouterr()
    assert captured.err.strip() == f"error: no result for {folder / 'b.jpg'}"
    assert "2 of 3 images done" in captured.out


@pytest.mark.parametrize("more", [["--image_dir", "a", "--images", "b"], []])
def test_either_a_folder_or_images(trained, capsys: pytest.CaptureFixture[str], more: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(trained.arguments("--load_ckpt", trained.checkpoint, *more))
    assert stop.value.code == 2
    assert "--image_dir" in capsys.readouterr().err


def test_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none is missing; name a folder"):
        find_images(tmp_path / "none")
    (tmp_path / "a.txt").touch()
    with pytest.raises(UserError, match="holds 1 files but no image"):
        find_images(tmp_path)


def test_names_do_not_collide() -> None:
    names = output_names([Path(name) for name in ("a.jpg", "b.png", "c.jpg", "c.PNG", "x/d.jpg", "y/d.jpg", "log.png")])
    assert names == ["a", "b", "c_jpg", "c_PNG", "d_jpg", "d_jpg_2", "log_2"]


def test_sub_folders_and_patterns(trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    (folder / "x").mkdir(parents=True)
    for number, name in ((1, "a.png"), (2, "x/a.png")):
        shutil.copy(trained.folder / "images" / f"{number}.png", folder / name)
    (folder / "b.heic").touch()
    for words in (("--image_dir", folder), ("--images", folder)):
        out = tmp_path / words[0]
        more = ("--load_ckpt", trained.checkpoint, *words, "--recursive", "--output_dir", out)
        assert main(trained.arguments(*more)) == 0
        assert f"left out of {folder}: 1 x .heic" in capsys.readouterr().out
        assert sorted(str(path.relative_to(out)) for path in out.rglob("*.png")) == ["a.png", "x/a.png"]
    more = ("--load_ckpt", trained.checkpoint, "--images", f"{folder}/*/*.png", "--output_dir", tmp_path / "out")
    assert main(trained.arguments(*more)) == 0
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["a.png"]


def test_an_output_that_cannot_be_written_is_one_message_and_the_others_are_drawn(
    trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    long_name = "n" * 251 + ".jpg"  # a legal name, whose json would have 256 letters
    shutil.copy(trained.folder / "images" / "1.png", folder / long_name)
    shutil.copy(trained.folder / "images" / "1.png", folder / "z.png")
    more = ("--load_ckpt", trained.checkpoint, "--image_dir", folder, "--output_dir", tmp_path / "out")
    assert main(trained.arguments(*more)) == 1
    captured = capsys.readouterr()
    assert captured.err.strip() == f"error: no result for {folder / long_name}"
    assert "File name too long; give the image a shorter name" in captured.out
    assert {path.name for path in (tmp_path / "out").glob("z.*")} == {"z.png", "z.json"}


def test_colours_by_class_or_by_object(trained, tmp_path: Path) -> None:
    more = ("--load_ckpt", trained.checkpoint, "--image_dir", trained.folder / "images", "--thresh", "0")
    for colour_by in ("class", "object"):
        out = tmp_path / colour_by
        assert main(trained.arguments(*more, "--output_dir", out, "--colour_by", colour_by)) == 0
    drawn = [cv2.imread(str(tmp_path / name / "1.png")) for name in ("class", "object")]
    assert drawn[0].shape == drawn[1].shape
    assert not np.array_equal(*drawn)
