"""Masks pasted from the frame of their boxes into the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from fpt.structures.paste import decode_mask, encode_masks, encode_patch, paste_masks, paste_patch


def test_values_under_a_whole_box_are_bilinear() -> None:
    mask = np.array([[0.0, 1.0], [0.0, 1.0]], np.float32)
    patch, x, y = paste_patch(mask, np.array([1.0, 0.0, 5.0, 2.0]), (4, 8))
    assert (x, y, patch.shape) == (1, 0, (2, 4))
    # Cell centres are at 2 and 4; pixel centres at 1.5, 2.5, 3.5, 4.5; beyond the last centre it falls to zero.
    assert np.allclose(patch, [[0.0, 0.25, 0.75, 0.75]] * 2)


def test_same_values_as_grid_sample() -> None:
    rng = np.random.default_rng(0)
    height, width = 37, 53
    for _ in range(20):
        mask = rng.random((28, 28), dtype=np.float32)
        x1, y1 = rng.uniform(-10, 40), rng.uniform(-10, 30)
        x2, y2 = x1 + rng.uniform(0.5, 50), y1 + rng.uniform(0.5, 50)
        columns = (torch.arange(width) + 0.5 - x1) / (x2 - x1) * 2 - 1
        rows = (torch.arange(height) + 0.5 - y1) / (y2 - y1) * 2 - 1
        grid = torch.stack([columns[None].expand(height, -1), rows[:, None].expand(-1, width)], -1)
        sampled = torch.nn.functional.grid_sample(
            torch.from_numpy(mask)[None, None], grid[None].float(), align_corners=False
        )[0, 0].numpy()
        patch, x, y = paste_patch(mask, np.array([x1, y1, x2, y2]), (height, width))
        part = sampled[y : y + patch.shape[0], x : x + patch.shape[1]]
        assert np.allclose(patch, part, atol=2e-4)
        pasted = next(paste_masks(mask[None], np.array([[x1, y1, x2, y2]]), (height, width), 0.6))
        assert (pasted != (sampled >= 0.6)).mean() < 0.01


def test_a_full_mask_fills_its_box() -> None:
    (image,) = paste_masks(np.ones((1, 28, 28)), np.array([[2.0, 1.0, 6.0, 4.0]]), (6, 9))
    expected = np.zeros((6, 9), bool)
    expected[1:4, 2:6] = True
    assert (image == expected).all()


@pytest.mark.parametrize(
    "box",
    [(3, 3, 3, 5), (5, 5, 2, 2), (np.nan, 0, 1, 1), (0, 0, np.inf, 4), (50, 0, 60, 4), (-9, -9, -2, -2), (0, 0, 0, 0)],
)
def test_an_empty_box_gives_an_empty_mask(box: tuple[float, ...]) -> None:
    boxes = np.array([box], np.float32)
    assert not next(paste_masks(np.ones((1, 4, 4)), boxes, (6, 9))).any()
    (rle,) = encode_masks(np.ones((1, 4, 4)), boxes, (6, 9))
    assert coco_mask.area({**rle, "counts": rle["counts"].encode()}) == 0


def test_no_masks() -> None:
    assert encode_masks(np.zeros((0, 28, 28)), np.zeros((0, 4)), (6, 9)) == []
    assert list(paste_masks(np.zeros((0, 28, 28)), np.zeros((0, 4)), (6, 9))) == []


def test_runs_equal_those_of_pycocotools() -> None:
    rng = np.random.default_rng(1)
    for density in (0.0, 0.1, 0.5, 0.9, 1.0):
        for size_hw, x, y, (h, w) in (((7, 5), 0, 0, (7, 5)), ((9, 8), 2, 1, (4, 5)), ((6, 6), 1, 0, (6, 3))):
            patch = rng.random((h, w)) < density
            image = np.zeros(size_hw, np.uint8)
            image[y : y + h, x : x + w] = patch
            expected = coco_mask.encode(np.asfortranarray(image))
            rle = encode_patch(patch, x, y, size_hw)
            assert rle == {"size": list(size_hw), "counts": expected["counts"].decode()}
            assert (decode_mask(rle) == image).all()


def test_encoded_masks_are_the_pasted_ones() -> None:
    rng = np.random.default_rng(2)
    masks = rng.random((30, 14, 14))
    corners = rng.uniform(-5, 60, (30, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 50, (30, 2))], axis=1)
    for rle, image in zip(encode_masks(masks, boxes, (48, 64)), paste_masks(masks, boxes, (48, 64)), strict=True):
        assert (decode_mask(rle) == image).all()
