"""Scale, cut, mirror and colour an image together with its map of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fpt.dataloaders.transforms import resize_image
from fpt.structures.semantic_classes import IGNORED

_TRIES = 10
_LARGEST_SIGMA = 1.5


@dataclass(frozen=True, kw_only=True)
class ScaleCropFlip:
    """What is drawn for an image of training.

    Attributes:
        crop_hw: height and width in pixels of every result.
        scale_range: lowest and highest factor of the size.
        max_share: a part with a larger share of one class is drawn again, up to ten times.
        flip_probability: share of mirrored images.
        jitter: largest change of brightness, contrast and saturation, as a share.
        blur: share of blurred images.
        fill: RGB of what lies beyond the image, where it is smaller than the crop; no class counts there.
    """

    crop_hw: tuple[int, int]
    scale_range: tuple[float, float] = (1.0, 1.0)
    max_share: float = 1.0
    flip_probability: float = 0.0
    jitter: float = 0.0
    blur: float = 0.0
    fill: Sequence[int] = (124, 116, 104)

    def __call__(
        self, image: np.ndarray, classes: np.ndarray, *, seed: int, flip_order: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Image uint8 [H, W, 3] and classes int16 [H, W] -> the same of `crop_hw`, as the seed says.

        Args:
            image: RGB.
            classes: IGNORED where nothing counts.
            seed: decides everything.
            flip_order: int16 [C], the class that each becomes in a mirrored image.
        """
        rng = np.random.default_rng(seed)
        scale = rng.uniform(*self.scale_range)
        size = (max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale)))
        image, classes = resize_image(image, size), resize_classes(classes, size)
        image, classes = self._pad(image, classes)
        top, left = self._place(classes, rng)
        rows, columns = slice(top, top + self.crop_hw[0]), slice(left, left + self.crop_hw[1])
        image, classes = image[rows, columns], classes[rows, columns]
        if rng.random() < self.flip_probability:
            image, classes = image[:, ::-1], flip_classes(classes, flip_order)
        if self.jitter:
            image = _change_colours(image, rng.uniform(1 - self.jitter, 1 + self.jitter, 3))
        if rng.random() < self.blur:
            image = cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), rng.uniform(0.1, _LARGEST_SIGMA))
        return np.ascontiguousarray(image), np.ascontiguousarray(classes)

    def _pad(self, image: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        bottom, right = (max(0, want - have) for want, have in zip(self.crop_hw, classes.shape, strict=True))
        if not (bottom or right):
            return image, classes
        border = (0, bottom, 0, right, cv2.BORDER_CONSTANT)
        return (
            cv2.copyMakeBorder(image, *border, value=tuple(self.fill)),
            cv2.copyMakeBorder(classes, *border, value=(IGNORED,)),
        )

    def _place(self, classes: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
        """Top and left of a part in which no class has more than its share, if one is found."""
        h, w = self.crop_hw
        for _ in range(_TRIES):
            top = int(rng.integers(classes.shape[0] - h + 1))
            left = int(rng.integers(classes.shape[1] - w + 1))
            if self.max_share >= 1:
                break
            counts = np.bincount(classes[top : top + h, left : left + w].ravel() + 1)[1:]
            if counts.sum() and counts.max() <= self.max_share * counts.sum():
                break
        return top, left


def resize_classes(classes: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Classes int16 [H, W] of another size: those of the nearest pixels."""
    if classes.shape == tuple(size_hw):
        return classes
    return cv2.resize(classes, size_hw[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def flip_classes(classes: np.ndarray, flip_order: np.ndarray) -> np.ndarray:
    """The classes of the mirrored image; IGNORED stays."""
    table = np.append(flip_order, IGNORED).astype(np.int16)  # index -1 is the last
    return table[classes[:, ::-1]]


def _change_colours(image: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Brightness, contrast and saturation by these factors."""
    brightness, contrast, saturation = factors.tolist()
    values = image.astype(np.float32) * brightness
    mean = values.mean()
    values = (values - mean) * contrast + mean
    grey = values @ np.array([0.299, 0.587, 0.114], np.float32)
    values = (values - grey[..., None]) * saturation + grey[..., None]
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)
