"""Images of detections: boxes, masks, names and scores."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from fpt.structures.detections import Detections
from fpt.structures.paste import decode_mask
from fpt.visualization.colours import WHITE, Colour, colour_of
from fpt.visualization.labels import Rectangle, TextStyle, draw_tag, find_place

_MIN_LONGER_SIDE = 720
_MAX_TAG_SHARE = 0.12


def draw_detections(
    image: np.ndarray,
    detections: Detections,
    class_names: Sequence[str],
    *,
    score_threshold: float = 0.5,
    with_scores: bool = True,
    mask_opacity: float = 0.45,
) -> np.ndarray:
    """The image with its detections, a colour each, named and scored.

    Small images are enlarged, so that names can be read; lines and letters follow the size. Where there are so many
    detections that their tags would hide the image, a legend below counts them by class instead, and the colour tells
    the class (with a single class, still the object).

    Args:
        image: uint8 [H, W, 3] RGB; stays as it is.
        detections: in the pixels of `image`.
        class_names: label i + 1 is class_names[i].
        score_threshold: detections with a lower score are not drawn.
        with_scores: write the score in percent behind the name.
        mask_opacity: 0..1.

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
    boxes = [_to_rectangle(box, scale, canvas.shape) for box in shown.boxes]
    texts = [
        f"{_name_of(label, class_names)} {round(100 * score)}%" if with_scores else _name_of(label, class_names)
        for label, score in zip(shown.labels.tolist(), shown.scores.tolist(), strict=True)
    ]
    style = _text_style(canvas.shape)
    is_crowded = _tag_share(texts, style, canvas.shape) > _MAX_TAG_SHARE
    by_class = is_crowded and len(set(shown.labels.tolist())) > 1
    colours = [colour_of(label - 1 if by_class else index) for index, label in enumerate(shown.labels.tolist())]
    # Large ones first: small ones then lie on top of them.
    for index in np.argsort([-box.area() for box in boxes], kind="stable"):
        mask = None if shown.rles is None else shown.rles[index]
        _draw_object(canvas, boxes[index], mask, colours[index], mask_opacity)
    if is_crowded:
        return np.vstack([canvas, _draw_legend(shown.labels, class_names, canvas.shape[1], style)])
    _draw_tags(canvas, texts, boxes, colours, style)
    return canvas


