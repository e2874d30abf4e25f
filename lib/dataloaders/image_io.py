"""Images from disk: any common format to RGB, and damaged files named."""

from __future__ import annotations

import io
import stat
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fpt.utils.errors import UserError

MAX_PIXELS = 2**27
"""Images of more pixels aren't decoded: it takes six bytes each, whatever the size of the file."""

MAX_BYTES = 2**30
"""Larger files aren't read: no image of so many pixels needs as much."""

IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .png .bmp .dib .webp .tif .tiff .ppm .pgm .pbm .pnm .gif .jp2 .avif .hdr .exr .sr .ras".split()
)
"""Suffixes, in lower case, of files that are taken for images."""

EXIF_MODES = ("auto", "apply", "ignore")
STRETCH_MODES = ("auto", "always", "never")


@dataclass(frozen=True)
class ImageReading:
    """How images become 8-bit RGB.

    Attributes:
        exif: the EXIF orientation: "apply" it, "ignore" it, or "auto": apply it unless only the unrotated image has the
            size that is expected.
        stretch: pixels of 16 bits: "never" scales them by the type's range, "always" by the image's own range,
            lowest to highest value, and "auto" so where no value needs more than 14 bits, as cameras of 10 to 14 bits
            write them.
        reduces_jpeg: a JPEG of which less is asked for is decoded at a half, a quarter or an eighth of its size.
    """

    exif: str = "auto"
    stretch: str = "auto"
    reduces_jpeg: bool = False


_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_JPEG_START = b"\xff\xd8"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_ORIENTATION, _LAST_UPRIGHT = 0x112, 4
"""EXIF's tag; orientations over _LAST_UPRIGHT exchange height and width."""
_TIFF_SIZE = (0x100, 0x101)  # tags of width and height
_LEAST_FULL_RANGE = 2**14
_DEEP_GREY = ("F", "I")
_COLOUR_FLAG: int = getattr(cv2, "IMREAD_COLOR_RGB", cv2.IMREAD_COLOR)
_REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
_REDUCIBLE = ("RGB", "L")
"""Pillow's modes of the JPEGs that are decoded at a part of their size."""


def read_image(
    path: Path | str,
    expected_size_hw: tuple[int, int] | None = None,
    *,
    reading: ImageReading | None = None,
    least_size_hw: tuple[int, int] | None = None,
) -> np.ndarray:
    """Read an image as 8-bit RGB.

    Grey and palette images become RGB, alpha is dropped, CMYK follows Adobe's convention. Pixels of 16 bits are scaled
    to 8 as `reading` says; floating-point ones are taken as 0..1 where none is larger, else as 0..255, else by their
    own range. Of several frames (GIF, WebP, APNG, TIFF) the first is taken. OpenCV turns a TIFF in any case.

    Args:
        path: file in any format that OpenCV reads.
        expected_size_hw: height and width that the annotations give, or None to take any.
        reading: orientation and scaling; None = the defaults.
        least_size_hw: height and width that are enough, where the reading reduces JPEGs; None = the whole image.

    Returns:
        uint8 [H, W, 3], contiguous; a reduced one has a half, a quarter or an eighth of the expected size.

    Raises:
        UserError: the file is missing, empty, truncated, no image, of over MAX_PIXELS, or of another size than
            expected.
    """
    reading = reading or ImageReading()
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
    mode = _check_header(path, data)
    if reading.reduces_jpeg and expected_size_hw and least_size_hw and _is_reducible(data, mode):
        reduced = _decode_reduced(data, expected_size_hw, least_size_hw, reading)
        if reduced is not None:
            return reduced
    return _decode_whole(path, data, mode, expected_size_hw, reading)


def _decode_whole(
    path: Path, data: bytes, mode: str, expected_size_hw: tuple[int, int] | None, reading: ImageReading
) -> np.ndarray:
    image = _decode(path, data, mode, reading, ignore_orientation=reading.exif == "ignore")
    if expected_size_hw is None or image.shape[:2] == tuple(expected_size_hw):
        return image
    if reading.exif == "auto" and image.shape[1::-1] == tuple(expected_size_hw):
        unrotated = _decode(path, data, mode, reading, ignore_orientation=True)
        if unrotated.shape[:2] == tuple(expected_size_hw):
            return unrotated
    raise UserError(f"{path}: {_explain_size(image.shape[:2], expected_size_hw)}")


def _is_reducible(data: bytes, mode: str) -> bool:
    return data[:2] == _JPEG_START and mode in _REDUCIBLE


def _decode_reduced(
    data: bytes, size_hw: tuple[int, int], least_hw: tuple[int, int], reading: ImageReading
) -> np.ndarray | None:
    """A JPEG at the smallest part of its size that is enough; None where the whole is needed, or something is wrong."""
    sides = list(zip(size_hw, least_hw, strict=True))  # other sizes than multiples would move the right and lower edge
    factor = next((f for f in _REDUCED if all(side % f == 0 and f * least <= side for side, least in sides)), 1)
    if factor == 1:
        return None
    expected_hw = (size_hw[0] // factor, size_hw[1] // factor)
    as_it_is = cv2.IMREAD_IGNORE_ORIENTATION
    orientations = {"auto": (0, as_it_is), "apply": (0,), "ignore": (as_it_is,)}[reading.exif]
    for orientation in orientations:
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), _REDUCED[factor] | orientation)
        except cv2.error:
            return None
        if image is not None and image.shape[:2] == expected_hw:
            return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return None


