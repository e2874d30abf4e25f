"""Post-processing."""

import torch
from torchvision.ops import batched_nms

from fpt.modeling.roi_heads.postprocess import DetectionSettings, select_detections
from fpt.structures.boxes import BoxCoder

CODER = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))


def _logits(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(rows).log()


def _select(logits, offsets, proposals, **settings):
    return select_detections(
        logits, offsets, proposals, size_hw=(50, 60), settings=DetectionSettings(**settings), box_coder=CODER
    )


def test_nms_works_within_a_class_by_hand() -> None:
    logits = _logits((0.1, 0.8, 0.1), (0.3, 0.6, 0.1), (0.2, 0.1, 0.7))
    proposals = torch.tensor([[0.0, 0.0, 20.0, 20.0], [1.0, 0.0, 20.0, 20.0], [0.0, 0.0, 70.0, 20.0]])
    found = _select(logits, torch.zeros(3, 3, 4), proposals, score_threshold=0.2)
    assert found["labels"].tolist() == [1, 2]
    torch.testing.assert_close(found["scores"], torch.tensor([0.8, 0.7]))
    assert found["boxes"].tolist() == [[0, 0, 20, 20], [0, 0, 60, 20]]


def test_offsets_of_the_class_are_applied_unless_switched_off() -> None:
    logits, proposals = _logits((0.1, 0.1, 0.8)), torch.tensor([[0.0, 0.0, 20.0, 20.0]])
    offsets = torch.zeros(1, 3, 4)
    offsets[0, 2, 0] = 5
    assert _select(logits, offsets, proposals, score_threshold=0.5)["boxes"].tolist() == [[10, 0, 30, 20]]
    kept = _select(logits, offsets, proposals, score_threshold=0.5, has_regression=False)
    assert kept["boxes"].tolist() == proposals.tolist()
    agnostic = _select(logits, offsets[:, 2:], proposals, score_threshold=0.5)
    assert agnostic["boxes"].tolist() == [[10, 0, 30, 20]]


def test_many_equal_a_plain_computation() -> None:
    torch.manual_seed(0)
    corner = torch.rand(80, 2) * 30
    proposals = torch.cat([corner, corner + 10], dim=1)
    logits = torch.randn(80, 6) * 2
    found = _select(logits, torch.zeros(80, 6, 4), proposals, score_threshold=0.1, max_detections=25)
    scores = logits.softmax(1)[:, 1:].reshape(-1)
    boxes, labels = proposals.repeat_interleave(5, dim=0), torch.arange(1, 6).repeat(80)
    kept = (scores > 0.1).nonzero()[:, 0]
    kept = kept[batched_nms(boxes[kept], scores[kept], labels[kept], 0.5)][:25]
    torch.testing.assert_close(found["scores"], scores[kept])
    assert found["labels"].tolist() == labels[kept].tolist()
    assert len(found["boxes"]) == 25


def test_nothing_found() -> None:
    for count in (0, 2):
        found = _select(torch.zeros(count, 3), torch.zeros(count, 3, 4), torch.ones(count, 4), score_threshold=0.9)
        assert {name: tuple(value.shape) for name, value in found.items()} == {
            "boxes": (0, 4),
            "labels": (0,),
            "scores": (0,),
        }
