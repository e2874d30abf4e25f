"""Images of every kind come out as the right RGB."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fpt.dataloaders.image_io import ImageReading, exif_orientation, is_truncated, read_image, read_size_hw
from fpt.utils.errors import UserError

TOP, BOTTOM = (200, 30, 60), (20, 180, 90)


def _image() -> np.ndarray:
    """uint8 [32, 48, 3]: the upper half of one colour, the lower of another."""
    image = np.empty((32, 48, 3), np.uint8)
    image[:16], image[16:] = TOP, BOTTOM
    return image


def _write(path: Path, image: Image.Image, exif_orientation: int | None = None) -> Path:
    exif = Image.Exif()
    if exif_orientation is not None:
        exif[0x112] = exif_orientation
    options = {"quality": 95} if path.suffix == ".jpg" else {}
    image.save(path, exif=exif, **options)
    return path


@pytest.mark.parametrize(
    ("name", "mode", "tolerance"),
    [
        ("rgb.jpg", "RGB", 3),
        ("rgb.png", "RGB", 0),
        ("rgb.bmp", "RGB", 0),
        ("rgb.webp", "RGB", 6),
        ("rgba.png", "RGBA", 0),
        ("cmyk.jpg", "CMYK", 4),
        ("palette.png", "P", 60),
    ],
)
def test_formats(tmp_path: Path, name: str, mode: str, tolerance: int):
    path = tmp_path / name
    _write(path, Image.fromarray(_image()).convert(mode))
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    expected = _image()
    if mode == "P":
        expected = np.asarray(Image.open(path).convert("RGB"))
        tolerance = 0
    difference = np.abs(image.astype(int) - expected)
    assert max(difference[:12].max(), difference[20:].max()) <= tolerance  # colours bleed where the halves meet


def test_transparent_pixels_keep_their_colour(tmp_path: Path):
    source = Image.fromarray(_image()).convert("RGBA")
    source.putalpha(0)
    source.save(tmp_path / "clear.png")
    assert np.array_equal(read_image(tmp_path / "clear.png"), _image())


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_becomes_three_equal_channels(tmp_path: Path, mode: str):
    source = Image.fromarray(_image()).convert(mode)
    source.save(tmp_path / "grey.png")
    image = read_image(tmp_path / "grey.png")
    assert np.array_equal(image, np.asarray(source.convert("L"))[..., None].repeat(3, -1))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled(tmp_path: Path, suffix: str, channels: int):
    values = _image()[..., ::-1].astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / f"deep{suffix}"), values if channels == 3 else values[..., 0])
    expected = _image() if channels == 3 else _image()[..., 2:].repeat(3, -1)
    assert np.array_equal(read_image(tmp_path / f"deep{suffix}"), expected)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (3, lambda image: image[::-1, ::-1]),
        (6, lambda image: np.rot90(image, -1)),
        (8, lambda image: np.rot90(image)),
        (2, lambda image: image[:, ::-1]),
    ],
)
def test_exif_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int, turn):
    path = _write(tmp_path / f"turned{suffix}", Image.fromarray(_image()), orientation)
    image, expected = read_image(path), turn(_image())
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < 5


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("exif", ["auto", "apply", "ignore"])
def test_size_from_the_header_is_that_of_the_image(tmp_path: Path, suffix: str, orientation: int, exif: str):
    path = _write(tmp_path / f"turned{suffix}", Image.fromarray(_image()), orientation)
    reading = ImageReading(exif=exif)
    assert read_size_hw(path, reading) == read_image(path, reading=reading).shape[:2]


def test_orientation_is_left_where_the_annotations_were_made_without_it(tmp_path: Path):
    path = _write(tmp_path / "turned.png", Image.fromarray(_image()), 6)
    assert np.array_equal(read_image(path, (32, 48)), _image())
    assert read_image(path, (48, 32)).shape == (48, 32, 3)


def test_other_size_than_annotated(tmp_path: Path):
    path = _write(tmp_path / "a.png", Image.fromarray(_image()))
    with pytest.raises(UserError, match=r"a\.png: the image is 48 x 32 .* say 32 x 48"):
        read_image(path, (48, 32))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_truncated_images(tmp_path: Path, suffix: str, share: float):
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    path = _write(tmp_path / f"cut{suffix}", Image.fromarray(noise))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match=rf"cut\{suffix}: (the file is empty|the image is truncated|not a readable)"):
        read_image(path)


def test_end_marker_of_a_thumbnail_is_not_the_image_s(tmp_path: Path):
    thumbnail = io.BytesIO()
    Image.fromarray(_image()).save(thumbnail, "JPEG")
    path = _write(tmp_path / "a.jpg", Image.fromarray(_image()))
    data = path.read_bytes()
    segment = b"\xff\xe1" + (len(thumbnail.getvalue()) + 2).to_bytes(2, "big") + thumbnail.getvalue()
    with_thumbnail = data[:2] + segment + data[2:]
    assert not is_truncated(with_thumbnail)
    assert is_truncated(with_thumbnail[:-2])
    assert is_truncated(with_thumbnail[: 100 + len(segment)])


def test_bytes_after_the_end_do_no_harm(tmp_path: Path):
    path = _write(tmp_path / "a.jpg", Image.fromarray(_image()))
    path.write_bytes(path.read_bytes() + bytes(100))
    assert read_image(path).shape == (32, 48, 3)


def test_no_image(tmp_path: Path):
    path = tmp_path / "text.jpg"
    path.write_text("<html>not found</html>")
    with pytest.raises(UserError, match=r"text\.jpg: not a readable image"):
        read_image(path)
    with pytest.raises(UserError, match=r"absent\.jpg: cannot be read: No such file"):
        read_image(tmp_path / "absent.jpg")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_image(tmp_path)


@pytest.mark.parametrize(("exif", "size_hw"), [("auto", (48, 32)), ("apply", (48, 32)), ("ignore", (32, 48))])
def test_orientation_follows_the_option(tmp_path: Path, exif: str, size_hw: tuple[int, int]):
    path = _write(tmp_path / "turned.png", Image.fromarray(_image()), 6)
    reading = ImageReading(exif=exif)
    assert read_image(path, reading=reading).shape[:2] == size_hw
    assert read_size_hw(path, reading) == size_hw
    assert exif_orientation(path) == 6
    upside_down = _write(tmp_path / "half.png", Image.fromarray(_image()), 3)
    image = read_image(upside_down, (32, 48), reading=reading)
    assert np.array_equal(image, _image() if exif == "ignore" else _image()[::-1, ::-1])
    if exif == "apply":
        with pytest.raises(UserError, match="height and width are exchanged"):
            read_image(path, (32, 48), reading=reading)


@pytest.mark.parametrize(("scale", "word"), [(2, "half"), (0.5, "twice"), (4, "0.25 times")])
def test_an_image_of_another_scale_than_its_annotations(tmp_path: Path, scale: float, word: str):
    path = _write(tmp_path / "a.png", Image.fromarray(_image()))
    expected = (int(32 * scale), int(48 * scale))
    with pytest.raises(UserError, match=f"the image is {word} the size that the annotation file says") as error:
        read_image(path, expected)
    assert "correct width and height" not in str(error.value)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_fewer_than_16_bits_are_stretched_by_their_own_range(tmp_path: Path, suffix: str, bits: int):
    values = np.linspace(0, 2**bits - 1, 48 * 32).reshape(32, 48).astype(np.uint16)
    path = tmp_path / f"deep{suffix}"
    cv2.imwrite(str(path), values)
    image = read_image(path)
    assert (image.min(), image.max()) == (0, 255)
    assert abs(int(image[16, 0, 0]) - 128) <= 1
    dark = read_image(path, reading=ImageReading(stretch="never"))
    assert dark.max() == round((2**bits - 1) / 257)
    cv2.imwrite(str(path), values + 2**15)
    assert read_image(path, reading=ImageReading(stretch="always")).min() == 0
    assert read_image(path).min() == 128


@pytest.mark.parametrize(
    ("high", "expected"), [(1.0, 255), (0.5, 128), (255.0, 255), (200.0, 200), (9000.0, 255)], ids=str
)
def test_floating_point_pixels(tmp_path: Path, high: float, expected: int):
    values = np.linspace(0, high, 48 * 32, dtype=np.float32).reshape(32, 48)
    values[0, 0] = np.nan
    path = tmp_path / "float.tiff"
    cv2.imwrite(str(path), values)
    assert read_image(path).max() == expected


def _photo(height: int, width: int) -> np.ndarray:
    """Smooth colours, of which a smaller image keeps all."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [np.sin(x / 40 + phase) + np.cos(y / 30 + phase) for phase in (0, 1, 2)]
    return (128 + 50 * np.stack(waves, axis=2)).astype(np.uint8)


