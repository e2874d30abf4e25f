"""Measures of semantic segmentation, from counts that are added image by image and process by process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

BOUNDARY_SHARE = 0.02
"""Width of a boundary, as a share of an image's diagonal (Cheng et al. 2021, Boundary IoU)."""


class SemanticCounts:
    """Pixels by true and found class, over a whole data set.

    Args:
        num_classes: C.

    Attributes:
        confusion: int64 [C, C + 1], pixels by true class (row) and found class; the last column is for none of them.
        boundaries: int64 [C, 2], pixels in both boundary regions, and in one of them at least, by class.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.confusion = np.zeros((num_classes, num_classes + 1), np.int64)
        self.boundaries = np.zeros((num_classes, 2), np.int64)

    def add(self, truth: np.ndarray, found: np.ndarray) -> None:
        """Count the pixels of an image.

        Args:
            truth: int [H, W], 0..C-1; negative where nothing counts.
            found: int [H, W], 0..C-1; negative for none of the classes.

        Raises:
            ValueError: the shapes differ.
        """
        if truth.shape != found.shape:
            raise ValueError(f"the truth is {truth.shape}, what was found {found.shape}")
        is_counted = truth >= 0
        columns = np.where(found >= 0, found, self.num_classes)[is_counted]
        cells = truth[is_counted].astype(np.int64) * (self.num_classes + 1) + columns
        self.confusion += np.bincount(cells, minlength=self.confusion.size).reshape(self.confusion.shape)
        width = max(1, round(BOUNDARY_SHARE * float(np.hypot(*truth.shape))))
        for label in np.union1d(np.unique(truth[is_counted]), np.unique(columns)).tolist():
            if label < self.num_classes:
                true, own = (_boundary((item == label) & is_counted, width) for item in (truth, found))
                self.boundaries[label] += (int((true & own).sum()), int((true | own).sum()))

    def merge(self, other: SemanticCounts) -> None:
        """Add the counts of other images."""
        self.confusion += other.confusion
        self.boundaries += other.boundaries

    def metrics(self, class_names: Sequence[str]) -> dict[str, Any]:
        """mIoU, bIoU (of boundaries), mAcc, pAcc, fwIoU and, by class, per_class_IoU, per_class_bIoU, per_class_pixels.

        Means are over the classes that have a pixel in the truth or in what was found; -1 where nothing counts.
        """
        right = np.diag(self.confusion).astype(np.float64)
        true = self.confusion.sum(axis=1).astype(np.float64)
        union = true + self.confusion[:, :-1].sum(axis=0) - right
        iou = _divide(right, union)
        boundary_iou = _divide(*self.boundaries.astype(np.float64).T)
        total = true.sum()
        return {
            "mIoU": _mean(iou),
            "bIoU": _mean(boundary_iou),
            "mAcc": _mean(_divide(right, true)),
            "pAcc": float(right.sum() / total) if total else -1.0,
            "fwIoU": float((true * np.nan_to_num(iou)).sum() / total) if total else -1.0,
            "per_class_IoU": _by_name(class_names, iou),
            "per_class_bIoU": _by_name(class_names, boundary_iou),
            "per_class_pixels": dict(zip(class_names, true.astype(np.int64).tolist(), strict=True)),
        }


def _boundary(mask: np.ndarray, width: int) -> np.ndarray:
    """bool [H, W]: pixels of a mask that lie so near to its outside, or to the image's edge, as chess' king walks."""
    padded = np.pad(mask.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_C, 3)[1:-1, 1:-1]
    return mask & (distance <= width)


def _divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else -1.0


def _by_name(class_names: Sequence[str], values: np.ndarray) -> dict[str, float]:
    numbers = np.where(np.isnan(values), -1.0, values).tolist()
    return dict(zip(class_names, numbers, strict=True))
