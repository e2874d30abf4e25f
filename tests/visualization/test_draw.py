"""Images of detections."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fpt.structures.detections import Detections
from fpt.structures.paste import encode_patch
from fpt.visualization import draw
from fpt.visualization.draw import detections_to_json, draw_detections, draw_side_by_side
from fpt.visualization.labels import Rectangle, TextStyle
from fpt.visualization.tint import draw_mask

NAMES = ("cat", "a rather long class name")


def _grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def _found(size_hw: tuple[int, int], boxes: list[list[float]], *, with_masks: bool = True) -> Detections:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    rles = []
    for x1, y1, x2, y2 in np.nan_to_num(array).clip(0, min(size_hw)).astype(int).tolist():
        rles.append(encode_patch(np.ones((max(y2 - y1, 0), max(x2 - x1, 0)), bool), x1, y1, size_hw))
    labels = np.arange(len(array), dtype=np.int64) % 2 + 1
    scores = np.linspace(0.95, 0.55, len(array)).astype(np.float32)
    return Detections(1, size_hw, array, labels, scores, rles if with_masks else None)


def test_large_images_keep_their_size_and_small_ones_grow() -> None:
    assert draw_detections(_grey(800, 600), Detections.empty(1, (800, 600)), NAMES).shape == (800, 600, 3)
    assert draw_detections(_grey(96, 128), Detections.empty(1, (96, 128)), NAMES).shape == (540, 720, 3)


def test_the_input_stays_and_the_mask_is_tinted() -> None:
    image = _grey(800, 800)
    drawing = draw_detections(image, _found((800, 800), [[200, 200, 400, 400]]), NAMES)
    assert (image == 128).all()
    assert drawing.dtype == np.uint8
    assert (drawing[300, 300] != 128).any()
    assert (drawing[600, 600] == 128).all()


def test_boxes_alone() -> None:
    drawing = draw_detections(_grey(800, 800), _found((800, 800), [[200, 200, 400, 400]], with_masks=False), NAMES)
    assert (drawing[300, 300] == 128).all()
    assert (drawing[300, 200] != 128).any()


def test_the_threshold_hides_detections() -> None:
    found = _found((800, 800), [[200, 200, 400, 400]])
    assert (draw_detections(_grey(800, 800), found, NAMES, score_threshold=0.99) == 128).all()


@pytest.mark.parametrize("size_hw", [(1, 1), (7, 300), (1500, 900), (64, 64)])
def test_odd_sizes_and_odd_boxes(size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    boxes = [[0, 0, width, height], [-50, -50, 2, 2], [width, height, width + 9, height + 9], [3, 3, 3, 3]]
    boxes.append([float("nan"), 0, float("inf"), 5])
    drawing = draw_detections(_grey(*size_hw), _found(size_hw, boxes), NAMES)
    assert drawing.shape[1] >= width


def test_a_crowd_gets_a_legend_instead_of_tags() -> None:
    corners = [(x, y) for x in range(0, 300, 20) for y in range(0, 300, 20)]
    found = _found((300, 300), [[x, y, x + 15, y + 15] for x, y in corners])
    drawing = draw_detections(_grey(300, 300), found, NAMES, with_scores=False)
    assert drawing.shape[0] > 720
    few = draw_detections(_grey(300, 300), found.select(np.arange(2)), NAMES)
    assert few.shape[0] == 720


@pytest.mark.parametrize("size_hw", [(1000, 16), (2000, 20), (700, 12), (300, 1), (1, 300)])
def test_strips_side_by_side(size_hw: tuple[int, int]) -> None:
    nothing = Detections.empty(1, size_hw)
    drawing = draw_side_by_side(_grey(*size_hw), nothing, nothing, NAMES)
    assert drawing.shape[1] >= 2 * size_hw[1]


def test_side_by_side_with_a_legend_on_one_side() -> None:
    many = _found((300, 300), [[x, y, x + 15, y + 15] for x in range(0, 300, 20) for y in range(0, 300, 20)])
    drawing = draw_side_by_side(_grey(300, 300), many, Detections.empty(1, (300, 300)), NAMES)
    assert drawing.shape[1] > 1440


def test_another_image_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"the image is \(5, 5\), its detections are for \(4, 4\)"):
        draw_detections(_grey(5, 5), Detections.empty(1, (4, 4)), NAMES)


def test_json_has_names_and_plain_values() -> None:
    content = json.loads(json.dumps(detections_to_json(_found((40, 50), [[1, 2, 11.25, 22]]), NAMES)))
    assert (content["height"], content["width"]) == (40, 50)
    (item,) = content["detections"]
    assert (item["class"], item["label"], item["box_xyxy"]) == ("cat", 1, [1.0, 2.0, 11.25, 22.0])
    assert item["score"] == pytest.approx(0.95)
    assert item["mask_rle"]["size"] == [40, 50]
    assert detections_to_json(Detections.empty(1, (4, 4)), NAMES)["detections"] == []
    assert "mask_rle" not in detections_to_json(_found((9, 9), [[0, 0, 1, 1]], with_masks=False), ())["detections"][0]


def test_a_class_has_its_colour_in_every_image_and_objects_on_request() -> None:
    boxes = [[100.0, 100, 300, 300], [400, 100, 600, 300], [100, 400, 300, 600]]
    found = _found((800, 800), boxes)  # classes 1, 2, 1
    first = draw_detections(_grey(800, 800), found, NAMES)
    again = draw_detections(_grey(800, 800), found.select(np.array([2])), NAMES)
    assert first[200, 200].tolist() == first[500, 200].tolist() == again[500, 200].tolist()
    assert first[200, 200].tolist() != first[200, 500].tolist()
    by_object = draw_detections(_grey(800, 800), found, NAMES, colour_by="object")
    assert by_object[200, 200].tolist() != by_object[500, 200].tolist()


def _outline_width(size: int) -> int:
    """Pixels of a box's left line, halfway down, in an image of size x size."""
    found = _found((size, size), [[0.2 * size, 0.2 * size, 0.8 * size, 0.8 * size]], with_masks=False)
    drawing = draw_detections(_grey(size, size), found, NAMES)
    row = drawing[max(size, 720) // 2]
    left_half = row[: len(row) // 2].astype(int)
    return int((abs(left_half - 128).max(axis=1) > 60).sum())


def test_lines_scale_with_the_image() -> None:
    assert _outline_width(60) in (2, 3)  # of the 720 pixels that it is enlarged to
    assert _outline_width(720) == _outline_width(60)
    assert 15 <= _outline_width(6000) <= 20


@pytest.mark.parametrize("size_hw", [(900, 60), (60, 900), (900, 20), (720, 720)])
def test_no_tag_is_cut(size_hw: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    tags: list[tuple[str, Rectangle, TextStyle]] = []
    monkeypatch.setattr(draw, "draw_tag", lambda canvas, text, place, colour, style: tags.append((text, place, style)))
    rng, (height, width) = np.random.default_rng(0), size_hw
    corners = rng.uniform(0, 0.9, (6, 2)) * (width, height)
    boxes = np.hstack([corners, corners + rng.uniform(5, 40, (6, 2))]).tolist()
    draw_detections(_grey(*size_hw), _found(size_hw, boxes, with_masks=False), NAMES)
    assert tags
    for text, place, style in tags:
        assert 0 <= place.left < place.right <= width
        assert 0 <= place.top < place.bottom <= height
        assert style.size_of(text)[0] <= place.right - place.left


def test_few_objects_keep_their_tags_whatever_their_names() -> None:
    boxes = [
        [100.0 + 560 * (i % 5), 100 + 600 * (i // 5), 300 + 560 * (i % 5), 300 + 600 * (i // 5)] for i in range(15)
    ]
    found = _found((2000, 3000), boxes, with_masks=False)
    assert draw_detections(_grey(2000, 3000), found, NAMES[1:] * 2).shape == (2000, 3000, 3)  # no legend below


def test_a_tiny_island_has_no_outline_and_a_small_object_a_thin_one() -> None:
    canvas = np.zeros((400, 400, 3), np.uint8)
    mask = np.zeros((400, 400), bool)
    mask[50:250, 50:250] = True
    mask[300:306, 300:306] = True
    draw_mask(canvas, mask, (200, 100, 50), opacity=0.5, line_width=6)
    assert canvas[150, 50].tolist() == [200, 100, 50]
    island = canvas[290:320, 290:320].reshape(-1, 3)
    assert set(map(tuple, island.tolist())) == {(0, 0, 0), (100, 50, 25)}  # the tint alone
    small = np.zeros((400, 400), bool)
    small[100:130, 100:130] = True
    thin = np.zeros((400, 400, 3), np.uint8)
    draw_mask(thin, small, (200, 100, 50), opacity=0.5, line_width=6)
    assert (thin[115, 85:108].max(axis=1) > 150).sum() <= 3
    assert draw_mask(thin, np.zeros((400, 400), bool), (1, 1, 1), opacity=0.5, line_width=1) is None
