"""Heat maps of key points: their targets, loss and decoding beside torchvision's, and the branch as a whole."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torchvision.models.detection.roi_heads import heatmaps_to_keypoints, keypointrcnn_loss, keypoints_to_heatmap

from fpt.modeling.roi_heads.keypoint_branch import KeypointBranch
from fpt.modeling.roi_heads.keypoint_head import KeypointHead
from fpt.modeling.roi_heads.keypoints import decode_keypoints, keypoint_loss, keypoint_targets
from fpt.modeling.roi_heads.pooler import RoIPooler
from fpt.modeling.sampling import SampledRoIs

SIZE = 56


def _boxes(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(count, 4, generator=generator) * 80
    boxes[:, 2:] = boxes[:, :2] + torch.rand(count, 2, generator=generator) * 120 + 0.4
    return boxes


def _points(boxes: torch.Tensor, num: int) -> torch.Tensor:
    """Most inside of their boxes, some outside, on the last edge, or not annotated."""
    generator = torch.Generator().manual_seed(1)
    share = torch.rand(len(boxes), num, 2, generator=generator) * 1.3 - 0.1
    places = boxes[:, None, :2] + share * (boxes[:, None, 2:] - boxes[:, None, :2])
    seen = torch.randint(0, 3, (len(boxes), num, 1), generator=generator).float()
    points = torch.cat([places, seen], dim=2)
    points[:, 0] = F.pad(boxes[:, 2:], (0, 1), value=2.0)
    return points


def test_targets_are_torchvisions() -> None:
    boxes = _boxes(20)
    points = _points(boxes, 5)
    expected, valid = keypoints_to_heatmap(points, boxes, SIZE)
    found = keypoint_targets(points, boxes, size=SIZE)
    assert ((found >= 0) == (valid > 0)).all()
    assert (found[valid > 0] == expected[valid > 0]).all()
    assert 30 < int((valid > 0).sum()) < 90
    assert (found[:, 0] == SIZE**2 - 1).all()


def test_loss_is_torchvisions() -> None:
    boxes, logits = _boxes(12), torch.randn(12, 5, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    points = _points(boxes, 5)
    matched = [torch.arange(6), torch.arange(6)]
    expected = keypointrcnn_loss(logits, [boxes[:6], boxes[6:]], [points[:6], points[6:]], matched)
    targets = keypoint_targets(points, boxes, size=SIZE)
    weights = torch.full((12,), 1 / int((targets >= 0).sum()))
    torch.testing.assert_close(keypoint_loss(logits, targets, weights), expected)


def test_decoding_is_torchvisions() -> None:
    boxes, logits = _boxes(20), 3 * torch.randn(20, 5, SIZE, SIZE, generator=torch.Generator().manual_seed(3))
    expected, heights = heatmaps_to_keypoints(logits, boxes)
    found = decode_keypoints(logits, boxes)
    torch.testing.assert_close(found[..., :2], expected[..., :2], atol=1e-3, rtol=0)
    share = (heights - logits.flatten(2).logsumexp(2)).exp().clamp(max=1)
    torch.testing.assert_close(found[..., 2], share)
    assert decode_keypoints(logits[:0], boxes[:0]).shape == (0, 5, 3)


def test_a_peak_is_found_where_it_is() -> None:
    logits = torch.full((1, 2, 8, 8), -4.0)
    logits[0, 0, 2, 5] = logits[0, 1, 7, 0] = 6.0
    found = decode_keypoints(logits, torch.tensor([[100.0, 40.0, 180.0, 80.0]]))[0]
    assert (found[0, :2] - torch.tensor([155.0, 52.5])).abs().max() <= 1  # the cell is 10 x 5 pixels
    assert found[1, 0] < 110
    assert found[1, 1] > 75
    assert (found[:, 2] > 0.9).all()


def test_detectrons_border() -> None:
    """Its enlargement is a transposed convolution of a fixed kernel, which sees zeros beyond the map."""
    torch.manual_seed(0)
    head = KeypointHead(in_channels=4, channels=6, num_convs=2, num_keypoints=3, fades_at_border=True)
    x = torch.randn(2, 4, 7, 7)
    low = head.upsample(head.convs[1](head.convs[0](x)))
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    kernel = (line[:, None] * line).expand(3, 1, 4, 4)
    expected = F.conv_transpose2d(low, kernel, stride=2, padding=1, groups=3)
    torch.testing.assert_close(head([x]), expected)
    head.fades_at_border = False
    found = head([x])
    torch.testing.assert_close(found[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])
    assert found.shape == (2, 3, 28, 28)
    assert not torch.allclose(found[..., 0, :], expected[..., 0, :])


def _branch(**options: int | bool) -> KeypointBranch:
    torch.manual_seed(0)
    pooler = RoIPooler(levels=[0], strides=[4], output_size=7, sampling_ratio=2)
    head = KeypointHead(in_channels=8, channels=8, num_convs=1, num_keypoints=2)
    return KeypointBranch(pooler=pooler, head=head, num_keypoints=2, size=28, **options)


def _sample(points: list[list[list[float]]]) -> tuple[SampledRoIs, dict[str, torch.Tensor]]:
    boxes = torch.tensor([[4.0, 4.0, 20.0, 24.0], [8.0, 10.0, 30.0, 30.0]])[: len(points)]
    index = torch.arange(len(points))
    return SampledRoIs(boxes, index + 1, index), {"keypoints": torch.tensor(points).reshape(-1, 2, 3)}


FEATURES = OrderedDict({"2": torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(4))})
BOTH = [[[5.0, 5.0, 2.0], [10.0, 20.0, 1.0]], [[9.0, 11.0, 2.0], [1.0, 1.0, 2.0]]]  # the last lies outside
NONE = [[[5.0, 5.0, 0.0], [1.0, 1.0, 2.0]]]


def test_a_margin_narrows_the_frame_of_targets_and_of_what_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Detectron scales key points by x1 - x0 of corners that belong to the box: one less than its width here."""
    seen: list[torch.Tensor] = []

    def note(points: torch.Tensor, boxes: torch.Tensor, size: int) -> torch.Tensor:
        seen.append(boxes)
        return keypoint_targets(points, boxes, size=size)

    monkeypatch.setattr("fpt.modeling.roi_heads.keypoint_branch.keypoint_targets", note)
    monkeypatch.setattr("fpt.modeling.roi_heads.keypoint_branch.decode_keypoints", lambda logits, boxes: boxes)
    branch = _branch(margin=1.0)
    boxes = torch.tensor([[2.0, 3.0, 30.0, 43.0], [5.0, 5.0, 5.5, 20.0]])
    (frames,) = branch.predict(OrderedDict({"2": FEATURES["2"][:1]}), [boxes])
    assert frames[0].tolist() == [2, 3, 29, 42]
    assert frames[1].tolist() == pytest.approx([5, 5, 5.001, 19])
    sample = SampledRoIs(boxes, torch.ones(2, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))
    branch.loss(
        OrderedDict({"2": FEATURES["2"][:1]}), [sample], [{"keypoints": torch.tensor([[[29.0, 42.0, 2.0]] * 2])}]
    )
    assert torch.equal(seen[0], frames)


