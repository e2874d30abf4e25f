"""Anchors against torchvision's."""

import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator as Reference
from torchvision.models.detection.image_list import ImageList

from fpt.modeling.rpn.anchors import AnchorGenerator


def test_one_cell_by_hand() -> None:
    generator = AnchorGenerator(sizes=[(8,)], aspect_ratios=[0.25, 1.0], strides=[4])
    (anchors,) = generator([(1, 2)])
    expected = [[-6.0, 0.0, 10.0, 4.0], [-2.0, -2.0, 6.0, 6.0], [-2.0, 0.0, 14.0, 4.0], [2.0, -2.0, 10.0, 6.0]]
    torch.testing.assert_close(anchors, torch.tensor(expected))


def test_equal_torchvisions_half_a_cell_on_and_not_rounded() -> None:
    sizes, strides, cells = (32, 64), (4, 8), [(6, 5), (3, 3)]
    ours = AnchorGenerator(sizes=[(size,) for size in sizes], aspect_ratios=(0.5, 1.0, 2.0), strides=strides)(cells)
    reference = Reference(tuple((size,) for size in sizes), ((0.5, 1.0, 2.0),) * 2)
    maps = [torch.zeros(1, 1, *cell) for cell in cells]
    images = ImageList(torch.zeros(1, 3, 24, 24), [(24, 20)])
    theirs = reference(images, maps)[0].split([len(level) for level in ours])
    for level, other, stride in zip(ours, theirs, strides, strict=True):
        torch.testing.assert_close(level, other + stride / 2, atol=0.51, rtol=0)


def test_several_sizes_a_cell_stand_in_torchvisions_order() -> None:
    ours = AnchorGenerator(sizes=[(32, 64, 128)], aspect_ratios=(0.5, 1.0), strides=[16])
    reference = Reference(((32, 64, 128),), ((0.5, 1.0),))
    assert ours.num_anchors == 6
    torch.testing.assert_close(ours.cells[0], reference.cell_anchors[0], atol=0.51, rtol=0)
