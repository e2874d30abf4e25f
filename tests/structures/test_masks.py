"""Masks in the frame of a box."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from fpt.structures.masks import compress_rle, rasterize_polygons, rasterize_rle


def test_rectangle_by_hand():
    box = np.array([10.0, 20.0, 30.0, 60.0])
    left_half = np.array([[10, 20], [20, 20], [20, 60], [10, 60]])
    mask = rasterize_polygons([left_half], box, 8)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, np.repeat([[1, 1, 1, 1, 0, 0, 0, 0]], 8, axis=0))


def test_parts_are_united_and_the_frame_cuts():
    box = np.array([0.0, 0.0, 8.0, 8.0])
    lower = np.array([[-5, 6], [20, 6], [20, 30], [-5, 30]])
    overlapping = [np.array([[0, 0], [4, 0], [4, 8], [0, 8]]), lower]
    mask = rasterize_polygons(overlapping, box, 8)
    expected = np.zeros((8, 8), np.uint8)
    expected[:, :4] = 1
    expected[6:] = 1
    assert np.array_equal(mask, expected)


def test_no_polygon_is_an_empty_mask():
    assert not rasterize_polygons([], np.array([0, 0, 1, 1]), 4).any()


def test_mask_does_not_depend_on_scale():
    rng = np.random.default_rng(0)
    points = rng.random((12, 2)) * 50
    box = np.array([0.0, 0.0, 50.0, 50.0])
    for factor in (0.01, 0.5, 20):
        assert np.array_equal(
            rasterize_polygons([points], box, 112), rasterize_polygons([points * factor], box * factor, 112)
        )


def test_polygons_of_photos_are_drawn_without_bias(shared_data: Path):
    """Against a drawing nine times as fine, sampled at the cells' centres."""
    content = json.loads((shared_data / "coco" / "annotations" / "instances_val2017.json").read_text())
    size, factor = 112, 9
    ious, area, expected_area = [], 0, 0
    for entry in content["annotations"]:
        if isinstance(entry["segmentation"], dict):
            continue
        x, y, w, h = entry["bbox"]
        polygons = [np.array(part).reshape(-1, 2) for part in entry["segmentation"]]
        mask = rasterize_polygons(polygons, np.array([x, y, x + w, y + h]), size)
        side = size * factor
        fine = [((points - (x, y)) * (side / w, side / h)).ravel() for points in polygons]
        expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(fine, side, side)))[4::factor, 4::factor]
        ious.append((mask & expected).sum() / (mask | expected).sum())
        area, expected_area = area + mask.sum(), expected_area + expected.sum()
    assert len(ious) > 100
    assert np.mean(ious) > 0.99
    assert abs(area / expected_area - 1) < 0.005


def _ellipse(h: int, w: int) -> np.ndarray:
    rows, columns = np.mgrid[:h, :w]
    return (((rows - 20) / 12) ** 2 + ((columns - 30) / 25) ** 2 < 1).astype(np.uint8)


def test_rle_takes_the_pixel_under_each_centre():
    mask = _ellipse(40, 64)
    rle = coco_mask.encode(np.asfortranarray(mask))
    assert np.array_equal(rasterize_rle(rle, np.array([5, 4, 45, 44]), 40)[:36], mask[4:40, 5:45])
    assert not rasterize_rle(rle, np.array([5, 4, 45, 44]), 40)[36:].any()
    doubled = rasterize_rle(rle, np.array([5, 4, 25, 24]), 40)
    assert np.array_equal(doubled, mask[4:24, 5:25].repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("as_text", [True, False])
def test_runs_that_are_looked_up_are_the_decoded_mask(as_text: bool):
    generator = np.random.default_rng(0)
    for density in (0.0, 0.1, 0.5, 1.0):
        mask = np.asfortranarray((generator.random((37, 53)) < density).astype(np.uint8))
        rle = coco_mask.encode(mask)
        if as_text:
            rle["counts"] = rle["counts"].decode("ascii")
        assert np.array_equal(rasterize_rle(rle, np.array([0, 0, 53, 37]), 111), _sampled(mask, 111))


def _sampled(mask: np.ndarray, size: int) -> np.ndarray:
    rows, columns = (np.floor((np.arange(size) + 0.5) / size * side).astype(int) for side in mask.shape)
    return mask[np.ix_(rows, columns)]


def test_all_forms_of_rle_give_the_same_counts():
    mask = _ellipse(40, 64)
    compressed = coco_mask.encode(np.asfortranarray(mask))
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    assert compress_rle(compressed) == compressed["counts"]
    assert compress_rle({"size": [40, 64], "counts": compressed["counts"].decode()}) == compressed["counts"]
    assert compress_rle({"size": [40, 64], "counts": runs}) == compressed["counts"]


def test_real_rle_is_accepted(shared_data: Path):
    content = json.loads((shared_data / "nuclei" / "annotations" / "val.json").read_text())
    for entry in content["annotations"][:300]:
        rle = entry["segmentation"]
        assert compress_rle(rle) == rle["counts"].encode()


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([10, 10], "cover 20 pixels, not 5 x 5"),
        ([30, -5], "whole numbers from 0"),
        ([12.5, 12.5], "whole numbers from 0"),
        ([[25]], "whole numbers from 0"),
        ("", "no compressed run lengths"),
        ("\x7f", "no compressed run lengths"),
        ("o" * 30, "no compressed run lengths"),
        ("9", "cover 9 pixels"),
    ],
)
def test_malformed_rle(counts, message: str):
    with pytest.raises(ValueError, match=message):
        compress_rle({"size": [5, 5], "counts": counts})
