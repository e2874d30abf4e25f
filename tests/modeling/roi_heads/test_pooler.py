"""RoI features from several levels, against torchvision's."""

from collections import OrderedDict

import torch
from torchvision.ops import roi_align
from torchvision.ops.poolers import LevelMapper

from fpt.modeling.roi_heads.pooler import RoIPooler, assign_levels

LEVELS = ("res2", "res3", "res4", "res5")


def _boxes(count: int, scale: float = 300.0) -> torch.Tensor:
    corner = torch.rand(count, 2) * 100
    return torch.cat([corner, corner + torch.rand(count, 2) ** 3 * scale + 1], dim=1)


def _maps(num_images: int) -> OrderedDict[str, torch.Tensor]:
    return OrderedDict((name, torch.randn(num_images, 6, 64 >> i, 96 >> i)) for i, name in enumerate(LEVELS))


def test_levels_equal_torchvisions() -> None:
    torch.manual_seed(0)
    boxes = _boxes(300, 1500.0)
    ours = assign_levels(boxes, low=2, high=5, canonical_scale=224, canonical_level=4)
    assert ours.tolist() == (LevelMapper(2, 5)([boxes]) + 2).tolist()
    assert set(ours.tolist()) == {2, 3, 4, 5}


def test_levels_by_hand() -> None:
    boxes = torch.tensor([[0, 0, side, side] for side in (1.0, 111.0, 112.0, 224.0, 448.0, 9000.0)])
    levels = assign_levels(boxes, low=2, high=5, canonical_scale=224, canonical_level=4)
    assert levels.tolist() == [2, 2, 3, 4, 5, 5]


def test_each_roi_is_pooled_from_its_level_in_order() -> None:
    torch.manual_seed(0)
    maps, boxes = _maps(2), [_boxes(9), _boxes(5)]
    pooler = RoIPooler(levels=range(4), strides=(4, 8, 16, 32), output_size=3)
    (pooled,) = pooler(maps, boxes)
    assert pooled.shape == (14, 6, 3, 3)
    flat = torch.cat(boxes)
    levels = assign_levels(flat, low=2, high=5, canonical_scale=224, canonical_level=4)
    for row, (box, level) in enumerate(zip(flat, levels.tolist(), strict=True)):
        roi = torch.cat([torch.tensor([0.0 if row < 9 else 1.0]), box])[None]
        expected = roi_align(maps[f"res{level}"], roi, 3, 1 / 2**level, 2, True)
        torch.testing.assert_close(pooled[row : row + 1], expected, atol=1e-4, rtol=1e-4)


def test_adaptive_pooling_reads_every_level() -> None:
    maps, boxes = _maps(1), [_boxes(4)]
    pooler = RoIPooler(levels=range(4), strides=(4, 8, 16, 32), output_size=2, is_adaptive=True)
    pooled = pooler(maps, boxes)
    assert pooler.num_outputs == len(pooled) == 4
    assert {x.shape for x in pooled} == {(4, 6, 2, 2)}
    rois = torch.cat([torch.zeros(4, 1), boxes[0]], dim=1)
    torch.testing.assert_close(pooled[3], roi_align(maps["res5"], rois, 2, 1 / 32, 2, True), atol=1e-4, rtol=1e-4)


def test_no_rois() -> None:
    pooler = RoIPooler(levels=range(4), strides=(4, 8, 16, 32), output_size=3)
    assert pooler(_maps(2), [torch.zeros(0, 4)] * 2)[0].shape == (0, 6, 3, 3)
