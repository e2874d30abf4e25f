"""Box arithmetic against torchvision."""

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder as ReferenceCoder
from torchvision.ops import batched_nms, box_iou

from fpt.structures.boxes import (
    MAX_LOG_SCALE,
    BoxCoder,
    best_after_nms,
    box_area,
    clip_boxes,
    covered_share,
    is_longer_than,
    pairwise_iou,
)

WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def _boxes(count: int) -> torch.Tensor:
    corner = torch.rand(count, 2) * 50
    return torch.cat([corner, corner + torch.rand(count, 2) * 40 + 1], dim=1)


def test_iou_equals_torchvisions() -> None:
    torch.manual_seed(0)
    a, b = _boxes(7), _boxes(9)
    torch.testing.assert_close(pairwise_iou(a, b), box_iou(a, b))
    assert pairwise_iou(a[:0], b).shape == (0, 9)
    assert pairwise_iou(a, b[:0]).shape == (7, 0)
    assert pairwise_iou(torch.zeros(1, 4), torch.zeros(1, 4)).item() == 0


def test_coder_equals_torchvisions_and_inverts() -> None:
    torch.manual_seed(0)
    boxes, reference = _boxes(8), _boxes(8)
    coder, other = BoxCoder(weights=WEIGHTS), ReferenceCoder(weights=WEIGHTS)
    encoded = coder.encode(boxes, reference)
    torch.testing.assert_close(encoded, other.encode_single(boxes, reference))
    torch.testing.assert_close(coder.decode(encoded, reference), boxes)
    torch.testing.assert_close(coder.decode(encoded, reference), other.decode_single(encoded, reference))


def test_coder_by_hand_and_without_overflow() -> None:
    reference = torch.tensor([[0.0, 0.0, 10.0, 20.0]])
    out = BoxCoder().decode(torch.tensor([[0.1, 0.5, 0.0, 0.0]]), reference)
    torch.testing.assert_close(out, torch.tensor([[1.0, 10.0, 11.0, 30.0]]))
    huge = BoxCoder().decode(torch.full((1, 4), 1e4, dtype=torch.bfloat16), reference)
    assert huge.dtype == torch.float32
    assert torch.isfinite(huge).all()
    assert (huge[0, 2] - huge[0, 0]).item() == pytest.approx(10 * torch.tensor(MAX_LOG_SCALE).exp().item(), rel=1e-3)


def test_clipping_and_sizes() -> None:
    boxes = torch.tensor([[-5.0, 3.0, 50.0, 90.0], [70.0, 0.0, 80.0, 5.0]])
    clipped = clip_boxes(boxes, (40, 60))
    torch.testing.assert_close(clipped, torch.tensor([[0.0, 3.0, 50.0, 40.0], [60.0, 0.0, 60.0, 5.0]]))
    assert is_longer_than(clipped, 0).tolist() == [True, False]
    assert is_longer_than(clipped, 38).tolist() == [False, False]
    assert is_longer_than(torch.full((1, 4), float("nan")), 0).tolist() == [False]
    assert box_area(clipped).tolist() == [50 * 37, 0]


def test_covered_share_takes_the_largest_region() -> None:
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]])
    regions = torch.tensor([[0.0, 0.0, 5.0, 10.0], [0.0, 0.0, 100.0, 8.0]])
    torch.testing.assert_close(covered_share(boxes, regions), torch.tensor([0.8, 0.0]))
    assert covered_share(boxes, regions[:0]).tolist() == [0, 0]


@pytest.mark.parametrize("max_kept", [0, 1, 7, 60, 5000])
@pytest.mark.parametrize("spacing", [2.0, 400.0])
def test_best_boxes_after_suppression_are_those_of_all_boxes(max_kept: int, spacing: float) -> None:
    """Also where nearly all boxes are removed, so that many must be looked at."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(3000, 2, generator=generator) * spacing
    boxes = torch.cat([corner, corner + 30 + 20 * torch.rand(3000, 2, generator=generator)], dim=1)
    scores, groups = torch.rand(3000, generator=generator), torch.randint(0, 5, (3000,), generator=generator)
    found = best_after_nms(boxes, scores, groups, iou_threshold=0.5, max_kept=max_kept)
    assert found.tolist() == batched_nms(boxes, scores, groups, 0.5)[:max_kept].tolist()


def test_suppression_of_no_boxes_leaves_none() -> None:
    none = torch.zeros(0)
    assert len(best_after_nms(torch.zeros(0, 4), none, none.long(), iou_threshold=0.5, max_kept=100)) == 0
