"""Colours and textures of the built-in data set ``shapes``."""

from __future__ import annotations

import cv2
import numpy as np

Rng = np.random.Generator


def draw_colour(rng: Rng, *, max_saturation: float = 0.95) -> np.ndarray:
    """A random colour, float32 [3] RGB 0..255; drawn alike for every class, so that it says nothing about it."""
    hue, saturation, value = rng.uniform(0, 360), rng.uniform(0.2, max_saturation), rng.uniform(0.3, 0.97)
    hsv = np.array([[[hue, saturation, value]]], dtype=np.float32)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0] * 255


def draw_contrasting_colour(rng: Rng, others: list[np.ndarray], *, distance: float = 110.0) -> np.ndarray:
    """A random colour at least `distance` (0..441) from all of `others`; the farthest of 24 tries if none is."""
    best, best_distance = draw_colour(rng), -1.0
    for _ in range(24):
        colour = draw_colour(rng)
        nearest = min((float(np.linalg.norm(colour - other)) for other in others), default=distance)
        if nearest >= distance:
            return colour
        if nearest > best_distance:
            best, best_distance = colour, nearest
    return best


def _wave(rng: Rng, size_hw: tuple[int, int]) -> np.ndarray:
    """Position along a random direction in pixels, float32 [H, W]."""
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]].astype(np.float32)
    return columns * np.float32(np.cos(angle)) + rows * np.float32(np.sin(angle))


def _gradient(rng: Rng, size_hw: tuple[int, int]) -> np.ndarray:
    wave = _wave(rng, size_hw)
    return (wave - wave.min()) / max(float(np.ptp(wave)), 1.0) * 2 - 1


def _stripes(rng: Rng, size_hw: tuple[int, int]) -> np.ndarray:
    period = rng.uniform(0.05, 0.25) * min(size_hw)
    return np.clip(3 * np.sin(2 * np.pi * _wave(rng, size_hw) / period), -1, 1)


def _checks(rng: Rng, size_hw: tuple[int, int]) -> np.ndarray:
    period = rng.uniform(0.1, 0.3) * min(size_hw)
    angle = rng.uniform(0, np.pi)
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]].astype(np.float32) * (2 * np.pi / period)
    across = np.sin(columns * np.cos(angle) + rows * np.sin(angle))
    along = np.sin(rows * np.cos(angle) - columns * np.sin(angle))
    return np.clip(4 * across * along, -1, 1)


def _clouds(rng: Rng, size_hw: tuple[int, int]) -> np.ndarray:
    """Noise of three scales, each half as strong as the coarser one."""
    total = np.zeros(size_hw, dtype=np.float32)
    for scale, strength in ((4, 1.0), (8, 0.5), (16, 0.25)):
        noise = rng.standard_normal((scale, scale), dtype=np.float32)
        total += strength * cv2.resize(noise, size_hw[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(total, -1.5, 1.5)


_PATTERNS = (_gradient, _stripes, _checks, _clouds)


def draw_background(rng: Rng, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A textured background: float32 [H, W, 3] RGB 0..255, and its mean colour, float32 [3].

    Two patterns of low contrast over one colour, and fine noise.
    """
    image = np.broadcast_to(draw_colour(rng, max_saturation=0.55), (*size_hw, 3)).astype(np.float32)
    for index in rng.choice(len(_PATTERNS), size=2, replace=False):
        tint = rng.uniform(-20, 20, size=3).astype(np.float32)
        image += _PATTERNS[index](rng, size_hw).astype(np.float32)[..., None] * tint
    image += rng.standard_normal((*size_hw, 1), dtype=np.float32) * np.float32(rng.uniform(1, 5))
    np.clip(image, 0, 255, out=image)
    return image, image.mean(axis=(0, 1))


def draw_fill(rng: Rng, size_hw: tuple[int, int], colour: np.ndarray) -> np.ndarray:
    """The inside of a figure: its colour, softly shaded, sometimes striped; float32 [H, W, 3]."""
    fill = colour + _gradient(rng, size_hw)[..., None] * np.float32(rng.uniform(5, 25))
    if rng.random() < 0.2:
        fill += _stripes(rng, size_hw)[..., None] * np.float32(rng.uniform(8, 20))
    return np.clip(fill, 0, 255).astype(np.float32)
