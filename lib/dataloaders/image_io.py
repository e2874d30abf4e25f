"""Images from disk: any common format to RGB, and damaged files named."""

from __future__ import annotations

import io
import stat
import struct
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fpt.utils.errors import UserError

MAX_PIXELS = 2**27
"""Images of more pixels aren't decoded: it takes six bytes each, whatever the size of the file."""

MAX_BYTES = 2**30
"""Larger files aren't read: no image of so many pixels needs as much."""

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_PNG_START = b"\x89PNG\r\n\x1a\n"
_RGB_FLAG: int | None = getattr(cv2, "IMREAD_COLOR_RGB", None)


def read_image(path: Path | str, expected_size_hw: tuple[int, int] | None = None) -> np.ndarray:
    """Read an image as 8-bit RGB.

    The EXIF orientation is applied, unless only the unrotated image has the expected size (some annotations were
    made on unrotated pixels). Grey and palette images become RGB, alpha is dropped, CMYK follows Adobe's convention,
    16 bits are scaled to 8. Of several frames (GIF, WebP, APNG, TIFF) the first is taken.

    Args:
        path: file in any format that OpenCV reads.
        expected_size_hw: height and width that the annotations give, or None to take any.

    Returns:
        uint8 [H, W, 3], contiguous.

    Raises:
        UserError: the file is missing, empty, truncated, no image, of over MAX_PIXELS, or of another size than
            expected.
    """
    path = Path(path)
    try:
        status = path.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # a pipe would never end
            raise UserError(f"{path}: no file but a pipe or a device")
        if status.st_size > MAX_BYTES:
            raise UserError(f"{path}: too large a file: {status.st_size} bytes are more than {MAX_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not data:
        raise UserError(f"{path}: the file is empty")
    if is_truncated(data):
        raise UserError(f"{path}: the image is truncated (its end is missing after {len(data)} bytes)")
    _check_number_of_pixels(path, data)
    image = _decode(path, data, ignore_orientation=False)
    if expected_size_hw is None or image.shape[:2] == tuple(expected_size_hw):
        return image
    if image.shape[1::-1] == tuple(expected_size_hw):
        unrotated = _decode(path, data, ignore_orientation=True)
        if unrotated.shape[:2] == tuple(expected_size_hw):
            return unrotated
    found, expected = image.shape[:2], expected_size_hw
    raise UserError(
        f"{path}: the image is {found[1]} x {found[0]} (width x height) but its annotations say "
        f"{expected[1]} x {expected[0]}; boxes would not fit: correct width and height in the annotation file"
    )


def is_truncated(data: bytes) -> bool:
    """Whether the end of a JPEG or PNG is missing; decoders may fill it with grey instead of failing."""
    if data[:2] == b"\xff\xd8":
        return data.rfind(b"\xff\xd9", _scan_start(data)) < 0
    if data[:8] == _PNG_START:
        return data.rfind(b"IEND") < 0
    return False


def _scan_start(data: bytes) -> int:
    """Offset of a JPEG's first scan; embedded thumbnails, which have an end marker of their own, lie before it."""
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            return position
        marker = data[position + 1]
        if marker == _SOS:
            return position
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= _SOI:
            position += 1 if marker == 0xFF else 2
            continue
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return len(data)


def _check_number_of_pixels(path: Path, data: bytes) -> None:
    """Raise UserError for an image of over MAX_PIXELS, by its header; formats that Pillow doesn't know pass."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            width, height = Image.open(io.BytesIO(data)).size
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: too large an image: {error}") from None
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error):
        return
    if width * height > MAX_PIXELS:
        raise UserError(
            f"{path}: too large an image: {width} x {height} (width x height) are more than {MAX_PIXELS} pixels; "
            "scale it down or cut it into pieces"
        )


def _decode(path: Path, data: bytes, *, ignore_orientation: bool) -> np.ndarray:
    flags = cv2.IMREAD_COLOR if _RGB_FLAG is None else _RGB_FLAG
    if ignore_orientation:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise UserError(f"{path}: the image cannot be decoded: {error.err or error}") from None
    if image is None:
        raise UserError(f"{path}: not a readable image (damaged, or of a format that OpenCV does not read)")
    if _RGB_FLAG is None:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return image
