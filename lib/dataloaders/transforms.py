"""Resize and mirror an image together with its boxes, masks and key points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fpt.structures.boxes import scale_inclusive


def resized_size_hw(size_hw: tuple[int, int], *, short_side: int, max_size: int) -> tuple[int, int]:
    """Height and width with the shorter side at ``short_side``, or less if the longer would exceed ``max_size``."""
    scale = short_side / min(size_hw)
    if max(size_hw) * scale > max_size:
        scale = max_size / max(size_hw)
    return max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale))


def resize_image(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resize uint8 [H, W, C].

    Bilinear; to less than half the size by area averages, since there bilinear leaves pixels out and aliases.
    """
    if image.shape[:2] == tuple(size_hw):
        return image
    is_small = 2 * size_hw[0] < image.shape[0]
    method = cv2.INTER_AREA if is_small else cv2.INTER_LINEAR
    return cv2.resize(image, (size_hw[1], size_hw[0]), interpolation=method)


@dataclass(frozen=True)
class ResizeAndFlip:
    """What is drawn for an image: its size and whether it is mirrored.

    Attributes:
        short_sides: lengths of the shorter side in pixels, of which one is drawn.
        max_size: longest side in pixels.
        flip_probability: share of mirrored images.
        inclusive_corners: boxes are scaled with the corners that belong to them; see ``scale_inclusive``.
    """

    short_sides: Sequence[int]
    max_size: int
    flip_probability: float = 0.0
    inclusive_corners: bool = False

    def draw(self, size_hw: tuple[int, int], seed: int | None) -> tuple[tuple[int, int], bool]:
        """Network-input height and width, and whether to mirror; ``seed`` None draws the first size, unmirrored."""
        if seed is None:
            return resized_size_hw(size_hw, short_side=self.short_sides[0], max_size=self.max_size), False
        choice, chance = np.random.default_rng(seed).random(2).tolist()
        short_side = self.short_sides[int(choice * len(self.short_sides))]
        is_flipped = chance < self.flip_probability
        return resized_size_hw(size_hw, short_side=short_side, max_size=self.max_size), is_flipped

    def boxes(
        self, boxes_xyxy: np.ndarray, size_hw: tuple[int, int], input_hw: tuple[int, int], is_flipped: bool
    ) -> np.ndarray:
        """Boxes float32 [N, 4] of the original, in the pixels of the network's input."""
        height, width = size_hw
        ratio = np.array([input_hw[1] / width, input_hw[0] / height] * 2, dtype=np.float32)
        if self.inclusive_corners:
            return scale_inclusive(flip_boxes(boxes_xyxy, width) if is_flipped else boxes_xyxy, ratio)
        boxes = boxes_xyxy * ratio
        return flip_boxes(boxes, input_hw[1]) if is_flipped else boxes

    def points(
        self, points: np.ndarray, size_hw: tuple[int, int], input_hw: tuple[int, int], is_flipped: bool
    ) -> np.ndarray:
        """Points float32 [..., 3] (x, y and what stays) of the original, in the pixels of the network's input."""
        height, width = size_hw
        moved = points.copy()
        if is_flipped:
            moved[..., 0] = width - float(self.inclusive_corners) - points[..., 0]
        moved[..., :2] *= np.array([input_hw[1] / width, input_hw[0] / height], dtype=np.float32)
        return moved


def flip_boxes(boxes_xyxy: np.ndarray, width: float) -> np.ndarray:
    """Boxes [N, 4] of the mirrored image of a width in the same pixels."""
    flipped = boxes_xyxy.copy()
    flipped[:, 0] = width - boxes_xyxy[:, 2]
    flipped[:, 2] = width - boxes_xyxy[:, 0]
    return flipped
