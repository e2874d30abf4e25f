"""Drawings of detections: boxes, masks, key points, names and scores."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np

from fpt.structures.detections import Detections
from fpt.structures.paste import decode_mask
from fpt.visualization.colours import WHITE, Colour, colour_of
from fpt.visualization.keypoints import CERTAIN, SEEN, Skeleton, draw_keypoints
from fpt.visualization.labels import Coverage, Rectangle, TextStyle, draw_tag, draw_title, find_place
from fpt.visualization.tint import draw_mask

ColourBy = Literal["class", "object"]

_MIN_LONGER_SIDE = 720
_MAX_TAG_SHARE, _MAX_SHARE_OF_FEW, _FEW = 0.12, 0.3, 20  # of the image's area; up to so many tags are few


def draw_detections(
    image: np.ndarray,
    detections: Detections,
    class_names: Sequence[str],
    *,
    score_threshold: float = 0.5,
    with_scores: bool = True,
    mask_opacity: float = 0.45,
    colour_by: ColourBy = "class",
    skeleton: Skeleton = (),
    is_truth: bool = False,
) -> np.ndarray:
    """The image with its detections, coloured, named and scored.

    A class has the same colour in every image. Small images are enlarged, so that names can be read; lines and letters
    follow the size of the image, and thin lines surround small objects. Tags stand where they cover least, inside of
    the image. Where there are so many detections that their tags would hide the image, a legend below counts them by
    class instead.

    Args:
        image: uint8 [H, W, 3] RGB; stays as it is.
        detections: in the pixels of `image`.
        class_names: label i + 1 is class_names[i].
        score_threshold: detections with a lower score are not drawn.
        with_scores: write the score in percent behind the name.
        mask_opacity: 0..1.
        colour_by: "class", or "object" for a colour of its own for each one.
        skeleton: pairs of key points, from 0, that are connected.
        is_truth: key points have a visibility: those that are covered are drawn as rings. Of found ones, those are that
            the model is not certain of.

    Returns:
        uint8 [H', W', 3] RGB.

    Raises:
        ValueError: when the detections belong to an image of another size.
    """
    if image.shape[:2] != tuple(detections.size_hw):
        raise ValueError(f"the image is {image.shape[:2]}, its detections are for {detections.size_hw}")
    scale = max(_MIN_LONGER_SIDE / max(image.shape[:2]), 1.0)
    canvas = _enlarge(image, scale)
    shown = detections.above(score_threshold)
    labels = shown.labels.tolist()
    boxes = [_to_rectangle(box, scale, canvas.shape) for box in shown.boxes]
    colours = [colour_of(index if colour_by == "object" else label - 1) for index, label in enumerate(labels)]
    coverage = Coverage((canvas.shape[0], canvas.shape[1]))
    # Large ones first: small ones then lie on top of them.
    for index in np.argsort([-box.area() for box in boxes], kind="stable"):
        mask = None if shown.rles is None else decode_mask(shown.rles[index])
        _draw_object(canvas, boxes[index], mask, colours[index], mask_opacity, coverage)
        if shown.keypoints is not None:
            certain = SEEN if is_truth else CERTAIN
            draw_keypoints(canvas, shown.keypoints[index], skeleton, colours[index], scale=scale, certain=certain)
    style = _text_style(canvas.shape)
    scores = [f" {round(100 * score)}%" if with_scores else "" for score in shown.scores.tolist()]
    texts = [f"{_name_of(label, class_names)}{score}" for label, score in zip(labels, scores, strict=True)]
    if _tag_share(texts, style, canvas.shape) > (_MAX_SHARE_OF_FEW if len(texts) <= _FEW else _MAX_TAG_SHARE):
        is_keyed = colour_by == "class"
        return np.vstack([canvas, _draw_legend(shown.labels, class_names, canvas.shape[1], style, is_keyed=is_keyed)])
    _draw_tags(canvas, texts, boxes, colours, style, coverage)
    return canvas


def draw_side_by_side(
    image: np.ndarray,
    found: Detections,
    truth: Detections,
    class_names: Sequence[str],
    *,
    score_threshold: float = 0.5,
    colour_by: ColourBy = "class",
    skeleton: Skeleton = (),
) -> np.ndarray:
    """Detections on the left, ground truth on the right, each under its title: uint8 RGB."""
    left = draw_detections(
        image, found, class_names, score_threshold=score_threshold, colour_by=colour_by, skeleton=skeleton
    )
    right = draw_detections(
        image,
        truth,
        class_names,
        score_threshold=0.0,
        with_scores=False,
        colour_by=colour_by,
        skeleton=skeleton,
        is_truth=True,
    )
    left, right = _to_same_height(left, right)
    gap = np.full((left.shape[0], max(left.shape[1] // 80, 4), 3), 255, np.uint8)
    canvas = np.hstack([left, gap, right])
    style = TextStyle(max(round(left.shape[0] / 40), 10))
    strip = np.full((style.size_of("A")[1] + 4, canvas.shape[1], 3), 255, np.uint8)
    for title, x in (("found", 0), ("ground truth", left.shape[1] + gap.shape[1])):
        draw_title(strip, title, x, left.shape[1], style)
    return np.vstack([strip, canvas])


def detections_to_json(detections: Detections, class_names: Sequence[str]) -> dict[str, Any]:
    """Detections as plain values for a json file: boxes and key points in pixels, masks as COCO's compressed RLE."""
    items = []
    for index, (box, label, score) in enumerate(
        zip(detections.boxes.tolist(), detections.labels.tolist(), detections.scores.tolist(), strict=True)
    ):
        item: dict[str, Any] = {
            "class": _name_of(label, class_names),
            "label": label,
            "score": round(score, 5),
            "box_xyxy": [round(value, 2) for value in box],
        }
        if detections.rles is not None:
            item["mask_rle"] = detections.rles[index]
        if detections.keypoints is not None:
            item["keypoints"] = [
                [round(x, 2), round(y, 2), round(s, 4)] for x, y, s in detections.keypoints[index].tolist()
            ]
        items.append(item)
    height, width = detections.size_hw
    return {"image_id": detections.image_id, "height": height, "width": width, "detections": items}


