"""Masks in an image: a tint, and an outline that follows the size of what it surrounds."""

from __future__ import annotations

from collections import defaultdict

import cv2
import numpy as np

from fpt.visualization.colours import Colour
from fpt.visualization.labels import Rectangle

_PARTS_PER_LINE = 14  # an outline is at most this many times thinner than the part that it surrounds
_EDGE_SHADE = 0.45


def draw_mask(
    canvas: np.ndarray, mask: np.ndarray, colour: Colour, *, opacity: float, line_width: int
) -> tuple[Rectangle, np.ndarray] | None:
    """Tint a mask and line its edge; in place, only where the mask is.

    Lines are dark outside and bright inside, so that neighbours of one colour stay apart. Small parts of the mask get
    thinner lines, tiny ones none.

    Args:
        canvas: uint8 [H', W', 3], the image, maybe enlarged.
        mask: bool [H, W] of the original image.
        colour: of tint and line.
        opacity: of the tint, 0 to 1.
        line_width: in pixels of the canvas, for large parts.

    Returns:
        Where the mask lies on the canvas, and which pixels of that rectangle it fills (uint8, 0 or 1); None for an
        empty mask.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    scale_y, scale_x = canvas.shape[0] / mask.shape[0], canvas.shape[1] / mask.shape[1]
    margin = 2 + int(line_width / min(scale_x, scale_y))  # room for the smoothed edge and the line
    top, bottom = max(int(rows[0]) - margin, 0), min(int(rows[-1]) + 1 + margin, mask.shape[0])
    left, right = max(int(columns[0]) - margin, 0), min(int(columns[-1]) + 1 + margin, mask.shape[1])
    y1, y2, x1, x2 = round(top * scale_y), round(bottom * scale_y), round(left * scale_x), round(right * scale_x)
    inside = _enlarge(mask[top:bottom, left:right], (y2 - y1, x2 - x1))
    patch = np.ascontiguousarray(canvas[y1:y2, x1:x2])
    tinted = cv2.addWeighted(patch, 1 - opacity, np.full_like(patch, colour), opacity, 0)
    cv2.copyTo(tinted, inside, patch)
    _draw_outline(patch, inside, colour, line_width)
    canvas[y1:y2, x1:x2] = patch
    return Rectangle(x1, y1, x2, y2), inside


def _draw_outline(patch: np.ndarray, inside: np.ndarray, colour: Colour, line_width: int) -> None:
    contours, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    by_width: dict[int, list[np.ndarray]] = defaultdict(list)
    for contour in contours:
        width = min(int(cv2.contourArea(contour) ** 0.5 / _PARTS_PER_LINE), line_width)
        if width:
            by_width[width].append(contour)
    shade = tuple(round(channel * _EDGE_SHADE) for channel in colour)
    for width, group in by_width.items():
        if width > 1:
            cv2.drawContours(patch, group, -1, shade, width + max(width // 2, 1), cv2.LINE_AA)
        cv2.drawContours(patch, group, -1, colour, width, cv2.LINE_AA)


def _enlarge(mask: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """bool [h, w] in a larger size, its steps rounded off: uint8, 0 or 1."""
    if mask.shape == size_hw:
        return np.ascontiguousarray(mask, dtype=np.uint8)
    smooth = cv2.resize(mask.astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    scale = size_hw[0] / mask.shape[0]
    if scale > 1.5:
        smooth = cv2.GaussianBlur(smooth, (0, 0), 0.6 * scale, borderType=cv2.BORDER_REPLICATE)
    return (smooth >= 0.5).astype(np.uint8)