def draw_side_by_side(
    image: np.ndarray,
    found: Detections,
    truth: Detections,
    class_names: Sequence[str],
    *,
    score_threshold: float = 0.5,
) -> np.ndarray:
    """Detections on the left, ground truth on the right, each under its title: uint8 RGB."""
    left = draw_detections(image, found, class_names, score_threshold=score_threshold)
    right = draw_detections(image, truth, class_names, score_threshold=0.0, with_scores=False)
    left, right = _to_same_height(left, right)
    gap = np.full((left.shape[0], max(left.shape[1] // 80, 4), 3), 255, np.uint8)
    canvas = np.hstack([left, gap, right])
    style = TextStyle(max(round(left.shape[0] / 40), 10))
    strip = np.full((style.size_of("A")[1] + 4, canvas.shape[1], 3), 255, np.uint8)
    for text, x in (("found", 0), ("ground truth", left.shape[1] + gap.shape[1])):
        width, height = style.size_of(text)
        draw_tag(strip, text, Rectangle(x, 2, x + width, 2 + height), WHITE, style)
    return np.vstack([strip, canvas])


def detections_to_json(detections: Detections, class_names: Sequence[str]) -> dict[str, Any]:
    """Detections as plain values for a json file: boxes in pixels, masks as COCO's compressed RLE."""
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


def _line_width(shape: tuple[int, ...]) -> int:
    return max(round(min(shape[:2]) / 320), 1)


def _draw_object(
    canvas: np.ndarray, box: Rectangle, rle: dict[str, Any] | None, colour: Colour, opacity: float
) -> None:
    width = _line_width(canvas.shape)
    if rle is not None:
        _draw_mask(canvas, decode_mask(rle), colour, opacity, width)
    corners = (box.left, box.top), (box.right - 1, box.bottom - 1)
    cv2.rectangle(canvas, *corners, colour, width if rle is None else max(width - 1, 1), cv2.LINE_AA)


def _draw_mask(canvas: np.ndarray, mask: np.ndarray, colour: Colour, opacity: float, width: int) -> None:
    """Fill a mask of the original image and line its edge; in place, only where the mask is."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return
    scale_y, scale_x = canvas.shape[0] / mask.shape[0], canvas.shape[1] / mask.shape[1]
    # A margin of two pixels gives the smoothed edge and the line their room.
    top, bottom = max(rows[0] - 2, 0), min(rows[-1] + 3, mask.shape[0])
    left, right = max(columns[0] - 2, 0), min(columns[-1] + 3, mask.shape[1])
    y1, y2, x1, x2 = round(top * scale_y), round(bottom * scale_y), round(left * scale_x), round(right * scale_x)
    inside = _enlarge_mask(mask[top:bottom, left:right], (y2 - y1, x2 - x1))
    area = canvas[y1:y2, x1:x2]
    mixed = area[inside].astype(np.float32) * (1 - opacity) + np.array(colour, np.float32) * opacity
    area[inside] = mixed.round().astype(np.uint8)
    contours, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    patch = np.ascontiguousarray(area)
    cv2.drawContours(patch, contours, -1, colour, width, cv2.LINE_AA)
    canvas[y1:y2, x1:x2] = patch


def _enlarge_mask(mask: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """bool [h, w] in a larger size, its steps rounded off."""
    if mask.shape == size_hw:
        return mask
    smooth = cv2.resize(mask.astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    scale = size_hw[0] / mask.shape[0]
    if scale > 1.5:
        smooth = cv2.GaussianBlur(smooth, (0, 0), 0.6 * scale, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(smooth >= 0.5)


def _text_style(shape: tuple[int, ...]) -> TextStyle:
    return TextStyle(max(round(min(shape[:2]) / 44), 9))


def _tag_share(texts: Sequence[str], style: TextStyle, shape: tuple[int, ...]) -> float:
    """Area of all tags over that of the image."""
    return sum(math.prod(style.size_of(text)) for text in texts) / math.prod(shape[:2])


def _draw_tags(
    canvas: np.ndarray,
    texts: Sequence[str],
    boxes: Sequence[Rectangle],
    colours: Sequence[Colour],
    style: TextStyle,
) -> None:
    """Best detections first: what is left out for lack of room are tags of the worst."""
    taken: list[Rectangle] = []
    for text, box, colour in zip(texts, boxes, colours, strict=True):
        place = find_place(style.size_of(text), box, taken, (canvas.shape[0], canvas.shape[1]))
        if place is not None:
            taken.append(place)
            draw_tag(canvas, text, place, colour, style)


def _draw_legend(labels: np.ndarray, class_names: Sequence[str], width: int, style: TextStyle) -> np.ndarray:
    """How many there are of each class, most first, as a strip of lines of tags: uint8 [h, width, 3]."""
    counts = Counter(labels.tolist()).most_common()
    gap, height = style.padding, style.size_of("A")[1]
    places: list[Rectangle] = []
    texts = [f"{count} {_name_of(label, class_names)}" for label, count in counts]
    x = y = gap
    for text in texts:
        tag_width = style.size_of(text)[0]
        if x + tag_width > width and x > gap:
            x, y = gap, y + height + gap
        places.append(Rectangle(x, y, x + tag_width, y + height))
        x += tag_width + gap
    strip = np.full((y + height + gap, width, 3), 255, np.uint8)
    for text, place, (label, _) in zip(texts, places, counts, strict=True):
        draw_tag(strip, text, place, colour_of(label - 1) if len(counts) > 1 else WHITE, style)
    return strip


def _to_same_height(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fill up the lower one with white (one of them may have a legend)."""
    height = max(left.shape[0], right.shape[0])
    pads = [np.full((height - side.shape[0], side.shape[1], 3), 255, np.uint8) for side in (left, right)]
    return np.vstack([left, pads[0]]), np.vstack([right, pads[1]])
