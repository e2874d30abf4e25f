"""Colours that can be told apart, on any image."""

from __future__ import annotations

import colorsys

Colour = tuple[int, int, int]
"""RGB, 0..255."""

WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)

PALETTE: tuple[Colour, ...] = (
    (230, 57, 70),
    (29, 133, 237),
    (255, 196, 0),
    (46, 184, 92),
    (171, 71, 224),
    (255, 127, 17),
    (0, 194, 209),
    (240, 98, 176),
    (139, 195, 38),
    (94, 92, 230),
    (178, 106, 60),
    (0, 150, 136),
    (255, 138, 128),
    (128, 203, 255),
    (205, 130, 255),
    (255, 224, 130),
)
"""Neighbours differ strongly in hue."""


def colour_of(index: int) -> Colour:
    """Colour of the index-th class or object: those of the palette, then others around the colour wheel.

    The golden ratio leads to a hue far from those before it; three brightnesses keep near hues apart.
    """
    if index < len(PALETTE):
        return PALETTE[index]
    saturation, value = ((0.85, 0.95), (0.6, 0.7), (0.45, 0.95))[index % 3]
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def text_colour_on(background: Colour) -> Colour:
    """Black or white, whichever is read better on the background."""
    red, green, blue = background
    return BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 150 else WHITE
