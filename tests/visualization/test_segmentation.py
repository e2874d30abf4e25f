"""Classes of pixels over an image."""

from __future__ import annotations

import numpy as np
import pytest

from fpt.visualization.segmentation import class_colours, draw_classes, draw_classes_side_by_side

IMAGE = np.full((40, 60, 3), 100, np.uint8)
CLASSES = np.zeros((40, 60), np.int16)
CLASSES[:, 30:] = 1
CLASSES[30:, :] = -1


def test_pixels_have_the_colours_of_their_classes() -> None:
    drawing = draw_classes(IMAGE, CLASSES, ("a", "b"), palette=(255, 0, 0, 0, 0, 255), opacity=1.0)
    scale = 480 // 60
    assert drawing.shape[1] == 480
    assert drawing.shape[0] > 320  # a legend below
    assert drawing[10 * scale, 10 * scale].tolist() == [255, 0, 0]
    assert drawing[10 * scale, 50 * scale].tolist() == [0, 0, 255]
    assert drawing[35 * scale, 10 * scale].tolist() == [100, 100, 100]


def test_a_background_stays_as_it_is() -> None:
    drawing = draw_classes(IMAGE, CLASSES, ("background", "b"))
    assert drawing[80, 80].tolist() == [100, 100, 100]
    assert drawing[80, 400].tolist() != [100, 100, 100]
    tinted = draw_classes(IMAGE, CLASSES, ("background", "b"), palette=(255, 0, 0, 0, 0, 255))
    assert tinted[80, 80].tolist() != [100, 100, 100]


@pytest.mark.parametrize("size_hw", [(1000, 16), (300, 1), (1, 300)])
def test_strips_side_by_side(size_hw: tuple[int, int]) -> None:
    classes = np.zeros(size_hw, np.int64)
    drawing = draw_classes_side_by_side(np.zeros((*size_hw, 3), np.uint8), classes, classes, ("a", "b"))
    assert drawing.shape[1] >= 2 * size_hw[1]


def test_two_side_by_side_and_tiny_images() -> None:
    both = draw_classes_side_by_side(IMAGE, CLASSES, np.zeros_like(CLASSES), ("a", "b"))
    assert both.shape[1] > 960
    draw_classes(IMAGE[:1, :1], CLASSES[:1, :1], ("a", "b"))
    with pytest.raises(ValueError, match="another|classes"):
        draw_classes(IMAGE, CLASSES[:5], ("a", "b"))


def test_colours_differ_and_a_short_palette_is_filled_up() -> None:
    assert len(np.unique(class_colours(150), axis=0)) == 150
    assert class_colours(3, (1, 2, 3))[0].tolist() == [1, 2, 3]
