"""Ground truth in the form of detections, so that it is drawn the same way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from fpt.structures.detections import Detections


def detections_from_annotations(
    annotations: Sequence[dict[str, Any]],
    category_ids: Sequence[int],
    *,
    image_id: int,
    size_hw: tuple[int, int],
    with_crowds: bool = False,
) -> Detections:
    """Annotations of one image in COCO's format as Detections with score 1.

    Args:
        annotations: with bbox, category_id and, if there are, segmentation (polygons or RLE) and keypoints; an object
            without among others gets an empty mask, and points that are not annotated.
        category_ids: ids of the data set: label i + 1 is category_ids[i].
        image_id: the image.
        size_hw: its size in pixels.
        with_crowds: crowds get the labels that follow those of the classes; else they are left out.
    """
    items = [item for item in annotations if with_crowds or not item.get("iscrowd", 0)]
    boxes = np.array([item["bbox"] for item in items], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    label_of = {category_id: label for label, category_id in enumerate(category_ids, start=1)}
    num_classes = len(category_ids)
    labels = [label_of[item["category_id"]] + num_classes * bool(item.get("iscrowd", 0)) for item in items]
    has_masks = any(item.get("segmentation") for item in items)
    rles = [_to_rle(item.get("segmentation"), size_hw) for item in items] if has_masks else None
    scores = np.ones(len(items), np.float32)
    return Detections(image_id, size_hw, boxes, np.array(labels, np.int64), scores, rles, _keypoints(items))


def _keypoints(items: Sequence[dict[str, Any]]) -> np.ndarray | None:
    """float32 [N, K, 3] with half of the visibility as the score; None where no object has key points."""
    count = max((len(item.get("keypoints", ())) // 3 for item in items), default=0)
    if not count:
        return None
    points = np.zeros((len(items), count, 3), np.float32)
    for row, item in zip(points, items, strict=True):
        own = np.array(item.get("keypoints", ()), np.float32).reshape(-1, 3)
        row[: len(own)] = own
    points[..., 2] /= 2
    return points


def _to_rle(segmentation: Any, size_hw: tuple[int, int]) -> dict[str, Any]:
    if not segmentation:
        rle = coco_mask.encode(np.zeros(size_hw, np.uint8, order="F"))
    elif isinstance(segmentation, list):
        rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, *size_hw))
    elif isinstance(segmentation["counts"], list):
        rle = coco_mask.frPyObjects(segmentation, *size_hw)
    else:
        rle = segmentation
    counts = rle["counts"]
    return {"size": list(size_hw), "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}
