"""Key points: what they are called, which of them a mirrored image exchanges, and how precise they can be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

COCO_SIGMAS = (
    *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072),
    *(0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
)
"""Of COCO's 17 points of a person: deviations between annotators, in units of the square root of the object's area."""
DEFAULT_SIGMA = 0.05
"""Of points that nothing is known of: between COCO's eyes (0.025) and ankles (0.089)."""

_SIDES = {"left": "right", "right": "left", "l": "r", "r": "l"}


@dataclass(frozen=True)
class KeypointLayout:
    """The key points of a class.

    Attributes:
        names: of the K points.
        skeleton: pairs of points, from 0, that a drawing connects.
    """

    names: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...] = ()

    def __len__(self) -> int:
        return len(self.names)


_COCO_NAMES = (
    "nose,left_eye,right_eye,left_ear,right_ear,left_shoulder,right_shoulder,left_elbow,right_elbow,left_wrist,"
    "right_wrist,left_hip,right_hip,left_knee,right_knee,left_ankle,right_ankle"
)
COCO_PERSON = KeypointLayout(
    tuple(_COCO_NAMES.split(",")),
    (
        *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8)),
        *((7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
    ),
)
"""Those of a person in COCO."""


def flip_order(names: Sequence[str], pairs: Sequence[str] = ()) -> tuple[int, ...]:
    """For each key point the one that stands in its place in a mirrored image.

    Args:
        names: of the key points.
        pairs: names, two by two, that change places; none = those that differ in left and right (or l and r).

    Raises:
        ValueError: a name of `pairs` is unknown or stands there twice, or one has no partner.
    """
    order = list(range(len(names)))
    index_of = {name: index for index, name in enumerate(names)}
    if not pairs:
        for index, name in enumerate(names):
            order[index] = index_of.get(_mirrored(name), index)
        return tuple(order)
    if len(pairs) % 2 or len(set(pairs)) < len(pairs) or not set(pairs) <= set(names):
        raise ValueError(f"they are no pairs of different names out of {', '.join(names)}")
    for first, second in zip(pairs[::2], pairs[1::2], strict=True):
        order[index_of[first]], order[index_of[second]] = index_of[second], index_of[first]
    return tuple(order)


def _mirrored(name: str) -> str:
    """The name with left and right exchanged, where they stand as words of their own or at an end of one."""

    def other(match: re.Match[str]) -> str:
        word = match[0]
        turned = _SIDES[word.lower()]
        return turned.upper() if word.isupper() else turned.capitalize() if word[0].isupper() else turned

    is_long = re.search(r"left|right", name, re.IGNORECASE) is not None
    pattern = r"left|right" if is_long else r"(?<![a-zA-Z])[lr](?![a-zA-Z])"
    return re.sub(pattern, other, name, flags=re.IGNORECASE)
