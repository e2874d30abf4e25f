"""Name tags in an image: wholly inside of it, where they cover least."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fpt.visualization.colours import WHITE, Colour, text_colour_on

_MAX_HIDDEN_SHARE = 0.35
_TAG_WEIGHT = 40.0  # covering another tag is far worse than covering an object
_RANK_WEIGHT = 0.05  # of places that cover about as much, the usual one
_ELLIPSIS = "..."


class Rectangle(NamedTuple):
    """A rectangle of whole pixels.

    Attributes:
        left: first column.
        top: first row.
        right: the column after the last.
        bottom: the row after the last.
    """

    left: int
    top: int
    right: int
    bottom: int

    def shared_area(self, other: Rectangle) -> int:
        """Pixels in both."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0) * max(height, 0)

    def area(self) -> int:
        """Pixels."""
        return (self.right - self.left) * (self.bottom - self.top)


@dataclass(frozen=True)
class TextStyle:
    """How tags are written.

    Attributes:
        letter_height: of capital letters, in pixels.
    """

    letter_height: int

    @property
    def font(self) -> ImageFont.FreeTypeFont:
        """DejaVu Sans, which comes with matplotlib and has the letters of most European languages."""
        return _font(max(round(self.letter_height / 0.73), 4))

    @property
    def padding(self) -> int:
        """Margin around the text, in pixels."""
        return max(round(self.letter_height * 0.35), 1)

    def size_of(self, text: str) -> tuple[int, int]:
        """Width and height of a tag in pixels."""
        width = int(np.ceil(self.font.getlength(text)))
        return width + 2 * self.padding, round(1.25 * self.letter_height) + 2 * self.padding

    def fit(self, text: str, width: int) -> str:
        """The text, or as much of it as a tag of `width` pixels holds, with three dots at its end."""
        if self.size_of(text)[0] <= width:
            return text
        for count in range(len(text) - 1, 0, -1):
            short = text[:count].rstrip() + _ELLIPSIS
            if self.size_of(short)[0] <= width:
                return short
        return text[:1]


class Coverage:
    """What lies where in an image, on a coarse grid: the more of an object a rectangle hides, the more it costs.

    Args:
        size_hw: height and width of the image in pixels.
    """

    def __init__(self, size_hw: tuple[int, int]) -> None:
        self.cell = max(max(size_hw) / 200, 1.0)
        self.grid = np.zeros((int(np.ceil(size_hw[0] / self.cell)), int(np.ceil(size_hw[1] / self.cell))), np.float32)

    def add(self, rectangle: Rectangle, inside: np.ndarray | None = None) -> None:
        """An object: its rectangle, and which part of it (uint8 0 or 1, [h, w] of any size) it fills; None = all of it.

        Each object weighs 1 for each tenth of the square root of its cells: hiding a small one whole costs as much as
        hiding a corner of a large one.
        """
        rows, columns = self._cells(rectangle)
        filled = np.ones((rows.stop - rows.start, columns.stop - columns.start), np.float32)
        if inside is not None:
            filled = cv2.resize(inside * np.uint8(255), filled.shape[::-1], interpolation=cv2.INTER_AREA) / 255
        self.grid[rows, columns] += filled / max(float(filled.sum()), 1.0) ** 0.5

    def cost(self, rectangle: Rectangle) -> float:
        """How much of the objects a rectangle hides."""
        rows, columns = self._cells(rectangle)
        return float(self.grid[rows, columns].sum())

    def _cells(self, rectangle: Rectangle) -> tuple[slice, slice]:
        top, left = int(rectangle.top / self.cell), int(rectangle.left / self.cell)
        bottom, right = int(np.ceil(rectangle.bottom / self.cell)), int(np.ceil(rectangle.right / self.cell))
        return slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))


def draw_tag(canvas: np.ndarray, text: str, place: Rectangle, colour: Colour, style: TextStyle) -> None:
    """Write text on a filled rectangle, as much of it as lies on the canvas; in place."""
    place = Rectangle(place.left, place.top, min(place.right, canvas.shape[1]), min(place.bottom, canvas.shape[0]))
    if place.right <= place.left or place.bottom <= place.top:
        return
    tag = Image.new("RGB", (place.right - place.left, place.bottom - place.top), colour)
    baseline = tag.height - style.padding - round(0.2 * style.letter_height)
    ImageDraw.Draw(tag).text((style.padding, baseline), text, text_colour_on(colour), style.font, anchor="ls")
    canvas[place.top : place.bottom, place.left : place.right] = np.asarray(tag)


def draw_title(strip: np.ndarray, title: str, left: int, width: int, style: TextStyle) -> None:
    """Write a title, or as much of it as `width` pixels from `left` hold, on the strip above a drawing; in place."""
    text = style.fit(title, width)
    text_width, height = style.size_of(text)
    draw_tag(strip, text, Rectangle(left, 2, left + text_width, 2 + height), WHITE, style)


def find_place(
    tag_wh: tuple[int, int], box: Rectangle, taken: list[Rectangle], coverage: Coverage, size_hw: tuple[int, int]
) -> Rectangle | None:
    """Where a tag hides least of other tags and of objects: above, in, below or beside its box; inside of the image.

    Args:
        tag_wh: width and height of the tag, no larger than the image.
        box: its object.
        taken: the tags that are there.
        coverage: the objects.
        size_hw: height and width of the image.

    Returns:
        None if it would hide more than a third of its own area's worth of other tags wherever it went.
    """
    width, height = tag_wh
    best, best_cost = None, float("inf")
    cell_area = coverage.cell**2
    for rank, (x, y) in enumerate(_corners(width, height, box)):
        left, top = max(min(x, size_hw[1] - width), 0), max(min(y, size_hw[0] - height), 0)
        place = Rectangle(left, top, left + width, top + height)
        hidden = sum(place.shared_area(other) for other in taken)
        if hidden > _MAX_HIDDEN_SHARE * width * height:
            continue
        cost = _TAG_WEIGHT * hidden / cell_area + coverage.cost(place) + _RANK_WEIGHT * rank
        if cost < best_cost:
            best, best_cost = place, cost
    return best


def _corners(width: int, height: int, box: Rectangle) -> list[tuple[int, int]]:
    """Top left corners that a tag may have, the usual ones first."""
    lefts = (box.left, box.right - width, (box.left + box.right - width) // 2)
    tops = (box.top - height, box.bottom, box.top, box.bottom - height, (box.top + box.bottom - height) // 2)
    beside = [(x, y) for x in (box.right, box.left - width) for y in (box.top, box.bottom - height)]
    return [(left, top) for top in tops for left in lefts] + beside


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    import matplotlib as mpl

    return ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
