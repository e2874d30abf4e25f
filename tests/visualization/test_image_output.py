"""Images on disk."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from fpt.utils.errors import UserError
from fpt.visualization.image_output import merge_pdfs, save_image


def _gradient(height: int, width: int) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(0, 255, width).astype(np.uint8)
    return image


def test_png_and_jpg(tmp_path: Path) -> None:
    image = _gradient(30, 40)
    save_image(tmp_path / "new" / "a.png", image)
    assert (cv2.imread(str(tmp_path / "new" / "a.png"))[..., ::-1] == image).all()
    save_image(tmp_path / "a.JPG", image)
    assert np.abs(cv2.imread(str(tmp_path / "a.JPG"))[..., ::-1].astype(int) - image).mean() < 8


def test_pdf_offsets_point_at_the_objects(tmp_path: Path) -> None:
    save_image(tmp_path / "a.pdf", _gradient(30, 40))
    content = (tmp_path / "a.pdf").read_bytes()
    assert content.startswith(b"%PDF-1.4")
    offsets = [int(offset) for offset in re.findall(rb"(\d{10}) 00000 n", content)]
    assert len(offsets) == 5
    for number, offset in enumerate(offsets, start=1):
        assert content[offset:].startswith(b"%d 0 obj" % number)
    start = re.search(rb"startxref\n(\d+)", content)
    assert start is not None
    assert content[int(start.group(1)) :].startswith(b"xref")


def test_merged_pages_keep_their_order_and_their_images(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.pdf" for number in range(3)]
    for number, path in enumerate(paths):
        save_image(path, _gradient(20 + number, 50))
    merge_pdfs(paths, tmp_path / "all.pdf")
    merge_pdfs([tmp_path / "all.pdf", paths[0]], tmp_path / "more.pdf")
    content = (tmp_path / "more.pdf").read_bytes()
    assert b"/Count 4" in content
    assert [int(height) for height in re.findall(rb"/Width 50 /Height (\d+)", content)] == [20, 21, 22, 20]
    first = re.search(rb"stream\n(\xff\xd8.*?\xff\xd9)\nendstream", content, re.DOTALL)
    assert first is not None
    assert cv2.imdecode(np.frombuffer(first.group(1), np.uint8), 1).shape == (20, 50, 3)


def test_wrong_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"format '.gif' .* legal: png, jpg, pdf"):
        save_image(tmp_path / "a.gif", _gradient(4, 4))
    with pytest.raises(UserError, match="no pdf file to merge"):
        merge_pdfs([], tmp_path / "all.pdf")
    (tmp_path / "other.pdf").write_bytes(b"%PDF-1.7 something else")
    with pytest.raises(UserError, match=r"other.pdf was not written by this program"):
        merge_pdfs([tmp_path / "other.pdf"], tmp_path / "all.pdf")


def test_a_jpeg_that_is_too_large_names_the_way_out(tmp_path: Path) -> None:
    image = np.zeros((2, 65_501, 3), np.uint8)
    for name in ("a.jpg", "a.pdf"):
        with pytest.raises(UserError, match=r"65501 x 2 pixels are more than the 65500 a side .*; use png"):
            save_image(tmp_path / name, image)
    save_image(tmp_path / "a.png", image)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_name_of_255_bytes_is_written_and_a_longer_one_is_one_message(tmp_path: Path) -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    longest = tmp_path / ("n" * 251 + ".png")
    save_image(longest, image)
    umlauts = tmp_path / ("ü" * 125 + ".png")
    save_image(umlauts, image)
    assert sorted(tmp_path.iterdir()) == sorted([longest, umlauts])
    with pytest.raises(UserError, match="cannot be written: File name too long; give the image a shorter name"):
        save_image(tmp_path / ("n" * 252 + ".png"), image)


def test_a_full_disk_is_one_message_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", fsync)
    with pytest.raises(UserError, match=r"a\.png cannot be written: No space left on device; make room"):
        save_image(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint8))
    assert not list(tmp_path.iterdir())
