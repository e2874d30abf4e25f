"""COCO's average precision and recall of boxes and masks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fpt.evaluation.coco_backends import RawEvaluation, resolve_backend, run_backend
from fpt.structures.detections import Detections
from fpt.structures.masks import usable_segmentation
from fpt.utils.errors import UserError
from fpt.utils.files import write_json, write_text

METRIC_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
IOU_TYPES = {"bbox": "bbox", "segm": "segmentation"}
"""IoU type -> the key of a result or annotation that it is computed from."""

NO_GROUND_TRUTH = -1.0
"""What COCO gives where no ground truth counts; ``write_metrics`` writes it as null."""


def evaluate_coco(
    ann_file: Path | str | dict[str, Any],
    results: Sequence[dict[str, Any]],
    *,
    iou_type: str,
    backend: str = "auto",
    image_ids: Sequence[int] | None = None,
    category_ids: Sequence[int] | None = None,
) -> dict[str, Any]:
    """COCO's twelve numbers, and AP and AP50 of each class.

    Args:
        ann_file: ground truth in COCO's json format, or its content.
        results: detections in COCO's results format (see ``to_coco_results``); none at all is fine.
        iou_type: `bbox` or `segm`.
        backend: `auto`, `hotcoco` or `pycocotools`.
        image_ids: images that count; all of the file by default.
        category_ids: categories that count; all of the file by default.

    Returns:
        {"AP": ..., ..., "ARl": ..., "per_class": {name: AP}, "per_class_AP50": {name: AP50}}, fractions of 1;
        -1 where no ground truth counts.

    Raises:
        UserError: for an unreadable file, a result on an image that the file lacks, an unknown IoU type or backend.
    """
    if iou_type not in IOU_TYPES:
        raise UserError(f"IoU type {iou_type!r} is unknown; legal: {', '.join(IOU_TYPES)}")
    ground_truth = ann_file if isinstance(ann_file, dict) else load_ground_truth(ann_file)
    known = {image["id"] for image in ground_truth["images"]}
    unknown = sorted({item["image_id"] for item in results} - known)
    if unknown:
        raise UserError(f"results name {len(unknown)} images that the ground truth lacks, first id {unknown[0]}")
    names = {category["id"]: category["name"] for category in ground_truth["categories"]}
    raw = run_backend(
        resolve_backend(backend),
        {
            "images": ground_truth["images"],
            "categories": ground_truth["categories"],
            "annotations": _annotations_for(ground_truth["annotations"], iou_type),
        },
        [_for_iou_type(item, iou_type) for item in results],
        iou_type=iou_type,
        image_ids=sorted(known) if image_ids is None else image_ids,
        category_ids=sorted(names) if category_ids is None else category_ids,
    )
    return _to_metrics(raw, names)


def load_ground_truth(ann_file: Path | str) -> dict[str, Any]:
    """Content of a COCO json file, made fit for the evaluators by ``complete_ground_truth``.

    Raises:
        UserError: when the file cannot be read.
    """
    try:
        content = json.loads(Path(ann_file).read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{ann_file} is no ground truth in COCO's json format: {error!r}") from error
    return complete_ground_truth(content, source=ann_file)


def complete_ground_truth(content: dict[str, Any], *, source: Path | str) -> dict[str, Any]:
    """What a COCO json file holds, made fit for the evaluators.

    Annotations of images or categories that the file does not list are left out; a missing `iscrowd` is 0, a missing
    `area` that of the box, a malformed mask is none; without `annotations` nothing is annotated. Annotations are
    numbered anew from 1: to the evaluators an id of 0 means no object.

    Args:
        content: images, categories and annotations.
        source: where it is from, for messages.

    Raises:
        UserError: it lacks a part.
    """
    try:
        sizes_hw = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
        category_ids = {category["id"] for category in content["categories"]}
        annotations = [
            _complete(item, number, sizes_hw[item["image_id"]])
            for number, item in enumerate(content.get("annotations", []), start=1)
            if item["image_id"] in sizes_hw and item["category_id"] in category_ids
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{source} is no ground truth in COCO's json format: {error!r}") from error
    return {**content, "annotations": annotations}


def _complete(annotation: dict[str, Any], number: int, size_hw: tuple[int, int]) -> dict[str, Any]:
    area, bbox = annotation.get("area"), annotation["bbox"]
    complete = {
        **annotation,
        "id": number,
        "iscrowd": int(bool(annotation.get("iscrowd"))),
        "area": area if isinstance(area, (int, float)) else bbox[2] * bbox[3],
    }
    if "segmentation" in annotation:
        complete["segmentation"] = usable_segmentation(annotation["segmentation"], size_hw)
    return complete


def _annotations_for(annotations: list[dict[str, Any]], iou_type: str) -> list[dict[str, Any]]:
    """The annotations that an evaluator gets: for boxes without their masks, for masks those that have one."""
    if iou_type == "segm":
        return [item for item in annotations if item.get("segmentation")]
    return [{key: value for key, value in item.items() if key != "segmentation"} for item in annotations]


def _for_iou_type(item: dict[str, Any], iou_type: str) -> dict[str, Any]:
    """The parts of a result that count: with a box beside it, a mask would be sorted into area classes by the box."""
    return {key: item[key] for key in ("image_id", "category_id", "score", IOU_TYPES[iou_type])}


def _to_metrics(raw: RawEvaluation, names: dict[int, str]) -> dict[str, Any]:
    metrics: dict[str, Any] = {name: float(value) for name, value in zip(METRIC_NAMES, raw.stats, strict=True)}
    unique = _unique_names(raw.category_ids, names)
    # All areas (0) and the most detections per image (-1); the first IoU threshold is 0.5.
    metrics["per_class"] = {name: _mean(raw.precision[:, :, k, 0, -1]) for k, name in enumerate(unique)}
    metrics["per_class_AP50"] = {name: _mean(raw.precision[0, :, k, 0, -1]) for k, name in enumerate(unique)}
    return metrics


def _unique_names(category_ids: Iterable[int], names: dict[int, str]) -> list[str]:
    unique: list[str] = []
    for category_id in category_ids:
        name = str(names[category_id])
        unique.append(f"{name} ({category_id})" if name in unique else name)
    return unique


def _mean(precision: np.ndarray) -> float:
    counted = precision[precision > -1]
    return float(counted.mean()) if counted.size else NO_GROUND_TRUTH


def to_coco_results(detections: Iterable[Detections], category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Detections in COCO's results format.

    Args:
        detections: what was found, by image.
        category_ids: the data set's ids: label i + 1 is category_ids[i].

    Returns:
        One dict a detection: image_id, category_id, bbox (x, y, width, height), score, and segmentation (compressed
        RLE) if there are masks.
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
            results.append(item)
    return results


def write_results(folder: Path, results: Sequence[dict[str, Any]]) -> list[Path]:
    """Write `bbox.json` and, if there are masks, `segm.json` in COCO's results format; returns the files.

    A `segm.json` from an earlier run is removed if there are no masks now.
    """
    paths = [folder / "bbox.json"]
    write_text(paths[0], json.dumps([_for_iou_type(item, "bbox") for item in results]))
    masks = folder / "segm.json"
    if any("segmentation" in item for item in results):
        paths.append(masks)
        write_text(masks, json.dumps([_for_iou_type(item, "segm") for item in results]))
    else:
        masks.unlink(missing_ok=True)
    return paths


def write_metrics(path: Path, metrics: dict[str, Any]) -> None:
    """Write metrics as valid json: where no ground truth counts (-1, or not a number), null."""
    write_json(path, _plain(metrics))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) and value != NO_GROUND_TRUTH else None
    return value
