"""Losses of the RPN and the module as a whole."""

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F

from fpt.core.config import get_cfg
from fpt.modeling.rpn.anchors import AnchorGenerator
from fpt.modeling.rpn.head import RPNHead
from fpt.modeling.rpn.losses import rpn_losses
from fpt.modeling.rpn.proposals import ProposalSettings
from fpt.modeling.rpn.rpn import RegionProposalNetwork
from fpt.modeling.sampling import AnchorSampling, match_anchors
from fpt.structures.boxes import BoxCoder

NONE = torch.zeros(0, 4)
ANCHORS = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [-5, 0, 5, 10], [40, 40, 60, 60]])


def test_anchors_outside_and_in_crowds_are_left_out() -> None:
    boxes = torch.tensor([[0.0, 0.0, 10.0, 9.0]])
    crowd = torch.tensor([[18.0, 18.0, 32.0, 32.0]])
    sampling = AnchorSampling(straddle_threshold=0)
    assert match_anchors(ANCHORS, boxes, crowd, size_hw=(64, 64), sampling=sampling).label.tolist() == [1, -1, -1, 0]
    everything = AnchorSampling()
    assert match_anchors(ANCHORS, boxes, NONE, size_hw=(64, 64), sampling=everything).label.tolist() == [1, 0, -1, 0]
    assert match_anchors(ANCHORS, NONE, NONE, size_hw=(64, 50), sampling=sampling).label.tolist() == [0, 0, -1, -1]


def test_an_anchor_may_end_where_the_image_does() -> None:
    sampling = AnchorSampling(straddle_threshold=0)
    labels = match_anchors(ANCHORS, NONE, NONE, size_hw=(60, 60), sampling=sampling).label
    assert labels.tolist() == [0, 0, -1, 0]
    labels = match_anchors(ANCHORS, NONE, NONE, size_hw=(60, 59), sampling=sampling).label
    assert labels.tolist() == [0, 0, -1, -1]


def test_every_level_of_a_small_image_is_trained() -> None:
    """All of the 256 px and 512 px anchors reach out of an image of 240 x 320."""
    cfg = get_cfg()
    anchors = AnchorGenerator(sizes=((256,), (512,)), aspect_ratios=(0.5, 1.0, 2.0), strides=(32, 64))
    for level in anchors([(8, 10), (4, 5)]):
        for threshold, num_trained in ((cfg.TRAIN.RPN_STRADDLE_THRESH, len(level)), (0, 0)):
            sampling = AnchorSampling(straddle_threshold=threshold)
            labels = match_anchors(level, NONE, NONE, size_hw=(240, 320), sampling=sampling).label
            assert int((labels >= 0).sum()) == num_trained


def test_losses_by_hand() -> None:
    boxes = torch.tensor([[1.0, 0.0, 11.0, 10.0]])
    logits, offsets = torch.tensor([[2.0, -1.0, 9.0, 0.5]]), torch.zeros(1, 4, 4)
    losses = rpn_losses(
        logits,
        offsets,
        ANCHORS,
        boxes=[boxes],
        crowd_boxes=[NONE],
        sizes_hw=[(64, 64)],
        sampling=AnchorSampling(straddle_threshold=0),
        box_coder=BoxCoder(),
    )
    expected = F.binary_cross_entropy_with_logits(torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(losses["loss_rpn_cls"], expected)
    # dx is 0.1, below beta = 1/9: 0.5 * 0.1 ** 2 * 9, over three samples
    torch.testing.assert_close(losses["loss_rpn_bbox"], torch.tensor(0.5 * 0.01 * 9 / 3))


def _rpn() -> RegionProposalNetwork:
    generator = AnchorGenerator(sizes=((8,), (16,)), aspect_ratios=(0.5, 1.0), strides=(4, 8))
    settings = ProposalSettings(pre_nms_top_n=50, post_nms_top_n=20, nms_threshold=0.7)
    return RegionProposalNetwork(
        levels=(0, 1),
        head=RPNHead(in_channels=8, num_anchors=2),
        anchor_generator=generator,
        sampling=AnchorSampling(),
        training_settings=settings,
        test_settings=settings,
    )


@pytest.mark.parametrize("num_objects", [0, 2])
def test_gradient_reaches_every_parameter(num_objects: int) -> None:
    torch.manual_seed(0)
    rpn = _rpn()
    features = OrderedDict(res2=torch.randn(2, 8, 12, 12), res3=torch.randn(2, 8, 6, 6), p6=torch.zeros(2, 8, 1, 1))
    boxes = torch.tensor([[4.0, 4.0, 12.0, 16.0], [20.0, 10.0, 40.0, 30.0]])[:num_objects]
    targets = [{"boxes": boxes, "crowd_boxes": NONE}] * 2
    proposals, losses = rpn(features, sizes_hw=[(48, 48), (40, 44)], targets=targets)
    assert [item.shape[1] for item in proposals] == [4, 4]
    assert not proposals[0].requires_grad
    assert proposals[1][:, 3].max() <= 40
    sum(losses.values()).backward()
    assert [name for name, p in rpn.named_parameters() if p.grad is None] == []
    assert rpn.head.objectness.weight.grad.any()
    assert (losses["loss_rpn_bbox"] > 0) == (num_objects > 0)


def test_without_targets_there_are_no_losses() -> None:
    features = OrderedDict(res2=torch.randn(1, 8, 12, 12), res3=torch.randn(1, 8, 6, 6))
    proposals, losses = _rpn().eval()(features, sizes_hw=[(48, 48)])
    assert losses == {}
    assert 0 < len(proposals[0]) <= 20
