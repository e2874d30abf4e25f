"""Images on disk: png, jpg and pdf."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from fpt.utils.errors import UserError
from fpt.utils.files import write_atomic

FORMATS = ("png", "jpg", "pdf")

_DPI = 100
_JPEG_QUALITY = 92
_MAX_JPEG_SIDE = 65_500  # libjpeg's
_PAGE = re.compile(
    rb"<< /Type /XObject /Subtype /Image /Width (\d+) /Height (\d+) [^>]*/Length (\d+) >>\nstream\n", re.DOTALL
)


def save_image(path: Path, image: np.ndarray) -> None:
    """Write an image (uint8 [H, W, 3] RGB) in the format of its suffix; the file is complete or absent.

    Raises:
        UserError: another suffix than png, jpg, jpeg or pdf, more pixels a side than the format has, or a file that
            cannot be written.
    """
    suffix = known_suffix(path)
    if suffix != ".png":
        check_jpeg_size(path, (image.shape[0], image.shape[1]))
    if suffix == ".pdf":
        content = _to_pdf([(image.shape[1], image.shape[0], _encode(".jpg", image))])
    else:
        content = _encode(suffix, image)
    with explained_output(path):
        write_atomic(path, lambda file: file.write(content))


def known_suffix(path: Path) -> str:
    """The suffix of a file in small letters; UserError unless it is that of a format in FORMATS."""
    suffix = path.suffix.lower()
    if suffix.removeprefix(".") not in (*FORMATS, "jpeg"):
        raise UserError(f"image format {path.suffix!r} of {path} is unknown; legal: {', '.join(FORMATS)}")
    return suffix


def check_jpeg_size(path: Path, size_hw: tuple[int, int]) -> None:
    """Raise UserError for more pixels a side than a JPEG may have."""
    if max(size_hw) > _MAX_JPEG_SIDE:
        raise UserError(
            f"{path} cannot be written: {size_hw[1]} x {size_hw[0]} pixels are more than the {_MAX_JPEG_SIDE} a side "
            "that a JPEG may have; use png"
        )


@contextmanager
def explained_output(path: Path) -> Iterator[None]:
    """Context that turns what the system says of a file that cannot be written into a UserError with a way out."""
    try:
        yield
    except OSError as error:
        advice = {
            errno.ENAMETOOLONG: "; give the image a shorter name",
            errno.ENOSPC: "; make room or use another folder",
        }
        raise UserError(
            f"{path} cannot be written: {error.strerror or error}{advice.get(error.errno or 0, '')}"
        ) from error


def merge_pdfs(paths: Sequence[Path], merged: Path) -> None:
    """Put the pages of files that ``save_image`` wrote into one pdf file, in order, without loss.

    Raises:
        UserError: when there is no file, or one was not written by ``save_image``.
    """
    if not paths:
        raise UserError(f"there is no pdf file to merge into {merged}")
    pages = []
    for path in paths:
        found = _read_pages(path.read_bytes())
        if not found:
            raise UserError(f"{path} was not written by this program: it cannot be merged")
        pages += found
    content = _to_pdf(pages)
    with explained_output(merged):
        write_atomic(merged, lambda file: file.write(content))


def _encode(suffix: str, image: np.ndarray) -> bytes:
    options = [] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    is_ok, content = cv2.imencode(suffix, np.ascontiguousarray(image[..., ::-1]), options)
    if not is_ok:
        raise ValueError(f"cannot encode an image of shape {image.shape} as {suffix}")
    return content.tobytes()


def _to_pdf(pages: Sequence[tuple[int, int, bytes]]) -> bytes:
    """A pdf file of jpg images, (width, height, content) a page; objects 1 and 2 are the catalogue and the pages."""
    kids = " ".join(f"{3 * number} 0 R" for number in range(1, len(pages) + 1))
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode()]
    for number, (width, height, jpg) in enumerate(pages, start=1):
        w, h = round(width * 72 / _DPI, 2), round(height * 72 / _DPI, 2)
        page = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {w} {h}] /Contents {3 * number + 1} 0 R "
            f"/Resources << /XObject << /Image {3 * number + 2} 0 R >> >> >>"
        )
        drawing = f"{w} 0 0 {h} 0 0 cm /Image Do".encode()
        head = (
            f"<< /Type /XObject /Subtype /Image /Width {width} /Height {height} /ColorSpace /DeviceRGB "
            f"/BitsPerComponent 8 /Filter /DCTDecode /Length {len(jpg)} >>\nstream\n"
        )
        objects.append(page.encode())
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawing), drawing))
        objects.append(head.encode() + jpg + b"\nendstream")
    return _join_objects(objects)


def _join_objects(objects: Sequence[bytes]) -> bytes:
    """Number the objects from 1 and add the table of their offsets."""
    content = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, item in enumerate(objects, start=1):
        offsets.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, item)
    start = len(content)
    content += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    content += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    content += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(content)


def _read_pages(content: bytes) -> list[tuple[int, int, bytes]]:
    pages, position = [], 0
    while match := _PAGE.search(content, position):
        width, height, length = (int(number) for number in match.groups())
        position = match.end() + length
        pages.append((width, height, content[match.end() : position]))
    return pages
