"""Name tags in an image: inside of it, and beside each other where there is room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from fpt.visualization.colours import Colour, text_colour_on

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_MAX_HIDDEN_SHARE = 0.35


class Rectangle(NamedTuple):
    """Whole pixels; right and bottom are just outside."""

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
    """How tags are written: height of capital letters in pixels."""

    letter_height: int

    @property
    def scale(self) -> float:
        """OpenCV's font scale."""
        return cv2.getFontScaleFromHeight(_FONT, self.letter_height, self.thickness)

    @property
    def thickness(self) -> int:
        """Strokes, in pixels."""
        return max(round(self.letter_height / 9), 1)

    @property
    def padding(self) -> int:
        """Margin around the text, in pixels."""
        return max(round(self.letter_height * 0.35), 2)

    def size_of(self, text: str) -> tuple[int, int]:
        """Width and height of a tag in pixels."""
        (width, _), _ = cv2.getTextSize(text, _FONT, self.scale, self.thickness)
        return width + 2 * self.padding, round(1.25 * self.letter_height) + 2 * self.padding


def draw_tag(image: np.ndarray, text: str, place: Rectangle, colour: Colour, style: TextStyle) -> None:
    """Write text on a filled rectangle; in place."""
    cv2.rectangle(image, (place.left, place.top), (place.right - 1, place.bottom - 1), colour, -1)
    baseline = place.bottom - style.padding - round(0.25 * style.letter_height)
    origin = (place.left + style.padding, baseline)
    cv2.putText(image, text, origin, _FONT, style.scale, text_colour_on(colour), style.thickness, cv2.LINE_AA)


def find_place(
    tag_wh: tuple[int, int], box: Rectangle, taken: list[Rectangle], size_hw: tuple[int, int]
) -> Rectangle | None:
    """Where a tag hides least of the other tags: above, in or below its box; inside of the image.

    Returns:
        None if it would hide more than a third of its own area's worth of other tags wherever it went.
    """
    width, height = tag_wh
    best, best_hidden = None, int(_MAX_HIDDEN_SHARE * width * height)
    lefts = (box.left, box.right - width)
    tops = (box.top - height, box.top, box.bottom, box.bottom - height, (box.top + box.bottom - height) // 2)
    for top in tops:
        for left in lefts:
            x = max(min(left, size_hw[1] - width), 0)
            y = max(min(top, size_hw[0] - height), 0)
            place = Rectangle(x, y, x + width, y + height)
            hidden = sum(place.shared_area(other) for other in taken)
            if hidden == 0:
                return place
            if hidden < best_hidden:
                best, best_hidden = place, hidden
    return best
