"""What was found in one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects found in one image, in the pixels of the original image.

    Attributes:
        image_id: id of the image in its data set.
        size_hw: height and width of the original image.
        boxes: float32 [D, 4] x1, y1, x2, y2; a pixel covers [x, x + 1).
        labels: int64 [D], 1..C-1; label i + 1 is the i-th class of the data set.
        scores: float32 [D], 0..1.
        rles: compressed RLE of each mask, {"size": [h, w], "counts": str}; None without masks.
        keypoints: float32 [D, K, 3] x, y and score 0..1 (of ground truth: 1 seen, 0.5 covered, 0 not annotated); None
            without key points.
    """

    image_id: int
    size_hw: tuple[int, int]
    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    rles: list[dict[str, Any]] | None = None
    keypoints: np.ndarray | None = None

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.boxes.shape != (count, 4) or self.labels.shape != (count,):
            raise ValueError(
                f"detections of image {self.image_id}: boxes {self.boxes.shape}, labels {self.labels.shape} "
                f"and scores {self.scores.shape} do not fit; expected [D, 4], [D] and [D]"
            )
        if self.rles is not None and len(self.rles) != count:
            raise ValueError(f"detections of image {self.image_id}: {len(self.rles)} masks for {count} boxes")
        points = self.keypoints
        if points is not None and (points.ndim != 3 or points.shape[::2] != (count, 3)):
            raise ValueError(
                f"detections of image {self.image_id}: key points {points.shape} do not fit; expected [{count}, K, 3]"
            )

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def empty(cls, image_id: int, size_hw: tuple[int, int], *, with_masks: bool = False) -> Detections:
        """Nothing found."""
        boxes, labels = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
        return cls(image_id, size_hw, boxes, labels, np.zeros(0, np.float32), [] if with_masks else None)

    def select(self, indices: np.ndarray) -> Detections:
        """Some of them, in the order of `indices` (int [K])."""
        rles = None if self.rles is None else [self.rles[index] for index in indices.tolist()]
        points = None if self.keypoints is None else self.keypoints[indices]
        boxes, labels, scores = self.boxes[indices], self.labels[indices], self.scores[indices]
        return Detections(self.image_id, self.size_hw, boxes, labels, scores, rles, points)

    def above(self, score_threshold: float) -> Detections:
        """Those whose score reaches the threshold, highest score first."""
        order = np.argsort(-self.scores, kind="stable")
        return self.select(order[self.scores[order] >= score_threshold])