def test_the_loss_is_the_mean_over_images_or_over_the_batch() -> None:
    pairs = [_sample(BOTH), _sample(BOTH[:1])]

    def loss(chosen: list[int], **options: int | bool) -> float:
        features = OrderedDict({"2": FEATURES["2"][chosen]})
        return _branch(**options).loss(features, [pairs[i][0] for i in chosen], [pairs[i][1] for i in chosen]).item()

    first, second = loss([0]), loss([1])
    assert loss([0, 1]) == pytest.approx((first + second) / 2)
    assert loss([0, 1], over_batch=True) == pytest.approx((3 * first + 2 * second) / 5)
    assert loss([0, 1], points_per_image=10) == pytest.approx((3 * first + 2 * second) / 20)
    assert loss([0, 1], points_per_image=10, over_batch=True) == pytest.approx((3 * first + 2 * second) / 20)
    assert loss([1], loss_weight=3) == pytest.approx(3 * second)


@pytest.mark.parametrize("points", [NONE, []])
def test_no_annotated_point_is_a_loss_of_0_in_the_graph(points: list[list[list[float]]]) -> None:
    branch = _branch()
    sample, target = _sample(points)
    loss = branch.loss(OrderedDict({"2": FEATURES["2"][:1]}), [sample], [target])
    assert loss == 0
    loss.backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in branch.parameters())


def test_gradients_reach_every_parameter() -> None:
    branch = _branch()
    sample, target = _sample(BOTH)
    branch.loss(OrderedDict({"2": FEATURES["2"][:1]}), [sample], [target]).backward()
    assert all(parameter.grad.any() for parameter in branch.parameters())


def test_predictions_of_each_image() -> None:
    boxes = [torch.tensor([[4.0, 4.0, 20.0, 24.0]] * 3), torch.zeros(0, 4)]
    found = _branch().predict(FEATURES, boxes)
    assert [item.shape for item in found] == [(3, 2, 3), (0, 2, 3)]
    assert (found[0][..., 0] >= 4).all()
    assert (found[0][..., 1] <= 24).all()
