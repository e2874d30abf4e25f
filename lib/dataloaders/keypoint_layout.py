"""The key points of a data set's classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fpt.annotations.packed import Categories, PackedAnnotations
from fpt.structures.keypoints import KeypointLayout
from fpt.utils.errors import UserError


def name_points(categories: Categories, packed: PackedAnnotations, labels: np.ndarray) -> Categories:
    """The classes with names for their key points, where no class names any and all objects have equally many.

    Args:
        categories: the classes.
        packed: their objects.
        labels: int [N], the label of each object in `categories`; 0 = of none.
    """
    counts = np.unique(np.diff(packed.keypoint_offsets)[labels > 0])
    counts = counts[counts > 0]
    if any(categories.keypoint_names) or len(counts) != 1:
        return categories
    names = tuple(f"point {number}" for number in range(1, int(counts[0]) + 1))
    return replace(categories, keypoint_names=(names,) * len(categories.names))


def layout_of(categories: Categories) -> KeypointLayout | None:
    """The key points of the first class that has any; None where none has."""
    for names, skeleton in zip(categories.keypoint_names, categories.skeletons, strict=True):
        if names:
            return KeypointLayout(_different(names), skeleton)
    return None


def check_layout(categories: Categories, *, source: Path) -> KeypointLayout:
    """The key points that all classes share which have any.

    Raises:
        UserError: no class has key points, or two have others.
    """
    layout = layout_of(categories)
    if layout is None:
        raise UserError(
            f"no class of {source} has key points, so a keypoint head cannot be trained on it: take a data set that "
            "has some (of COCO's: --dataset keypoints_coco2017), or switch it off with --set MODEL.KEYPOINTS_ON False"
        )
    pairs = [pair for pair in zip(categories.names, categories.keypoint_names, strict=True) if pair[1]]
    for name, points in pairs[1:]:
        if _different(points) != layout.names:
            raise UserError(
                f"the classes {pairs[0][0]!r} and {name!r} of {source} have other key points ({len(layout)} and "
                f"{len(points)}), but a keypoint head has one set: choose classes with the data set's CLASSES"
            )
    return layout


def _different(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, those that occur before with their number."""
    return tuple(f"{name} {i + 1}" if name in names[:i] else name for i, name in enumerate(names))
