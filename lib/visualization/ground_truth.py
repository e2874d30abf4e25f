"""Ground truth in the form of detections, so that it is drawn the same way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from fpt.structures.detections import Detections


def detections_from_annotations(
    annotations: Sequence[dict[str, Any]], category_ids: Sequence[int], *, image_id: int, size_hw: tuple[int, int]
) -> Detections:
    """Annotations of one image in COCO's format as Detections with score 1; crowds are left out.

    Args:
        annotations: with bbox, category_id and, if there are masks, segmentation (polygons or RLE).
        category_ids: ids of the data set: label i + 1 is category_ids[i].
        image_id: the image.
        size_hw: its size in pixels.
    """
    items = [item for item in annotations if not item.get("iscrowd", 0)]
    boxes = np.array([item["bbox"] for item in items], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    label_of = {category_id: label for label, category_id in enumerate(category_ids, start=1)}
    labels = np.array([label_of[item["category_id"]] for item in items], np.int64)
    has_masks = bool(items) and all(item.get("segmentation") for item in items)
    rles = [_to_rle(item["segmentation"], size_hw) for item in items] if has_masks else None
    return Detections(image_id, size_hw, boxes, labels, np.ones(len(items), np.float32), rles)


def _to_rle(segmentation: Any, size_hw: tuple[int, int]) -> dict[str, Any]:
    if isinstance(segmentation, list):
        rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, *size_hw))
    elif isinstance(segmentation["counts"], list):
        rle = coco_mask.frPyObjects(segmentation, *size_hw)
    else:
        rle = segmentation
    counts = rle["counts"]
    return {"size": list(size_hw), "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}
