"""Detections of one image."""

from __future__ import annotations

import numpy as np
import pytest

from fpt.structures.detections import Detections


def _make(scores: list[float]) -> Detections:
    count = len(scores)
    boxes = np.arange(4 * count, dtype=np.float32).reshape(count, 4)
    rles = [{"size": [4, 4], "counts": str(index)} for index in range(count)]
    return Detections(7, (4, 4), boxes, np.arange(1, count + 1), np.array(scores, np.float32), rles)


def test_above_sorts_and_selects_masks_too() -> None:
    chosen = _make([0.2, 0.9, 0.5]).above(0.5)
    assert chosen.scores.tolist() == pytest.approx([0.9, 0.5])
    assert chosen.labels.tolist() == [2, 3]
    assert chosen.rles is not None
    assert [rle["counts"] for rle in chosen.rles] == ["1", "2"]


def test_empty() -> None:
    assert len(Detections.empty(1, (3, 4))) == 0
    assert Detections.empty(1, (3, 4)).rles is None
    assert len(Detections.empty(1, (3, 4), with_masks=True).above(0.5)) == 0


def test_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"image 3: boxes \(1, 4\)"):
        Detections(3, (4, 4), np.zeros((1, 4)), np.zeros(2), np.zeros(2))
    with pytest.raises(ValueError, match="1 masks for 2 boxes"):
        Detections(3, (4, 4), np.zeros((2, 4)), np.zeros(2), np.zeros(2), [{}])
