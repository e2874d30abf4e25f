"""Name tags stay inside the image and off each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fpt.visualization.colours import BLACK, PALETTE, WHITE, colour_of, text_colour_on
from fpt.visualization.labels import Coverage, Rectangle, TextStyle, draw_tag, find_place

SIZE = (100, 100)


def place(box: Rectangle, *, taken: Sequence[Rectangle] = (), objects: Sequence[Rectangle] = ()) -> Rectangle | None:
    """Of a tag of 30 x 10 pixels."""
    coverage = Coverage(SIZE)
    for one in objects:
        coverage.add(one)
    return find_place((30, 10), box, list(taken), coverage, SIZE)


def test_above_the_box_if_there_is_room() -> None:
    assert place(Rectangle(50, 50, 90, 90)) == Rectangle(50, 40, 80, 50)


def test_inside_of_the_image_wherever_the_box_is() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        left, top = rng.integers(0, 99, 2).tolist()
        found = place(Rectangle(left, top, int(rng.integers(left + 1, 101)), int(rng.integers(top + 1, 101))))
        assert found is not None
        assert (found.right - found.left, found.bottom - found.top) == (30, 10)
        assert min(found.left, found.top) >= 0
        assert max(found.right, found.bottom) <= 100


def test_beside_a_tag_that_is_there() -> None:
    taken = [Rectangle(50, 40, 80, 50)]
    found = place(Rectangle(50, 50, 90, 90), taken=taken)
    assert found is not None
    assert found.shared_area(taken[0]) == 0


def test_left_out_if_all_is_taken() -> None:
    assert place(Rectangle(50, 50, 90, 90), taken=[Rectangle(0, 0, 100, 100)]) is None


def test_where_it_hides_no_object() -> None:
    box, neighbour = Rectangle(50, 50, 90, 85), Rectangle(40, 30, 95, 49)
    found = place(box, objects=[box, neighbour])
    assert found is not None
    assert found.shared_area(neighbour) == found.shared_area(box) == 0
    assert found == Rectangle(50, 85, 80, 95)


def test_rather_over_a_large_object_than_over_a_small_one() -> None:
    everything, small = Rectangle(0, 0, 100, 100), Rectangle(52, 42, 60, 48)
    found = place(Rectangle(50, 50, 90, 90), objects=[everything, small])
    assert found is not None
    assert found.shared_area(small) == 0


def test_long_text_is_cut_to_the_width() -> None:
    style = TextStyle(10)
    assert style.fit("cat 90%", 200) == "cat 90%"
    short = style.fit("a rather long class name 90%", 100)
    assert short.endswith("...")
    assert short.startswith("a rather")
    assert style.size_of(short)[0] <= 100


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
    assert len({colour_of(index) for index in range(80)}) == 80  # COCO's classes
    assert text_colour_on(WHITE) == BLACK
    assert text_colour_on((20, 20, 120)) == WHITE