REDUCING = ImageReading(reduces_jpeg=True)


@pytest.mark.parametrize(("least", "factor"), [(240, 1), (121, 1), (120, 2), (61, 2), (60, 4), (30, 8), (1, 8)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_is_decoded_at_the_smallest_part_that_is_enough(tmp_path: Path, least: int, factor: int, mode: str):
    path = _write(tmp_path / "photo.jpg", Image.fromarray(_photo(240, 320)).convert(mode))
    image = read_image(path, (240, 320), reading=REDUCING, least_size_hw=(least, least))
    assert image.shape == (240 // factor, 320 // factor, 3)
    whole = read_image(path, (240, 320))
    expected = cv2.resize(whole, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_AREA)
    assert np.abs(image.astype(int) - expected).mean() < 1.5
    if factor == 1:
        assert np.array_equal(image, whole)


def test_a_reduced_jpeg_is_turned_as_the_whole(tmp_path: Path):
    path = _write(tmp_path / "turned.jpg", Image.fromarray(_photo(240, 320)), 6)
    for size_hw in ((320, 240), (240, 320)):  # as annotated
        reduced = read_image(path, size_hw, reading=REDUCING, least_size_hw=(100, 100))
        whole = read_image(path, size_hw)
        assert reduced.shape[:2] == (size_hw[0] // 2, size_hw[1] // 2)
        assert np.abs(reduced.astype(int) - whole[::2, ::2]).mean() < 4
    always = ImageReading(exif="ignore", reduces_jpeg=True)
    assert read_image(path, (240, 320), reading=always, least_size_hw=(60, 80)).shape == (60, 80, 3)


@pytest.mark.parametrize(
    ("name", "mode", "height"), [("a.png", "RGB", 64), ("a.jpg", "CMYK", 64), ("a.jpg", "RGB", 63)]
)
def test_other_images_are_read_whole(tmp_path: Path, name: str, mode: str, height: int):
    path = _write(tmp_path / name, Image.fromarray(_photo(height, 96)).convert(mode))
    image = read_image(path, (height, 96), reading=REDUCING, least_size_hw=(8, 8))
    assert np.array_equal(image, read_image(path))


def test_wrong_jpegs_are_named_where_they_could_be_reduced(tmp_path: Path):
    path = _write(tmp_path / "photo.jpg", Image.fromarray(_photo(240, 320)))
    with pytest.raises(UserError, match=r"the image is half the size .* 320 x 240 .* say 640 x 480"):
        read_image(path, (480, 640), reading=REDUCING, least_size_hw=(30, 40))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match="truncated"):
        read_image(path, (240, 320), reading=REDUCING, least_size_hw=(30, 40))
