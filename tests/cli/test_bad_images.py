"""Unusual images are read as they should be, bad ones replaced and listed. See tests/bad_inputs.md.

fpt-check-data finds the bad ones.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

SIZE = 64


def _pixels() -> np.ndarray:
    """The second image: uint8 RGB [64, 64, 3]; above one colour, below another."""
    image = np.empty((SIZE, SIZE, 3), np.uint8)
    image[:32], image[32:] = (200, 30, 60), (20, 180, 90)
    return image


def _encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _of_mode(mode: str, kind: str, **options: object) -> bytes:
    return _encode(Image.fromarray(_pixels()).convert(mode), kind, **options)


def _animated(kind: str, **options: object) -> bytes:
    first = Image.fromarray(_pixels())
    return _encode(first, kind, save_all=True, append_images=[Image.fromarray(255 - _pixels())], **options)


def _turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x112] = orientation
    return _encode(Image.fromarray(np.rot90(_pixels()).copy()), "PNG", exif=exif)


def _deep(channels: int) -> bytes:
    values = _pixels()[..., ::-1].astype(np.uint16) * 257
    return cv2.imencode(".png", values if channels == 3 else values[..., 2])[1].tobytes()


def _huge(side: int = 30_000) -> bytes:
    """A PNG of 100 kB that takes 5 GB to decode."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    backbone = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", backbone) + chunk(b"IEND", b"")


GREY = np.asarray(Image.fromarray(_pixels()).convert("L"))[..., None].repeat(3, -1)
RED = _pixels()[..., :1].repeat(3, -1)
READ: dict[str, tuple[Callable[[], bytes], np.ndarray, int]] = {
    "RGB JPEG": (lambda: _of_mode("RGB", "JPEG", quality=95), _pixels(), 4),
    "CMYK JPEG": (lambda: _of_mode("CMYK", "JPEG", quality=95), _pixels(), 5),
    "grey JPEG": (lambda: _of_mode("L", "JPEG", quality=95), GREY, 4),
    "progressive JPEG": (lambda: _of_mode("RGB", "JPEG", quality=95, progressive=True), _pixels(), 4),
    "grey PNG": (lambda: _of_mode("L", "PNG"), GREY, 0),
    "grey PNG with alpha": (lambda: _of_mode("LA", "PNG"), GREY, 0),
    "PNG with alpha": (lambda: _of_mode("RGBA", "PNG"), _pixels(), 0),
    "palette PNG": (
        lambda: _encode(Image.fromarray(_pixels()).convert("P", palette=Image.Palette.ADAPTIVE, colors=4), "PNG"),
        _pixels(),
        0,
    ),
    "16-bit PNG": (lambda: _deep(3), _pixels(), 0),
    "16-bit grey PNG": (lambda: _deep(1), RED, 0),
    "EXIF-turned image": (lambda: _turned(6), _pixels(), 0),
    "animated GIF": (lambda: _animated("GIF"), _pixels(), 0),
    "animated WebP": (lambda: _animated("WEBP", lossless=True), _pixels(), 0),
    "animated PNG": (lambda: _animated("PNG"), _pixels(), 0),
    "TIFF of two pages": (lambda: _animated("TIFF"), _pixels(), 0),
}


@pytest.mark.parametrize("case", READ)
def test_image_that_is_read(tiny, check_dataset: Callable, case: str) -> None:
    make, expected, tolerance = READ[case]
    (tiny.folder / "images" / "2.png").write_bytes(make())  # the content decides, not the suffix
    batches, report = tiny.load()
    assert report == []
    image = batches[0].images[batches[0].image_ids.index(2)].permute(1, 2, 0).numpy()
    difference = np.abs(image.astype(int) - expected)
    assert max(difference[:24].max(), difference[40:].max()) <= tolerance  # colours bleed where the halves meet
    assert check_dataset(tiny)[0] == 0


def _jpeg() -> bytes:
    return _of_mode("RGB", "JPEG", quality=95)


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "zero bytes": (lambda: b"", "the file is empty"),
    "truncated JPEG": (lambda: _jpeg()[: len(_jpeg()) // 2], "the image is truncated"),
    "JPEG without its last bytes": (lambda: _jpeg()[:-2], "the image is truncated"),
    "truncated PNG": (lambda: _of_mode("RGB", "PNG")[:-20], "the image is truncated"),
    "truncated WebP": (lambda: _of_mode("RGB", "WEBP")[:-40], "not a readable image"),
    "JPEG header alone": (lambda: _jpeg()[:20], "the image is truncated"),
    "text": (lambda: b"<html>not found</html>", "not a readable image"),
    "random bytes": (lambda: np.random.default_rng(0).bytes(5000), "not a readable image"),
    "zeros": (lambda: bytes(5000), "not a readable image"),
    "PNG with damaged data": (
        lambda: _of_mode("RGB", "PNG").replace(b"IDAT\x78", b"IDAT\x00", 1),
        "not a readable image",
    ),
    "other size than annotated": (
        lambda: _encode(Image.fromarray(_pixels()[:40]), "PNG"),
        "the image is 64 x 40 (width x height), but its annotations say 64 x 64",
    ),
    "decompression bomb": (_huge, "too large an image"),
}


def _assert_replaced(tiny, check_dataset: Callable, reason: str) -> None:
    batches, report = tiny.load()
    path = tiny.folder / "images" / "2.png"
    assert [batch.image_ids for batch in batches] == [[1, 1], [1, 1]]
    assert [(entry["file"], entry["image_id"], entry["dataset"]) for entry in report] == [(str(path), 2, "tiny_train")]
    assert reason in report[0]["reason"]
    status, shown = check_dataset(tiny)
    assert status == 1
    assert f"ERROR {path}: " in shown
    assert reason in shown


@pytest.mark.parametrize("case", BAD)
def test_image_that_is_replaced(tiny, check_dataset: Callable, case: str) -> None:
    make, reason = BAD[case]
    (tiny.folder / "images" / "2.png").write_bytes(make())
    _assert_replaced(tiny, check_dataset, reason)


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _replace_by_dead_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "gone.png")


def _grow(path: Path) -> None:
    os.truncate(path, 2**40)


SPECIAL: dict[str, tuple[Callable[[Path], None], str]] = {
    "folder instead of a file": (_replace_by_folder, "cannot be read: Is a directory"),
    "pipe instead of a file": (_replace_by_pipe, "no file but a pipe or a device"),
    "file of a terabyte": (_grow, "too large a file: 1099511627776 bytes"),
    "link to nothing": (_replace_by_dead_link, "cannot be read: No such file"),
}


@pytest.mark.parametrize("case", SPECIAL)
def test_file_that_is_replaced(tiny, check_dataset: Callable, case: str) -> None:
    replace, reason = SPECIAL[case]
    replace(tiny.folder / "images" / "2.png")
    _assert_replaced(tiny, check_dataset, reason)


@pytest.mark.usefixtures("no_superuser")
def test_file_without_permission(tiny, check_dataset: Callable) -> None:
    path = tiny.folder / "images" / "2.png"
    path.chmod(0)
    _assert_replaced(tiny, check_dataset, "cannot be read: Permission denied")
