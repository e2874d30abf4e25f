"""Score maps of which only rows are made, against F.interpolate of the whole."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fpt.engine.score_rows import Mirrored, ScoreRows, Whole, Windows, resized


def _scores(h: int, w: int, *, classes: int = 3) -> Tensor:
    return torch.randn(classes, h, w, generator=torch.Generator().manual_seed(h * w))


def _bilinear(scores: Tensor, size_hw: tuple[int, int]) -> Tensor:
    return F.interpolate(scores[None], size=size_hw, mode="bilinear", align_corners=False)[0]


def _joined(source: ScoreRows, band: int = 7) -> Tensor:
    height = source.size_hw[0]
    return torch.cat([source.rows(top, min(top + band, height)) for top in range(0, height, band)], dim=1)


@pytest.mark.parametrize("size_hw", [(12, 20), (48, 80), (47, 83), (5, 9), (1, 1), (100, 3)])
def test_resized_rows_are_those_of_the_whole(size_hw: tuple[int, int]) -> None:
    scores = _scores(12, 20)
    found = _joined(resized(Whole(scores), size_hw))
    torch.testing.assert_close(found, _bilinear(scores, size_hw), atol=1e-5, rtol=0)


@pytest.mark.parametrize("band", [1, 64, 1000])
def test_two_sizes_after_each_other(band: int) -> None:
    scores = _scores(9, 13)
    found = _joined(resized(resized(Whole(scores), (36, 52)), (71, 90)), band)
    torch.testing.assert_close(found, _bilinear(_bilinear(scores, (36, 52)), (71, 90)), atol=1e-5, rtol=0)


def test_a_mirrored_map_gives_the_classes_of_the_other_side() -> None:
    scores = _scores(6, 10)
    assert torch.equal(_joined(Mirrored(Whole(scores), (0, 2, 1))), scores.flip(-1)[[0, 2, 1]])


def test_overlapping_windows_are_averaged() -> None:
    parts = [(0, 0, _scores(6, 8)), (0, 5, _scores(6, 7)), (4, 0, _scores(7, 12))]
    total, count = torch.zeros(3, 11, 12), torch.zeros(11, 12)
    for top, left, scores in parts:
        part = (..., slice(top, top + scores.shape[1]), slice(left, left + scores.shape[2]))
        total[part] += scores
        count[part] += 1
    found = _joined(Windows([(top, left, Whole(scores)) for top, left, scores in parts], (11, 12)), band=3)
    torch.testing.assert_close(found, total / count, atol=1e-6, rtol=0)