def _explain_size(found: tuple[int, ...], expected: tuple[int, int]) -> str:
    sizes = f"{found[1]} x {found[0]} (width x height), but its annotations say {expected[1]} x {expected[0]}"
    scale_h, scale_w = found[0] / expected[0], found[1] / expected[1]
    if abs(scale_h - scale_w) < 0.02 * scale_h + 1 / min(expected):
        scale = "half" if abs(scale_h - 0.5) < 0.01 else "twice" if abs(scale_h - 2) < 0.04 else f"{scale_h:.3g} times"
        return (
            f"the image is {scale} the size that the annotation file says: it is {sizes}; the annotations were made "
            "on images of another scale: put those there, or scale the annotations with the images"
        )
    if found == (expected[1], expected[0]):
        return f"the image is {sizes}: height and width are exchanged, or it was turned after it was annotated"
    return f"the image is {sizes}; boxes would not fit: correct width and height in the annotation file"


def exif_orientation(path: Path) -> int:
    """The EXIF orientation of an image file, 1 to 8; 1 where there is none or it cannot be read."""
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore")
            value = image.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error):
        return 1
    return value if value in range(1, 9) else 1


def read_size_hw(path: Path, reading: ImageReading | None = None) -> tuple[int, int] | None:
    """Height and width of an image file as read_image gives it, from its header; None where it cannot be read."""
    reading = reading or ImageReading()
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore")
            width, height = image.size
            is_tiff = image.format == "TIFF"
            if is_tiff:  # new versions of Pillow give the size of the turned image
                width, height = (image.getexif()[tag] for tag in _TIFF_SIZE)
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error):
        return None
    is_turned = (is_tiff or reading.exif != "ignore") and exif_orientation(path) > _LAST_UPRIGHT
    return (width, height) if is_turned else (height, width)


def is_truncated(data: bytes) -> bool:
    """Whether the end of a JPEG or PNG is missing; decoders may fill it with grey instead of failing."""
    if data[:2] == _JPEG_START:
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


def _check_header(path: Path, data: bytes) -> str:
    """Pillow's mode of the pixels, "" for formats that it doesn't know.

    Raises:
        UserError: the image has over MAX_PIXELS.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data))
            (width, height), mode = image.size, image.mode
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: too large an image: {error}") from None
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error):
        return ""
    if width * height > MAX_PIXELS:
        raise UserError(
            f"{path}: too large an image: {width} x {height} (width x height) are more than {MAX_PIXELS} pixels; "
            "scale it down or cut it into pieces"
        )
    return mode


def _decode(path: Path, data: bytes, mode: str, reading: ImageReading, *, ignore_orientation: bool) -> np.ndarray:
    orientation = cv2.IMREAD_IGNORE_ORIENTATION if ignore_orientation else 0
    pixels = np.frombuffer(data, np.uint8)
    try:
        image = None
        if mode not in _DEEP_GREY:  # OpenCV makes no colours of these
            image = cv2.imdecode(pixels, _COLOUR_FLAG | cv2.IMREAD_ANYDEPTH | orientation)
        if image is None:
            deep = cv2.imdecode(pixels, cv2.IMREAD_ANYDEPTH | orientation)
            image = None if deep is None or deep.dtype == np.uint8 else deep[..., None].repeat(3, axis=2)
        elif image.dtype != np.uint8:  # some formats ignore the flag of RGB then
            image = np.asarray(cv2.imdecode(pixels, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | orientation))[..., ::-1]
        elif _COLOUR_FLAG == cv2.IMREAD_COLOR:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    except cv2.error as error:
        raise UserError(f"{path}: the image cannot be decoded: {error.err or error}") from None
    if image is None:
        raise UserError(f"{path}: not a readable image (damaged, or of a format that OpenCV does not read)")
    return image if image.dtype == np.uint8 else to_8_bits(image, stretch=reading.stretch)


def to_8_bits(image: np.ndarray, *, stretch: str = "auto") -> np.ndarray:
    """Pixels of another type than uint8 as uint8, of the same shape; see read_image and ImageReading."""
    if image.dtype == np.int8:
        return (image.astype(np.int16) + 128).astype(np.uint8)
    if np.issubdtype(image.dtype, np.floating):
        values = np.nan_to_num(image.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        high = float(values.max(initial=0.0))
        low, high = (0.0, 1.0) if high <= 1 else (0.0, 255.0) if high <= 255 else (float(values.min()), high)
    else:
        values = image.astype(np.float32)
        low, high = 0.0, float(np.iinfo(image.dtype).max)
        own_low, own_high = float(values.min()), float(values.max())
        is_narrow = own_high < _LEAST_FULL_RANGE or image.dtype.itemsize > 2  # nobody uses all of 32 bits
        if own_high > own_low and (stretch == "always" or (stretch == "auto" and is_narrow)):
            low, high = own_low, own_high
    scale = 255.0 / (high - low) if high > low else 0.0
    return np.ascontiguousarray(np.clip((values - low) * scale + 0.5, 0, 255).astype(np.uint8))
