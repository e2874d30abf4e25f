"""Selection of proposals."""

import torch
from torchvision.ops import nms

from fpt.modeling.rpn.proposals import ProposalSettings, select_proposals
from fpt.structures.boxes import BoxCoder

SETTINGS = ProposalSettings(pre_nms_top_n=100, post_nms_top_n=50, nms_threshold=0.5)


def _select(logits, offsets, anchors, sizes_hw, settings=SETTINGS):
    found = select_proposals(logits, offsets, anchors, sizes_hw=sizes_hw, settings=settings, box_coder=BoxCoder())
    for boxes, scores in found:
        assert scores.shape == boxes.shape[:1]
        assert (scores.diff() <= 0).all()
    return [boxes for boxes, _ in found]


def test_one_level_equals_plain_nms() -> None:
    torch.manual_seed(0)
    corner = torch.rand(60, 2) * 60
    anchors = torch.cat([corner, corner + 20], dim=1)
    logits = torch.randn(1, 60)
    (boxes,) = _select([logits], [torch.zeros(1, 60, 4)], [anchors], [(100, 100)])
    torch.testing.assert_close(boxes, anchors[nms(anchors, logits[0], 0.5)])


def test_levels_do_not_suppress_each_other_and_images_are_clipped_to_their_own_size() -> None:
    anchors = torch.tensor([[0.0, 0.0, 20.0, 20.0]])
    logits, offsets = torch.tensor([[1.0], [2.0]]), torch.zeros(2, 1, 4)
    first, second = _select([logits, logits + 1], [offsets, offsets], [anchors, anchors], [(50, 50), (10, 16)])
    assert first.tolist() == [[0, 0, 20, 20]] * 2
    assert second.tolist() == [[0, 0, 16, 10]] * 2


def test_top_n_before_and_after_nms_and_smallest_size() -> None:
    anchors = torch.tensor([[40.0 * i, 0.0, 40.0 * i + 10 + i, 30.0] for i in range(6)])
    logits = torch.arange(6.0).view(1, 6)
    settings = ProposalSettings(pre_nms_top_n=4, post_nms_top_n=2, nms_threshold=0.5, min_size=13)
    (boxes,) = _select([logits], [torch.zeros(1, 6, 4)], [anchors], [(300, 300)], settings)
    assert boxes[:, 0].tolist() == [200, 160]
    settings = ProposalSettings(pre_nms_top_n=4, post_nms_top_n=9, nms_threshold=0.5, min_size=13)
    (boxes,) = _select([logits], [torch.zeros(1, 6, 4)], [anchors], [(300, 300)], settings)
    assert boxes[:, 0].tolist() == [200, 160, 120]


def test_broken_scores_give_no_proposals() -> None:
    anchors = torch.tensor([[0.0, 0.0, 20.0, 20.0]])
    (boxes,) = _select([torch.full((1, 1), float("nan"))], [torch.zeros(1, 1, 4)], [anchors], [(50, 50)])
    assert boxes.shape == (0, 4)
