"""Measures of semantic segmentation against numpy's direct computation."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from fpt.evaluation.semantic import SemanticCounts
from fpt.evaluation.tables import format_metrics

NAMES = ("a", "b", "c", "d", "e")


def _maps(seed: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Truth with ignored pixels and without class 3, and what was found without class 1."""
    rng = np.random.default_rng(seed)
    coarse = rng.choice([-1, 0, 1, 2, 4], (size[0] // 4 + 1, size[1] // 4 + 1))
    truth = np.kron(coarse, np.ones((4, 4), int))[: size[0], : size[1]]
    found = np.where(rng.random(size) < 0.6, np.maximum(truth, 0), rng.integers(0, 5, size))
    found[(found == 1) | (found == 3)] = 2
    return truth, found


CASES = [_maps(seed, size) for seed, size in enumerate([(33, 40), (1, 1), (17, 64), (50, 21)])]


def _counted(cases: list[tuple[np.ndarray, np.ndarray]]) -> SemanticCounts:
    counts = SemanticCounts(5)
    for truth, found in cases:
        counts.add(truth, found)
    return counts


def test_equal_to_numpy() -> None:
    truth = np.concatenate([item.ravel() for item, _ in CASES])
    found = np.concatenate([item.ravel() for _, item in CASES])[truth >= 0]
    truth = truth[truth >= 0]
    ious = {}
    for label in range(5):
        union = ((truth == label) | (found == label)).sum()
        if union:
            ious[label] = ((truth == label) & (found == label)).sum() / union
    metrics = _counted(CASES).metrics(NAMES)
    assert set(ious) == {0, 1, 2, 4}
    assert metrics["mIoU"] == pytest.approx(np.mean(list(ious.values())), abs=1e-12)
    assert metrics["pAcc"] == pytest.approx((truth == found).mean(), abs=1e-12)
    recalls = [(found[truth == label] == label).mean() for label in np.unique(truth)]
    assert metrics["mAcc"] == pytest.approx(np.mean(recalls), abs=1e-12)
    weighted = sum((truth == label).mean() * iou for label, iou in ious.items())
    assert metrics["fwIoU"] == pytest.approx(weighted, abs=1e-12)
    assert metrics["per_class_IoU"]["d"] == -1
    assert metrics["per_class_IoU"]["b"] == 0


def test_equal_to_torchmetrics() -> None:
    classification = pytest.importorskip("torchmetrics.classification", reason="torchmetrics is not installed")
    import torch

    measure = classification.MulticlassJaccardIndex(5, average="none", ignore_index=-1)
    for truth, found in CASES:
        measure.update(torch.from_numpy(found), torch.from_numpy(truth))
    theirs = measure.compute().numpy()
    ours = _counted(CASES).metrics(NAMES)["per_class_IoU"]
    for label in (0, 1, 2, 4):
        assert ours[NAMES[label]] == pytest.approx(theirs[label], abs=1e-6)


def test_parts_in_any_order_give_the_same() -> None:
    whole = _counted(CASES).metrics(NAMES)
    shards = [_counted(CASES[index::3]) for index in range(3)]
    for order in itertools.permutations(shards):
        total = SemanticCounts(5)
        for part in order:
            total.merge(part)
        assert total.metrics(NAMES) == whole


def test_boundary_iou_equals_erosion() -> None:
    """The boundary region of a mask is what as many erosions as its width take away, with nothing outside the image."""
    truth, found = np.zeros((60, 80), int), np.zeros((60, 80), int)
    truth[10:40, 10:50] = 1
    found[12:44, 0:47] = 1
    width = round(0.02 * 100)
    kernel = np.ones((3, 3), np.uint8)

    def region(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask.astype(np.uint8), 1)
        return mask & (cv2.erode(padded, kernel, iterations=width)[1:-1, 1:-1] == 0)

    pairs = [(region(truth == label), region(found == label)) for label in (0, 1)]
    expected = [(a & b).sum() / (a | b).sum() for a, b in pairs]
    counts = SemanticCounts(2)
    counts.add(truth, found)
    metrics = counts.metrics(("ground", "box"))
    assert metrics["bIoU"] == pytest.approx(np.mean(expected), abs=1e-12)
    assert metrics["per_class_bIoU"]["box"] == pytest.approx(expected[1], abs=1e-12)


def test_found_classes_that_the_data_lacks_are_misses() -> None:
    counts = SemanticCounts(2)
    counts.add(np.array([[0, 0, 1, -1]]), np.array([[0, -1, 1, -1]]))
    metrics = counts.metrics(("a", "b"))
    assert metrics["per_class_IoU"] == {"a": 0.5, "b": 1.0}
    assert metrics["pAcc"] == pytest.approx(2 / 3)


def test_nothing_that_counts_and_wrong_shapes() -> None:
    metrics = SemanticCounts(2).metrics(("a", "b"))
    assert (metrics["mIoU"], metrics["pAcc"], metrics["fwIoU"]) == (-1, -1, -1)
    with pytest.raises(ValueError, match=r"\(1, 2\)"):
        SemanticCounts(2).add(np.zeros((1, 2), int), np.zeros((2, 1), int))


def test_the_tables_name_classes_and_leave_out_what_is_unknown() -> None:
    texts = format_metrics({"semantic": _counted(CASES).metrics(NAMES)})
    classes, summary = texts.values()
    assert classes.splitlines()[5].split() == ["d", "-", "-", "0.0"]
    assert summary.splitlines()[0].split() == ["%", "mIoU", "bIoU", "mAcc", "pAcc", "fwIoU"]
