"""Samples, targets and losses of the heads."""

import pytest
import torch
import torch.nn.functional as F
from torchvision.models.detection.roi_heads import fastrcnn_loss

from fpt.modeling.roi_heads.losses import box_losses, mask_loss, mask_targets
from fpt.modeling.sampling import RoISampling, sample_rois

NONE = torch.zeros(0, 4)


def _target(boxes: torch.Tensor, crowd: torch.Tensor = NONE) -> dict[str, torch.Tensor]:
    return {"boxes": boxes, "labels": torch.arange(1, len(boxes) + 1), "crowd_boxes": crowd}


def test_sample_holds_the_objects_themselves_and_leaves_crowds_out() -> None:
    objects = torch.tensor([[0.0, 0.0, 20.0, 20.0], [40.0, 40.0, 60.0, 60.0]])
    proposals = torch.tensor([[1.0, 0.0, 20.0, 20.0], [80.0, 80.0, 90.0, 90.0], [30.0, 0.0, 39.0, 9.0]])
    crowd = torch.tensor([[79.0, 79.0, 91.0, 91.0]])
    sampled = sample_rois(proposals, _target(objects, crowd), sampling=RoISampling(num_samples=40))
    assert sorted(sampled.labels.tolist()) == [0, 1, 1, 2]
    assert sampled.foreground_boxes.shape == (3, 4)
    assert sampled.boxes[3].tolist() == [30, 0, 39, 9]
    assert (sampled.labels[:3] == sampled.object_index + 1).all()


def test_background_needs_the_lower_bound() -> None:
    objects = torch.tensor([[0.0, 0.0, 20.0, 20.0]])
    proposals = torch.tensor([[0.0, 0.0, 6.0, 20.0], [50.0, 50.0, 60.0, 60.0]])
    sampled = sample_rois(proposals, _target(objects), sampling=RoISampling(background_low=0.1))
    assert sampled.labels.tolist() == [1, 0]
    assert sampled.boxes[1].tolist() == [0, 0, 6, 20]


@pytest.mark.parametrize("num_proposals", [0, 3])
def test_image_without_objects(num_proposals: int) -> None:
    proposals = torch.tensor([[0.0, 0.0, 9.0, 9.0]]).repeat(num_proposals, 1)
    sampled = sample_rois(proposals, _target(NONE), sampling=RoISampling())
    assert sampled.labels.tolist() == [0] * num_proposals
    assert sampled.labels.dtype == sampled.object_index.dtype == torch.int64
    assert len(sampled.object_index) == 0


def test_box_losses_by_hand_and_like_torchvisions() -> None:
    torch.manual_seed(0)
    logits, offsets = torch.randn(6, 4), torch.randn(6, 4, 4)
    labels = torch.tensor([2, 1, 0, 0, 0, 0])
    regression, weights = torch.randn(2, 4), torch.full((6,), 1 / 6)
    losses = box_losses(
        logits, offsets, labels=labels, foreground=torch.arange(2), regression=regression, weights=weights
    )
    chosen = torch.stack([offsets[0, 2], offsets[1, 1]])
    torch.testing.assert_close(losses["loss_bbox"], F.smooth_l1_loss(chosen, regression, reduction="sum") / 6)
    theirs, _ = fastrcnn_loss(logits, offsets.flatten(1), [labels], [torch.cat([regression, torch.zeros(4, 4)])])
    torch.testing.assert_close(losses["loss_cls"], theirs)
    agnostic = box_losses(
        logits, offsets[:, :1], labels=labels, foreground=torch.arange(2), regression=regression, weights=weights
    )
    expected = F.smooth_l1_loss(offsets[:2, 0], regression, reduction="sum") / 6
    torch.testing.assert_close(agnostic["loss_bbox"], expected)


@pytest.mark.parametrize("count", [0, 4])
def test_losses_without_foreground_are_zero_and_in_the_graph(count: int) -> None:
    logits = torch.randn(count, 3, requires_grad=True)
    offsets = torch.randn(count, 3, 4, requires_grad=True)
    masks = torch.randn(0, 3, 8, 8, requires_grad=True)
    nothing = torch.zeros(0, dtype=torch.int64)
    losses = box_losses(
        logits,
        offsets,
        labels=torch.zeros(count, dtype=torch.int64),
        foreground=nothing,
        regression=NONE,
        weights=torch.ones(count),
    )
    losses["loss_mask"] = mask_loss(masks, labels=nothing, targets=torch.zeros(0, 8, 8), weights=torch.zeros(0))
    sum(losses.values()).backward()
    assert losses["loss_bbox"] == losses["loss_mask"] == 0
    assert torch.isfinite(losses["loss_cls"])
    assert all(x.grad is not None for x in (logits, offsets, masks))


def test_mask_target_in_its_own_frame_is_the_mask() -> None:
    mask = torch.zeros(1, 16, 16, dtype=torch.uint8)
    mask[:, 4:12, :8] = 1
    box = torch.tensor([[10.0, 20.0, 50.0, 36.0]])
    target = mask_targets(mask, box, box, torch.tensor([0]), size=8)
    assert target.dtype == torch.float32
    assert (target[0] == mask[0, ::2, ::2]).all()


def test_mask_target_in_other_frames() -> None:
    masks = torch.stack([torch.zeros(16, 16), torch.ones(16, 16)]).to(torch.uint8)
    objects = torch.tensor([[0.0, 0.0, 5.0, 5.0], [10.0, 10.0, 30.0, 30.0]])
    frames = torch.tensor([[0.0, 10.0, 20.0, 30.0], [15.0, 15.0, 20.0, 20.0], [0.0, 0.0, 40.0, 40.0]])
    target = mask_targets(masks, objects, frames, torch.tensor([1, 1, 1]), size=4)
    half = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(4, 4)
    torch.testing.assert_close(target[0], half)
    assert target[1].all()
    expected = torch.zeros(4, 4)
    expected[1:3, 1:3] = 1
    torch.testing.assert_close(target[2], expected)
    assert mask_targets(masks, objects, NONE, torch.zeros(0, dtype=torch.int64), size=4).shape == (0, 4, 4)


def test_mask_loss_reads_the_class_of_the_roi() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 3, 4, 4), (torch.rand(2, 4, 4) > 0.5).float()
    loss = mask_loss(logits, labels=torch.tensor([2, 1]), targets=targets, weights=torch.full((2,), 0.5))
    expected = F.binary_cross_entropy_with_logits(torch.stack([logits[0, 2], logits[1, 1]]), targets)
    torch.testing.assert_close(loss, expected)
