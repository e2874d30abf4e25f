"""Which images are found, what is said of the others, and what results are called."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from fpt.run.image_files import find_images, find_named_images, output_names
from fpt.synthetic.shapes import generate_shapes
from fpt.utils.errors import UserError
from fpt.utils.own_files import recorded

FILES = ("a.jpg", "b.PNG", "c.heic", "d.HEIC", "e.mp4", "noname", ".hidden.jpg", "a.json", "x/a.jpg", "x/y/b.jpg")
LEFT_OUT = ["1 files without suffix", "2 results of this program", "1 sub-folders (--recursive enters them)"]
LEFT_OUT += ["1 x .json", "1 x .mp4", "2 x .heic"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    for name in ("ours.png", "x/ours.png", "ours.json"):
        with recorded(folder / name):
            (folder / name).write_text("ours")
    return folder


def test_what_is_left_out_is_said_in_one_line(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="fpt")
    found = find_images(photos)
    assert found.images == [photos / "a.jpg", photos / "b.PNG"]
    assert found.names == ["a", "b"]
    (line,) = caplog.messages
    assert sorted(line.split(": ")[1].split(", ")) == sorted(LEFT_OUT)


def test_images_of_a_data_set_that_we_have_made_are_images(tmp_path: Path) -> None:
    generate_shapes(tmp_path, num_train=2, num_val=0, size=32)
    assert find_images(tmp_path / "images" / "train").names == ["000000", "000001"]
    assert find_named_images([str(tmp_path / "images" / "*" / "*.jpg")]).names == ["000000", "000001"]


def test_sub_folders_are_entered_and_keep_their_names(photos: Path) -> None:
    (photos / "x" / "loop").symlink_to(photos)
    found = find_images(photos, enters_folders=True)
    assert found.images == [photos / name for name in ("a.jpg", "b.PNG", "x/a.jpg", "x/y/b.jpg")]
    assert found.names == ["a", "b", "x/a", "x/y/b"]


def test_a_folder_keeps_its_name_beside_a_link_to_it(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.jpg").write_text("x")
    (tmp_path / "alias").symlink_to("real")
    assert find_images(tmp_path, enters_folders=True).names == ["real/x"]


def test_the_map_of_classes_of_one_image_is_not_the_drawing_of_another() -> None:
    images = [Path("a.ids.jpg"), Path("a.jpg"), Path("a_ids.jpg"), Path("B.IDS.png")]
    assert output_names(images) == ["a_ids_jpg", "a", "a_ids_jpg_2", "B_ids"]


def test_a_folder_of_sub_folders_alone(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.jpg").touch()
    with pytest.raises(UserError, match=r"holds 0 files but no image: 1 sub-folders \(--recursive enters them\); "):
        find_images(tmp_path)
    assert find_images(tmp_path, enters_folders=True).names == ["x/a"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["*.jpg"], ["a"]),
        (["*"], ["a", "b"]),
        (["**/*.jpg"], ["a_jpg", "a_jpg_2", "b"]),
        ([""], ["a", "b"]),
        (["x", "a.jpg"], ["a_jpg", "a_jpg_2"]),
        (["a.jpg", "*.jpg", "a.jpg"], ["a"]),
        (["[ab].*"], ["a", "b"]),
        (["c.heic", "missing.jpg"], ["c", "missing"]),
    ],
)
def test_files_patterns_and_folders_are_named(photos: Path, words: list[str], names: list[str]) -> None:
    found = find_named_images([str(photos / word) for word in words])
    assert sorted(found.names) == names
    assert len(set(found.images)) == len(found.images)


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    for name in ("a[1].jpg", "a1.jpg"):
        (tmp_path / name).touch()
    assert find_named_images([str(tmp_path / "a[1].jpg")]).images == [tmp_path / "a[1].jpg"]


def test_a_pattern_without_images(photos: Path) -> None:
    with pytest.raises(UserError, match=r"--images '.*\*.mp4' finds 1 files and folders, but no image"):
        find_named_images([str(photos / "*.mp4")])


def test_names_do_not_depend_on_the_order() -> None:
    images = [Path(name) for name in ("x/a.jpg", "y/a.jpg", "a.png", "b.jpg", "z/A.JPG")]
    expected = dict(zip(images, output_names(images), strict=True))
    assert len({name.lower() for name in expected.values()}) == len(images)
    for seed in range(5):
        shuffled = random.Random(seed).sample(images, len(images))
        assert dict(zip(shuffled, output_names(shuffled), strict=True)) == expected


@pytest.mark.usefixtures("no_superuser")
def test_a_folder_that_may_not_be_read(photos: Path) -> None:
    (photos / "x").chmod(0)
    try:
        with pytest.raises(UserError, match="x cannot be read: Permission denied"):
            find_images(photos, enters_folders=True)
    finally:
        (photos / "x").chmod(0o755)
