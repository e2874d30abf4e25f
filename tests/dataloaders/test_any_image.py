"""Whatever stands in an image file: it has the annotated size, or one message says what is wrong."""

from __future__ import annotations

import random
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from fpt.dataloaders.image_io import read_image
from fpt.utils.errors import UserError

SUFFIXES = (".jpg", ".png", ".webp", ".tiff", ".bmp", ".gif")
SIZE_HW = (37, 53)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_damage_is_read_or_refused(tmp_path: Path, suffix: str) -> None:
    rng = random.Random(suffix)
    pixels = np.random.default_rng(0).integers(0, 255, (*SIZE_HW, 3), dtype=np.uint8)
    path = tmp_path / f"a{suffix}"
    assert cv2.imwrite(str(path), pixels)
    whole = path.read_bytes()
    num_refused = 0
    start = time.perf_counter()
    for _ in range(50):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 2, 10, 100))):
            place = rng.randrange(len(data)) if rng.random() < 0.7 else rng.randrange(min(64, len(data)))
            data[place] = rng.randrange(256)
        path.write_bytes(data[: rng.choice((None, None, rng.randrange(len(data))))])
        try:
            image = read_image(path, SIZE_HW)
        except UserError as error:
            num_refused += str(path) in str(error)
        else:
            assert image.shape == (*SIZE_HW, 3)
            assert image.dtype == np.uint8
    assert time.perf_counter() - start < 10
    assert num_refused > 0
