"""Detections and metrics as files, in COCO's results format and as json."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fpt.structures.detections import Detections
from fpt.utils.files import write_json, write_text

IOU_TYPES = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}
"""IoU type -> the key of a result or annotation that it is computed from."""


def to_coco_results(detections: Iterable[Detections], category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Detections in COCO's results format.

    Args:
        detections: what was found, by image.
        category_ids: the data set's ids: label i + 1 is category_ids[i].

    Returns:
        One dict a detection: image_id, category_id, bbox (x, y, width, height), score, segmentation (compressed RLE) if
        there are masks, and keypoints (x, y, score, ...) if there are key points.
    """
    results = []
    for image in detections:
        boxes = image.boxes.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        for index, (box, label, score) in enumerate(
            zip(boxes.round(3).tolist(), image.labels.tolist(), image.scores.tolist(), strict=True)
        ):
            item = {"image_id": image.image_id, "category_id": category_ids[label - 1], "bbox": box, "score": score}
            if image.rles is not None:
                item["segmentation"] = image.rles[index]
            if image.keypoints is not None:
                item["keypoints"] = image.keypoints[index].astype(np.float64).round(3).ravel().tolist()
            results.append(item)
    return results


def for_iou_type(item: dict[str, Any], iou_type: str) -> dict[str, Any]:
    """The parts of a result that count: with a box beside it, a mask would be sorted into area classes by the box."""
    return {key: item[key] for key in ("image_id", "category_id", "score", IOU_TYPES[iou_type])}


def write_results(folder: Path, results: Sequence[dict[str, Any]]) -> list[Path]:
    """Write `bbox.json` and, if there are any, `segm.json` and `keypoints.json` in COCO's results format.

    Those from an earlier run are removed if there are no masks or key points now.

    Returns:
        The files.
    """
    paths = []
    for iou_type, key in IOU_TYPES.items():
        path = folder / f"{iou_type}.json"
        if iou_type == "bbox" or any(key in item for item in results):
            write_text(path, json.dumps([for_iou_type(item, iou_type) for item in results]))
            paths.append(path)
        else:
            path.unlink(missing_ok=True)
    return paths


def write_metrics(path: Path, metrics: dict[str, Any]) -> None:
    """Write metrics as valid json: where no ground truth counts (-1, or not a number), null."""
    write_json(path, _plain(metrics))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) and value != -1.0 else None
    return value
