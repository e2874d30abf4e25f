"""Sizes, resizing and mirroring."""

from __future__ import annotations

import numpy as np
import pytest

from fpt.dataloaders.transforms import ResizeAndFlip, flip_boxes, resize_image, resized_size_hw


@pytest.mark.parametrize(
    ("size_hw", "expected"),
    [((480, 640), (800, 1067)), ((640, 480), (1067, 800)), ((400, 1200), (444, 1333)), ((1, 5000), (1, 1333))],
)
def test_shorter_side_unless_the_longer_gets_too_long(size_hw, expected):
    assert resized_size_hw(size_hw, short_side=800, max_size=1333) == expected


@pytest.mark.parametrize("size_hw", [(20, 30), (60, 90), (7, 9), (40, 60)])
def test_resize_keeps_a_ramp(size_hw):
    ramp = np.linspace(0, 255, 60)[None, :, None].repeat(40, 0).repeat(3, 2).astype(np.uint8)
    resized = resize_image(ramp, size_hw)
    assert resized.shape == (*size_hw, 3)
    columns = (np.arange(size_hw[1]) + 0.5) / size_hw[1] * 60 - 0.5
    assert np.abs(resized[0, :, 0] - columns.clip(0, 59) / 59 * 255).max() < 3


def test_shrinking_far_averages():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::4] = 255
    assert np.abs(resize_image(stripes, (16, 16)).astype(int) - 64).max() <= 1


def test_drawn_sizes_and_mirroring():
    transform = ResizeAndFlip((100, 200, 300), 1000, 0.5)
    drawn = [transform.draw((50, 50), seed) for seed in range(600)]
    sides, counts = np.unique([size_hw[0] for size_hw, _ in drawn], return_counts=True)
    assert sides.tolist() == [100, 200, 300]
    assert counts.min() > 160
    assert 250 < sum(is_flipped for _, is_flipped in drawn) < 350
    assert transform.draw((50, 50), None) == ((100, 100), False)
    assert not any(ResizeAndFlip((100,), 1000).draw((50, 50), seed)[1] for seed in range(20))


def test_flip_boxes_by_hand():
    boxes = np.array([[1, 2, 4, 6]], np.float32)
    assert flip_boxes(boxes, 10).tolist() == [[6, 2, 9, 6]]
    assert flip_boxes(np.zeros((0, 4), np.float32), 10).shape == (0, 4)
