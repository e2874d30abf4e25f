"""Measures of semantic segmentation beside their direct computation."""

from __future__ import annotations

import numpy as np
import pytest

from fpt.evaluation.segmentation import SegmentationCounts, boundary_of

NAMES = ("road", "sky", "tree", "never")


def _maps(seed: int, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Found and annotated classes, with ignored pixels, and one class that occurs nowhere."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, size_hw)
    found = np.where(rng.random(size_hw) < 0.7, truth, rng.integers(0, 3, size_hw))
    truth[rng.random(size_hw) < 0.1] = 255
    return found, truth


IMAGES = [_maps(seed, size) for seed, size in enumerate([(40, 60), (1, 1), (33, 17)])]


def _direct(images: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    found = np.concatenate([f[t != 255] for f, t in images])
    truth = np.concatenate([t[t != 255] for _, t in images])
    iou, recall, share = [], [], []
    for label in range(3):
        a, b = found == label, truth == label
        iou.append((a & b).sum() / (a | b).sum())
        recall.append((a & b).sum() / b.sum())
        share.append(b.mean())
    weighted = sum(s * i for s, i in zip(share, iou, strict=True))
    return {"mIoU": np.mean(iou), "fwIoU": weighted, "pAcc": (found == truth).mean(), "mAcc": np.mean(recall)}


def _counts(images: list[tuple[np.ndarray, np.ndarray]]) -> SegmentationCounts:
    counts = SegmentationCounts(len(NAMES))
    for found, truth in images:
        counts.add(found, truth)
    return counts


def test_numbers_are_those_of_numpy() -> None:
    metrics = _counts(IMAGES).metrics(NAMES)
    for name, value in _direct(IMAGES).items():
        assert metrics[name] == pytest.approx(value, abs=1e-12), name
    assert metrics["per_class"]["never"] == -1
    assert metrics["mIoU"] != pytest.approx(
        np.mean([_direct([image])["mIoU"] for image in IMAGES if image[1].size > 1])
    )


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_parts_add_up_in_any_order(order: tuple[int, ...]) -> None:
    parts = [_counts([IMAGES[index]]) for index in order]
    assert parts[0].merge(parts[1]).merge(parts[2]).metrics(NAMES) == _counts(IMAGES).metrics(NAMES)


def test_pixels_of_no_class_are_misses() -> None:
    counts = SegmentationCounts(2)
    counts.add(np.array([[0, 1, 7, -1]]), np.array([[0, 1, 1, 0]]))
    metrics = counts.metrics(("a", "b"))
    assert metrics["per_class"] == {"a": 0.5, "b": 0.5}
    assert metrics["pAcc"] == 0.5


def test_nothing_to_count() -> None:
    counts = SegmentationCounts(2)
    counts.add(np.zeros((3, 3), int), np.full((3, 3), 255))
    assert counts.metrics(("a", "b")) == {
        **dict.fromkeys(("mIoU", "fwIoU", "pAcc", "mAcc", "bIoU"), -1.0),
        "per_class": {"a": -1.0, "b": -1.0},
    }
    with pytest.raises(ValueError, match=r"found is \(2, 2\), the ground truth \(3, 3\)"):
        counts.add(np.zeros((2, 2), int), np.zeros((3, 3), int))


def test_boundaries() -> None:
    mask = np.zeros((30, 40), bool)
    mask[5:25, 0:20] = True
    inner = np.lib.stride_tricks.sliding_window_view(np.pad(mask, 3), (7, 7)).all(axis=(2, 3))
    assert (boundary_of(mask, 3) == (mask & ~inner)).all()
    truth, found = np.zeros((100, 100), int), np.zeros((100, 100), int)
    truth[20:80, 20:80] = found[23:80, 20:80] = 1
    metrics = _counts([(found, truth)]).metrics(NAMES)
    assert metrics["per_class"]["sky"] == pytest.approx(57 / 60)
    assert metrics["bIoU"] < metrics["mIoU"]
    assert _counts([(truth, truth)]).metrics(NAMES)["bIoU"] == 1
