"""The forms that masks are written in beside COCO's own, read where they can mean one thing only."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from fpt.annotations.numbers import plain_number

_MAX_DEPTH = 4


@dataclass
class Unfolded:
    """A mask in COCO's own terms.

    Attributes:
        polygons: flat lists of x, y, x, y, ...; what is no list of numbers stays as it is.
        rles: run lengths.
        form: how it was written; empty for COCO's own way.
    """

    polygons: list[Any] = field(default_factory=list)
    rles: list[dict[str, Any]] = field(default_factory=list)
    form: str = ""


def unfold_mask(value: Any) -> Unfolded:
    """The polygons and run lengths of a mask that is written as text, as points in pairs, or a bracket too deep.

    Args:
        value: a list, or text of a json list or object.
    """
    mask = Unfolded()
    if isinstance(value, str):
        mask.form = "text"
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, list):
        _unfold(value, mask, depth=1)
    return mask


def _unfold(value: list[Any], mask: Unfolded, depth: int) -> None:
    points = _as_points(value)
    if points is not None:
        mask.polygons.append(points)
        mask.form = mask.form or "points in pairs"
        return
    for part in value:
        if isinstance(part, dict):
            mask.rles.append(part)
            mask.form = mask.form or "run lengths in a list"
        elif isinstance(part, list) and part and depth < _MAX_DEPTH and isinstance(part[0], (list, dict)):
            mask.form = mask.form or "a bracket too deep"
            _unfold(part, mask, depth + 1)
        elif isinstance(part, list):
            mask.polygons.append(_as_numbers(part, mask))
        else:
            mask.polygons.append(part)


def _as_points(value: list[Any]) -> list[float] | None:
    """[[x, y], ...] or [{"x": ..., "y": ...}, ...] as one flat list; None for anything else."""
    if len(value) < 3:
        return None
    pairs = [(part.get("x"), part.get("y")) if isinstance(part, dict) else part for part in value]
    if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
        return None
    flat = [plain_number(number) for pair in pairs for number in pair]
    return None if any(number is None for number in flat) else flat  # type: ignore[return-value]


def _as_numbers(part: list[Any], mask: Unfolded) -> list[Any]:
    """The list with its numbers, where they are text, as numbers."""
    if not any(isinstance(item, str) for item in part):
        return part
    numbers = [plain_number(item) for item in part]
    if any(number is None for number in numbers):
        return part
    mask.form = mask.form or "numbers as text"
    return numbers
