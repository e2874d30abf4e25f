"""Some classes of a data set, in an order of one's own; and the classes that two data sets share."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fpt.annotations.packed import Categories
from fpt.utils.errors import UserError


@dataclass(frozen=True)
class ChosenClasses:
    """The classes of a data set that are used.

    Attributes:
        categories: in the order of the labels.
        labels: int32 [N], a label for each object, 0 for those of other classes; None = the file's labels.
    """

    categories: Categories
    labels: np.ndarray | None


def choose_classes(
    categories: Categories, labels: np.ndarray, names: Sequence[str], *, source: Path | str, needs_all: bool = True
) -> ChosenClasses:
    """The classes of these names, in this order; all where no name is given.

    Args:
        categories: of the annotation file.
        labels: int32 [N], the objects' labels in it.
        names: class names, each once.
        source: the annotation file, for messages.
        needs_all: False leaves out names that the file has no class of, unless that are all.

    Raises:
        UserError: the file has no class of a name; the nearest one and all others are given.
    """
    if not names:
        return ChosenClasses(categories, None)
    if not needs_all:
        names = [name for name in names if name in categories.names] or names
    positions = [_position(name, categories.names, source) for name in names]
    label_of = np.zeros(len(categories.names) + 1, dtype=np.int32)
    label_of[[position + 1 for position in positions]] = np.arange(1, len(positions) + 1)
    chosen = Categories(
        ids=tuple(categories.ids[i] for i in positions),
        names=tuple(categories.names[i] for i in positions),
        keypoint_names=tuple(categories.keypoint_names[i] for i in positions),
        skeletons=tuple(categories.skeletons[i] for i in positions),
    )
    return ChosenClasses(chosen, label_of[labels])


def _position(name: str, known: Sequence[str], source: Path | str) -> int:
    if name in known:
        return list(known).index(name)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    raise UserError(f"CLASSES names {name!r}, but {source} has no such class{hint or '.'} It has: {shown}")


def shared_labels(model_classes: Sequence[str], own_classes: Sequence[str]) -> np.ndarray:
    """int64 [C + 1]: for each label of a model, background included, that of the same class in a data set, else 0."""
    label_of = {name: label for label, name in enumerate(own_classes, start=1)}
    return np.array([0, *(label_of.get(name, 0) for name in model_classes)], dtype=np.int64)
