"""Outlines of the figures in the built-in data set ``shapes``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Contour = np.ndarray
"""float64 [P, 2], x right and y down, closed, inside the circle of radius 0.6 around the origin."""


def _arc(*, centre_x: float, radius: float, start: float, stop: float, num_points: int) -> Contour:
    """Points of an arc around (centre_x, 0); angles in degrees."""
    angles = np.deg2rad(np.linspace(start, stop, num_points))
    return np.stack([centre_x + radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def _circle(centre_x: float, radius: float) -> Contour:
    return _arc(centre_x=centre_x, radius=radius, start=0, stop=355, num_points=72)


def _square() -> list[Contour]:
    return [0.42 * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])]


def _triangle() -> list[Contour]:
    return [_arc(centre_x=0, radius=0.58, start=-90, stop=150, num_points=3)]


def _star() -> list[Contour]:
    contour = _arc(centre_x=0, radius=1, start=-90, stop=234, num_points=10)
    return [contour * np.where(np.arange(10) % 2 == 0, 0.58, 0.31)[:, None]]


def _crescent() -> list[Contour]:
    """A disc of radius 0.5 less a disc of radius 0.4 around (0.27, 0); they meet at (0.3017, +-0.3987)."""
    outside = _arc(centre_x=0, radius=0.5, start=52.89, stop=307.11, num_points=48)
    inside = _arc(centre_x=0.27, radius=0.4, start=274.54, stop=85.46, num_points=40)
    return [np.concatenate([outside, inside[1:-1]]) + [0.1, 0.0]]


def _key() -> list[Contour]:
    """A round head with a hole, a shaft and two teeth."""
    half_width = 0.11
    touch = np.rad2deg(np.arcsin(half_width / 0.28))
    head = _arc(centre_x=-0.27, radius=0.28, start=touch, stop=360 - touch, num_points=40)
    teeth = [(0.55, -half_width), (0.55, 0.32), (0.39, 0.32), (0.39, half_width), (0.3, half_width)]
    teeth += [(0.3, 0.28), (0.14, 0.28), (0.14, half_width)]
    return [np.concatenate([head, np.array(teeth)]), _circle(-0.27, 0.1)]


def _ring() -> list[Contour]:
    return [_circle(0, 0.5), _circle(0, 0.2)]


OUTLINES: dict[str, Callable[[], list[Contour]]] = {
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "crescent": _crescent,
    "key": _key,
    "ring": _ring,
}
"""Figure -> its contours, filled by the even-odd rule: the first is the outside, others are holes."""


def place_outline(figure: str, *, centre_xy: tuple[float, float], side: float, angle: float) -> list[Contour]:
    """The contours of a figure in pixels, turned by `angle` (radians) and scaled to about `side` pixels."""
    cos, sin = np.cos(angle), np.sin(angle)
    turn = side * np.array([[cos, sin], [-sin, cos]])
    return [contour @ turn + np.asarray(centre_xy) for contour in OUTLINES[figure]()]
