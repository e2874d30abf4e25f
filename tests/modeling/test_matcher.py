"""Matching and sampling."""

import pytest
import torch
from torchvision.models.detection._utils import Matcher as Reference

from fpt.modeling.matcher import match_boxes, match_many
from fpt.modeling.sampling import sample_balanced
from fpt.structures.boxes import pairwise_iou


@pytest.mark.parametrize("keeps_best", [True, False])
def test_equals_torchvisions(keeps_best: bool) -> None:
    iou = torch.rand(6, 200, generator=torch.Generator().manual_seed(0)) ** 3
    match = match_boxes(iou, positive=0.7, negative=0.3, keeps_best=keeps_best)
    theirs = Reference(0.7, 0.3, allow_low_quality_matches=keeps_best)(iou)
    label = torch.where(theirs >= 0, 1, torch.where(theirs == Reference.BELOW_LOW_THRESHOLD, 0, -1))
    assert match.label.tolist() == label.tolist()
    positive = match.label == 1
    assert match.index[positive].tolist() == theirs[positive].tolist()


def test_best_boxes_and_ties_by_hand() -> None:
    iou = torch.tensor([[0.8, 0.5, 0.1, 0.0], [0.0, 0.2, 0.2, 0.0], [0.0, 0.0, 0.0, 0.0]])
    match = match_boxes(iou, positive=0.7, negative=0.3, keeps_best=True)
    # the third object touches no box, and so makes none positive
    assert match.label.tolist() == [1, 1, 1, 0]
    assert match.index.tolist()[:3] == [0, 0, 1]


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_nothing_to_match(shape: tuple[int, int]) -> None:
    match = match_boxes(torch.zeros(shape), positive=0.7, negative=0.3, keeps_best=True)
    assert match.label.tolist() == [0] * shape[1]
    assert match.index.dtype == torch.int64


def test_sample_is_balanced_and_repeats_with_its_seed() -> None:
    label = torch.cat([torch.ones(50), torch.zeros(100), -torch.ones(30)]).to(torch.int8)
    draws = []
    for _ in range(2):
        torch.manual_seed(7)
        positive, negative = sample_balanced(label, num_samples=40, positive_fraction=0.25)
        assert (len(positive), len(negative)) == (10, 30)
        assert (label[positive] == 1).all()
        assert (label[negative] == 0).all()
        assert len(set(positive.tolist())) == 10
        draws.append((positive.tolist(), negative.tolist()))
    assert draws[0] == draws[1]


def test_sample_takes_what_there_is() -> None:
    positive, negative = sample_balanced(torch.tensor([1, 0, -1, 0]), num_samples=8, positive_fraction=0.5)
    assert positive.tolist() == [0]
    assert sorted(negative.tolist()) == [1, 3]
    positive, negative = sample_balanced(torch.full((4,), -1), num_samples=8, positive_fraction=0.5)
    assert len(positive) == len(negative) == 0


@pytest.mark.parametrize("num_objects", [0, 1, 7])
@pytest.mark.parametrize("pairs", [1, 20, 10**6])
def test_parts_are_matched_as_the_whole(monkeypatch: pytest.MonkeyPatch, num_objects: int, pairs: int) -> None:
    monkeypatch.setattr("fpt.modeling.matcher._PAIRS_AT_ONCE", pairs)
    generator = torch.Generator().manual_seed(num_objects)
    boxes = torch.rand(50, 4, generator=generator) * 20
    boxes[:, 2:] += boxes[:, :2]
    boxes[40:] = boxes[:10]  # ties
    objects = boxes[5 : 5 + num_objects] + torch.rand(num_objects, 4, generator=generator)
    found = match_many(objects, boxes, positive=0.7, negative=0.3)
    whole = match_boxes(pairwise_iou(objects, boxes), positive=0.7, negative=0.3, keeps_best=True)
    for a, b in zip((found.index, found.label, found.iou), (whole.index, whole.label, whole.iou), strict=True):
        assert torch.equal(a, b)
