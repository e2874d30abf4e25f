"""Classes of pixels as colours over an image, with a legend."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from fpt.visualization.colours import WHITE, Colour, colour_of
from fpt.visualization.labels import Rectangle, TextStyle, draw_tag, draw_title

_MIN_LONGER_SIDE = 480
BACKGROUND = "background"
_LEAST_SHARE = 0.0005
"""Classes of fewer pixels have no place in the legend."""


def class_colours(num_classes: int, palette: Sequence[int] = ()) -> np.ndarray:
    """uint8 [C, 3] RGB: those of a palette (three numbers a class), and for the others colours that differ."""
    given = [tuple(palette[index : index + 3]) for index in range(0, len(palette) - 2, 3)]
    colours = [given[index] if index < len(given) else colour_of(index) for index in range(num_classes)]
    return np.array(colours, np.uint8).reshape(-1, 3)


def draw_classes(
    image: np.ndarray,
    classes: np.ndarray,
    class_names: Sequence[str],
    *,
    palette: Sequence[int] = (),
    opacity: float = 0.55,
) -> np.ndarray:
    """The image tinted by classes, edges lined, and below it a legend with each class's share, largest first.

    A class that is called background stays as it is, unless a palette gives it a colour.

    Args:
        image: uint8 [H, W, 3] RGB; a small one is enlarged.
        classes: int [H, W], negative for pixels that stay as they are.
        class_names: class i is class_names[i].
        palette: RGB, three numbers a class; () = colours of the program.
        opacity: of the tint, 0 to 1.

    Raises:
        ValueError: the map is of another size than the image.
    """
    if image.shape[:2] != classes.shape:
        raise ValueError(f"the image is {image.shape[:2]}, its classes {classes.shape}")
    classes = classes.astype(np.int16)
    scale = max(1, round(_MIN_LONGER_SIDE / max(image.shape[:2])))
    size_wh = (image.shape[1] * scale, image.shape[0] * scale)
    canvas = cv2.resize(np.ascontiguousarray(image), size_wh, interpolation=cv2.INTER_CUBIC) if scale > 1 else image
    large = cv2.resize(classes, size_wh, interpolation=cv2.INTER_NEAREST) if scale > 1 else classes
    colours = class_colours(len(class_names), palette)
    is_known = large >= 0
    tint = colours[np.where(is_known, large, 0)]
    if not palette and BACKGROUND in class_names:
        is_known &= large != list(class_names).index(BACKGROUND)
    mixed = cv2.addWeighted(canvas, 1 - opacity, tint, opacity, 0)
    edges = np.zeros_like(is_known)
    edges[:, 1:] |= large[:, 1:] != large[:, :-1]
    edges[1:] |= large[1:] != large[:-1]
    mixed[edges] = (mixed[edges] * 0.4).astype(np.uint8)
    drawing = np.where(is_known[..., None], mixed, canvas)
    if not palette and BACKGROUND in class_names:
        colours[list(class_names).index(BACKGROUND)] = WHITE  # of its tag
    return np.vstack([drawing, _legend(classes, class_names, colours, drawing.shape[:2])])


def draw_classes_side_by_side(
    image: np.ndarray,
    found: np.ndarray,
    truth: np.ndarray,
    class_names: Sequence[str],
    *,
    palette: Sequence[int] = (),
) -> np.ndarray:
    """What was found on the left, the truth on the right, each under its title: uint8 RGB."""
    sides = [draw_classes(image, classes, class_names, palette=palette) for classes in (found, truth)]
    height = max(side.shape[0] for side in sides)
    sides = [np.pad(side, ((0, height - len(side)), (0, 0), (0, 0)), constant_values=255) for side in sides]
    gap = np.full((height, max(sides[0].shape[1] // 80, 4), 3), 255, np.uint8)
    canvas = np.hstack([sides[0], gap, sides[1]])
    style = TextStyle(max(round(height / 40), 10))
    strip = np.full((style.size_of("A")[1] + 4, canvas.shape[1], 3), 255, np.uint8)
    for title, x in (("found", 0), ("ground truth", sides[0].shape[1] + gap.shape[1])):
        draw_title(strip, title, x, sides[0].shape[1], style)
    return np.vstack([strip, canvas])


def _legend(
    classes: np.ndarray, class_names: Sequence[str], colours: np.ndarray, size_hw: tuple[int, int]
) -> np.ndarray:
    """Tags of the classes that are there, with their shares, as a strip: uint8 [h, W, 3]."""
    style = TextStyle(int(max(min(np.sqrt(size_hw[0] * size_hw[1]) / 40, size_hw[1] / 12), 8)))
    counts = np.bincount(classes[classes >= 0].ravel(), minlength=len(class_names))
    shares = counts / max(classes.size, 1)
    shown = [index for index in np.argsort(-shares, kind="stable").tolist() if shares[index] > _LEAST_SHARE]
    gap, height, width = style.padding, style.size_of("A")[1], size_hw[1]
    places: list[tuple[str, Rectangle, Colour]] = []
    x = y = gap
    for index in shown:
        text = style.fit(f"{class_names[index]} {100 * shares[index]:.1f}%", width - 2 * gap)
        tag_width = style.size_of(text)[0]
        if x + tag_width > width and x > gap:
            x, y = gap, y + height + gap
        red, green, blue = colours[index].tolist()
        places.append((text, Rectangle(x, y, min(x + tag_width, width), y + height), (red, green, blue)))
        x += tag_width + gap
    strip = np.full((y + height + gap, width, 3), 255, np.uint8)
    for text, place, colour in places:
        draw_tag(strip, text, place, colour, style)
    return strip
