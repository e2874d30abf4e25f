"""Name tags stay inside the image and off each other."""

from __future__ import annotations

import numpy as np

from fpt.visualization.colours import BLACK, PALETTE, WHITE, colour_of, text_colour_on
from fpt.visualization.labels import Rectangle, TextStyle, draw_tag, find_place


def test_above_the_box_if_there_is_room() -> None:
    assert find_place((30, 10), Rectangle(50, 50, 90, 90), [], (100, 100)) == Rectangle(50, 40, 80, 50)


def test_inside_of_the_image_at_its_edges() -> None:
    for box in (Rectangle(0, 0, 5, 5), Rectangle(95, 95, 100, 100), Rectangle(90, 0, 100, 100)):
        place = find_place((30, 10), box, [], (100, 100))
        assert place is not None
        assert min(place.left, place.top) >= 0
        assert max(place.right, place.bottom) <= 100


def test_beside_a_tag_that_is_there() -> None:
    taken = [Rectangle(50, 40, 80, 50)]
    place = find_place((30, 10), Rectangle(50, 50, 90, 90), taken, (100, 100))
    assert place is not None
    assert place.shared_area(taken[0]) == 0


def test_left_out_if_all_is_taken() -> None:
    assert find_place((30, 10), Rectangle(50, 50, 90, 90), [Rectangle(0, 0, 100, 100)], (100, 100)) is None


def test_areas() -> None:
    assert Rectangle(0, 0, 4, 5).area() == 20
    assert Rectangle(0, 0, 4, 5).shared_area(Rectangle(3, 3, 9, 9)) == 2
    assert Rectangle(0, 0, 4, 5).shared_area(Rectangle(4, 0, 9, 9)) == 0


def test_text_fits_its_tag() -> None:
    for letter_height in (9, 14, 40):
        style = TextStyle(letter_height)
        width, height = style.size_of("gjpqy AB 100%")
        image = np.zeros((height + 40, width + 40, 3), np.uint8)
        draw_tag(image, "gjpqy AB 100%", Rectangle(20, 20, 20 + width, 20 + height), (255, 196, 0), style)
        assert (image[20 : 20 + height, 20 : 20 + width] != 0).any(axis=2).mean() > 0.6
        image[20 : 20 + height, 20 : 20 + width] = 0
        assert not image.any()


def test_colours() -> None:
    assert len(set(PALETTE)) == len(PALETTE)
    assert colour_of(0) == colour_of(len(PALETTE))
    assert text_colour_on(WHITE) == BLACK
    assert text_colour_on((20, 20, 120)) == WHITE