def _name_of(label: int, class_names: Sequence[str]) -> str:
    return class_names[label - 1] if 1 <= label <= len(class_names) else f"class {label}"


def _enlarge(image: np.ndarray, scale: float) -> np.ndarray:
    if scale == 1.0:
        return np.ascontiguousarray(image).copy()
    size_wh = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return cv2.resize(np.ascontiguousarray(image), size_wh, interpolation=cv2.INTER_CUBIC)


def _to_rectangle(box: np.ndarray, scale: float, shape: tuple[int, ...]) -> Rectangle:
    """The box in whole pixels of the enlarged image, inside of it, at least one pixel wide."""
    height, width = shape[:2]
    x1, y1, x2, y2 = np.nan_to_num(np.asarray(box, dtype=np.float64) * scale, nan=0.0, posinf=width, neginf=0.0)
    left, top = int(np.clip(x1, 0, width - 1)), int(np.clip(y1, 0, height - 1))
    return Rectangle(left, top, int(np.clip(round(x2), left + 1, width)), int(np.clip(round(y2), top + 1, height)))


def _size_of(shape: tuple[int, ...]) -> float:
    """Side in pixels of the square with the area of an image."""
    return math.sqrt(shape[0] * shape[1])


def _line_width(shape: tuple[int, ...], box: Rectangle) -> int:
    """In pixels: the size of the image decides, for small objects their own."""
    return max(round(min(_size_of(shape) / 360, math.sqrt(box.area()) / 24)), 1)


def _draw_object(
    canvas: np.ndarray,
    box: Rectangle,
    mask: np.ndarray | None,
    colour: Colour,
    opacity: float,
    coverage: Coverage,
) -> None:
    """Draw mask and box in place, and enter the object into `coverage`."""
    width = _line_width(canvas.shape, box)
    filled = None if mask is None else draw_mask(canvas, mask, colour, opacity=opacity, line_width=width)
    coverage.add(*(filled or (box, None)))
    corners = (box.left, box.top), (box.right - 1, box.bottom - 1)
    cv2.rectangle(canvas, *corners, colour, width if mask is None else max(width // 2, 1), cv2.LINE_AA)


def _text_style(shape: tuple[int, ...]) -> TextStyle:
    """Letters follow the size of the image; in a narrow one they are no higher than a quarter of it."""
    height = min(max(_size_of(shape) / 48, 9), 0.25 * min(shape[:2]))
    return TextStyle(max(round(height), 4))


def _tag_share(texts: Sequence[str], style: TextStyle, shape: tuple[int, ...]) -> float:
    """Area of all tags over that of the image."""
    return sum(math.prod(style.size_of(text)) for text in texts) / math.prod(shape[:2])


def _draw_tags(
    canvas: np.ndarray,
    texts: Sequence[str],
    boxes: Sequence[Rectangle],
    colours: Sequence[Colour],
    style: TextStyle,
    coverage: Coverage,
) -> None:
    """Best detections first: what is left out for lack of room are tags of the worst."""
    taken: list[Rectangle] = []
    size_hw = (canvas.shape[0], canvas.shape[1])
    for text, box, colour in zip(texts, boxes, colours, strict=True):
        shown = style.fit(text, size_hw[1])
        tag_wh = tuple(min(pair) for pair in zip(style.size_of(shown), size_hw[::-1], strict=True))
        place = find_place((tag_wh[0], tag_wh[1]), box, taken, coverage, size_hw)
        if place is not None:
            taken.append(place)
            draw_tag(canvas, shown, place, colour, style)


def _draw_legend(
    labels: np.ndarray, class_names: Sequence[str], width: int, style: TextStyle, *, is_keyed: bool
) -> np.ndarray:
    """How many there are of each class, most first, as a strip of lines of tags: uint8 [h, width, 3].

    Where it `is_keyed`, each tag has the colour of its class.
    """
    counts = Counter(labels.tolist()).most_common()
    gap, height = style.padding, style.size_of("A")[1]
    places: list[Rectangle] = []
    texts = [style.fit(f"{count} {_name_of(label, class_names)}", width - 2 * gap) for label, count in counts]
    x = y = gap
    for text in texts:
        tag_width = style.size_of(text)[0]
        if x + tag_width > width and x > gap:
            x, y = gap, y + height + gap
        places.append(Rectangle(x, y, min(x + tag_width, width), y + height))
        x += tag_width + gap
    strip = np.full((y + height + gap, width, 3), 255, np.uint8)
    for text, place, (label, _) in zip(texts, places, counts, strict=True):
        draw_tag(strip, text, place, colour_of(label - 1) if is_keyed else WHITE, style)
    return strip


def _to_same_height(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fill up the lower one with white (one of them may have a legend)."""
    height = max(left.shape[0], right.shape[0])
    pads = [np.full((height - side.shape[0], side.shape[1], 3), 255, np.uint8) for side in (left, right)]
    return np.vstack([left, pads[0]]), np.vstack([right, pads[1]])
