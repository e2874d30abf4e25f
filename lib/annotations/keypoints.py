"""Checks of key points: as many as their class has, inside of their image, seen or covered or neither."""

from __future__ import annotations

import numpy as np

from fpt.annotations.packed import Categories
from fpt.annotations.report import DatasetReport

_MARGIN = 1.0
"""Pixels that a point may lie outside of its image: the last column is written as width or as width - 1."""


def check_keypoints(
    shapes: dict[str, np.ndarray],
    categories: Categories,
    labels: np.ndarray,
    *,
    ids: np.ndarray,
    sizes_hw: np.ndarray,
    report: DatasetReport,
) -> None:
    """Report key points that cannot be, and put them right in place.

    Args:
        shapes: of it ``keypoint_offsets`` and ``keypoints``.
        categories: the classes.
        labels: int [N] of the objects.
        ids: int64 [N], ids of their annotations.
        sizes_hw: int [N, 2], size of each one's image.
        report: receives what is found.
    """
    counts = np.diff(shapes["keypoint_offsets"])
    wanted = np.array([0, *(len(names) for names in categories.keypoint_names)])[labels]
    is_other = (counts > 0) & (wanted > 0) & (counts != wanted)
    if is_other.any():
        shapes["keypoints"] = shapes["keypoints"][~np.repeat(is_other, counts)]
        examples = [f"annotation {ids[i]} has {counts[i]} of {wanted[i]}" for i in np.flatnonzero(is_other).tolist()]
        report.add_all("objects with another number of key points than their class", "points dropped", examples)
        counts = np.where(is_other, 0, counts)
        shapes["keypoint_offsets"] = np.concatenate(([0], np.cumsum(counts)))
    points = shapes["keypoints"]
    if not len(points):
        return
    owner = np.repeat(np.arange(len(counts)), counts)
    is_odd = ~np.isin(points[:, 2], (0, 1, 2))
    if is_odd.any():
        kind, action = "key points whose visibility is not 0, 1 or 2", "above 0 taken as seen, else as not annotated"
        report.add_all(kind, action, _names(ids, owner[is_odd]))
        points[is_odd, 2] = np.where(points[is_odd, 2] > 0, 2, 0)
    high = sizes_hw[owner][:, ::-1].astype(np.float32)
    is_outside = (points[:, :2] < -_MARGIN).any(axis=1) | (points[:, :2] > high + _MARGIN).any(axis=1)
    is_outside &= points[:, 2] > 0
    if is_outside.any():
        kind = "annotated key points outside of their image"
        report.add_all(kind, "taken as not annotated", _names(ids, owner[is_outside]))
        points[is_outside, 2] = 0


def _names(ids: np.ndarray, owners: np.ndarray) -> list[str]:
    return [f"annotation {ids[i]}" for i in owners.tolist()]
