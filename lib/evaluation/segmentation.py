"""Measures of semantic segmentation over a whole data set, from one confusion matrix that grows image by image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

IGNORED = 255
"""Label of pixels that do not count."""
BOUNDARY_SHARE = 0.02
"""Width of a boundary over the diagonal of its image (Cheng et al. 2021)."""


@dataclass
class SegmentationCounts:
    """Counts of pixels; those of parts of a data set add up.

    Attributes:
        num_classes: C.
        confusion: int64 [C, C + 1], by annotated and found class; the last column counts pixels of no class.
        boundary: int64 [C, 2], intersection and union of the boundaries of each class.
    """

    num_classes: int
    confusion: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    boundary: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        if not self.confusion.size:
            self.confusion = np.zeros((self.num_classes, self.num_classes + 1), np.int64)
        if not self.boundary.size:
            self.boundary = np.zeros((self.num_classes, 2), np.int64)

    def add(self, found: np.ndarray, truth: np.ndarray, *, with_boundary: bool = True) -> None:
        """Count one image.

        Args:
            found: int [H, W], 0..C-1; anything else is of no class.
            truth: int [H, W], 0..C-1; anything else is ignored.
            with_boundary: count the boundaries, too.

        Raises:
            ValueError: the sizes differ.
        """
        if found.shape != truth.shape:
            raise ValueError(f"found is {found.shape}, the ground truth {truth.shape}")
        count = self.num_classes
        is_counted = (truth >= 0) & (truth < count)
        known = truth[is_counted].astype(np.int64)
        guess = found[is_counted].astype(np.int64)
        guess = np.where((guess >= 0) & (guess < count), guess, count)
        sums = np.bincount(known * (count + 1) + guess, minlength=count * (count + 1))
        self.confusion += sums.reshape(count, count + 1)
        if with_boundary:
            self._add_boundaries(np.where(is_counted, found, -1), np.where(is_counted, truth, -1))

    def _add_boundaries(self, found: np.ndarray, truth: np.ndarray) -> None:
        width = max(1, round(BOUNDARY_SHARE * math.hypot(*truth.shape)))
        for label in np.union1d(np.unique(found), np.unique(truth)):
            if 0 <= label < self.num_classes:
                a, b = boundary_of(found == label, width), boundary_of(truth == label, width)
                self.boundary[label] += ((a & b).sum(), (a | b).sum())

    def merge(self, other: SegmentationCounts) -> SegmentationCounts:
        """The counts of both."""
        return SegmentationCounts(self.num_classes, self.confusion + other.confusion, self.boundary + other.boundary)

    def metrics(self, names: Sequence[str]) -> dict[str, Any]:
        """Numbers from 0 to 1: mIoU, fwIoU (by frequency), pAcc (of pixels), mAcc, bIoU (of boundaries), IoU by class.

        A class that is neither annotated nor found anywhere does not count; -1 where none counts.
        """
        square = self.confusion[:, :-1]
        hits = np.diag(square).astype(np.float64)
        annotated, found = self.confusion.sum(axis=1), square.sum(axis=0)
        union = annotated + found - hits
        iou = _ratio(hits, union)
        accuracy = _ratio(hits, annotated)
        total = annotated.sum()
        weights = annotated / max(total, 1)
        return {
            "mIoU": _mean(iou),
            "fwIoU": float((weights * np.nan_to_num(iou)).sum()) if total else -1.0,
            "pAcc": float(hits.sum() / total) if total else -1.0,
            "mAcc": _mean(accuracy),
            "bIoU": _mean(_ratio(self.boundary[:, 0], self.boundary[:, 1])),
            "per_class": {
                name: -1.0 if np.isnan(value) else float(value) for name, value in zip(names, iou, strict=True)
            },
        }


def boundary_of(mask: np.ndarray, width: int) -> np.ndarray:
    """bool [H, W]: pixels of a mask within `width` pixels of its outline; the image's edge is an outline."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inner = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1]
    return mask & ~inner.astype(bool)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0, dtype=np.float64)


def _mean(values: np.ndarray) -> float:
    return -1.0 if np.isnan(values).all() else float(np.nanmean(values))
