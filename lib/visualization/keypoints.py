"""Drawings of the key points of an object."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from fpt.visualization.colours import WHITE, Colour

Skeleton = Sequence[tuple[int, int]]

CERTAIN = 0.05
"""Score from which a found point is drawn filled: then its cell of the heat map has this share of the probability."""
SEEN = 0.75
"""The like for ground truth, where seen points have 1 and covered ones 0.5."""

_RIM = (20, 20, 20)


def draw_keypoints(
    canvas: np.ndarray, points: np.ndarray, skeleton: Skeleton, colour: Colour, *, scale: float, certain: float
) -> None:
    """Draw the points of one object and the lines of its skeleton, in place.

    Args:
        canvas: uint8 [H, W, 3] RGB.
        points: float [K, 3] x, y and score; those of score 0 are not there.
        skeleton: pairs of points that are connected where both are there.
        colour: of the object.
        scale: pixels of the canvas in one of the points.
        certain: points of a lower score are drawn as rings.
    """
    radius = max(round(min(canvas.shape[:2]) / 160), 2)
    centres = [(round(x * scale), round(y * scale)) for x, y in points[:, :2].tolist()]
    scores = points[:, 2].tolist()
    for first, second in skeleton:
        if min(scores[first], scores[second]) > 0:
            cv2.line(canvas, centres[first], centres[second], _RIM, radius + 2, cv2.LINE_AA)
            cv2.line(canvas, centres[first], centres[second], colour, max(radius - 1, 1), cv2.LINE_AA)
    for centre, score in zip(centres, scores, strict=True):
        if score > 0:
            is_filled = score >= certain
            cv2.circle(canvas, centre, radius + 1, _RIM, -1 if is_filled else 3, cv2.LINE_AA)
            cv2.circle(canvas, centre, radius, WHITE, -1 if is_filled else 1, cv2.LINE_AA)
