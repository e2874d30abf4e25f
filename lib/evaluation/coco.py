"""COCO's average precision and recall of boxes, masks and key points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fpt.annotations.categories import class_name
from fpt.annotations.ground_truth import GroundTruth, read_ground_truth
from fpt.annotations.ids import read_ids
from fpt.annotations.numbers import flag
from fpt.annotations.report import DatasetReport
from fpt.evaluation.coco_backends import RawEvaluation, resolve_backend, run_backend
from fpt.evaluation.results import IOU_TYPES, for_iou_type
from fpt.structures.keypoints import COCO_SIGMAS, DEFAULT_SIGMA
from fpt.utils.errors import UserError

DEFAULT_LIMIT = 100
METRIC_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""COCO's twelve numbers, as they are called at its own limit of 100 detections an image."""

KEYPOINT_METRIC_NAMES = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
"""COCO's ten numbers of key points, by object keypoint similarity (OKS)."""

NO_GROUND_TRUTH = -1.0
"""What COCO gives where no ground truth counts; ``write_metrics`` writes it as null."""


def evaluate_coco(
    truth: GroundTruth | Path | str | dict[str, Any],
    results: Sequence[dict[str, Any]],
    *,
    iou_type: str,
    backend: str = "auto",
    image_ids: Sequence[int] | None = None,
    category_ids: Sequence[int] | None = None,
    max_detections: int = DEFAULT_LIMIT,
    oks_sigmas: Sequence[float] = (),
) -> dict[str, Any]:
    """COCO's twelve numbers, of key points ten, and AP and AP50 of each class.

    For masks, an object without one is a region in which a detection does not count, as a crowd is. For key points an
    object without annotated ones is such.

    Args:
        truth: ground truth; or a COCO json file, or its content, which is read as training reads it.
        results: detections in COCO's results format (see ``to_coco_results``); none at all is fine.
        iou_type: `bbox`, `segm` or `keypoints`.
        backend: `auto`, `hotcoco` or `pycocotools`.
        image_ids: images that count; all of the file by default.
        category_ids: categories that count; all of the file by default, for key points those that have some.
        max_detections: detections of an image and class that count, by score; 100 at least. Of key points 20 do.
        oks_sigmas: precision of each key point; none = COCO's where there are 17, else 0.05.

    Returns:
        {"AP": ..., ..., "ARl": ..., "per_class": {name: AP}, "per_class_AP50": {name: AP50}}, fractions of 1;
        -1 where no ground truth counts. With a higher limit all but AR1, AR10 and AR100 are at that limit, and the
        recall at it is called by it, such as AR1000.

    Raises:
        UserError: for an unreadable file, a result on an image that the file lacks, an unknown IoU type or backend,
            numbers of key points that differ, or an evaluator that fails.
    """
    if iou_type not in IOU_TYPES:
        raise UserError(f"IoU type {iou_type!r} is unknown; legal: {', '.join(IOU_TYPES)}")
    if not isinstance(truth, GroundTruth):
        truth = read_ground_truth(truth)
    known = {image["id"] for image in truth.images}
    unknown = sorted({item["image_id"] for item in results} - known)
    if unknown:
        raise UserError(f"results name {len(unknown)} images that the ground truth lacks, first id {unknown[0]}")
    names = {category["id"]: category["name"] for category in truth.categories}
    limit = max(max_detections, DEFAULT_LIMIT)
    if iou_type == "keypoints":
        with_points = {item["category_id"] for item in truth.annotations if "keypoints" in item}
        names = {key: name for key, name in names.items() if key in with_points}
        results = [item for item in results if item["category_id"] in with_points]
        oks_sigmas = resolve_sigmas(truth.annotations, results, oks_sigmas)
    raw = run_backend(
        _backend_for(truth, backend),
        {
            "images": truth.images,
            "categories": truth.categories,
            "annotations": _annotations_for(truth.annotations, iou_type),
        },
        [for_iou_type(item, iou_type) for item in results],
        iou_type=iou_type,
        image_ids=sorted(known) if image_ids is None else image_ids,
        category_ids=sorted(names) if category_ids is None else category_ids,
        max_detections=limit,
        sigmas=oks_sigmas,
    )
    if iou_type == "keypoints":
        return _to_metrics(raw, names, KEYPOINT_METRIC_NAMES)
    called = [f"AR{limit}" if name == "AR100" else name for name in METRIC_NAMES]
    return _to_metrics(raw, names, [*called, "AR100"] if limit > DEFAULT_LIMIT else called)


def _backend_for(truth: GroundTruth, backend: str) -> str:
    """The evaluator; of itself not hotcoco where ids are negative, which it does not read."""
    has_negative = any(item["id"] < 0 for item in (*truth.images, *truth.categories))
    return resolve_backend("pycocotools" if backend == "auto" and has_negative else backend)


def resolve_sigmas(
    annotations: Sequence[dict[str, Any]], results: Sequence[dict[str, Any]], sigmas: Sequence[float]
) -> Sequence[float]:
    """The precision of each key point: as given, or COCO's where there are 17, else 0.05 for all.

    Raises:
        UserError: not all objects, detections and `sigmas` have the same number of points.
    """
    counts = {len(item["keypoints"]) // 3 for item in (*annotations, *results) if "keypoints" in item}
    if len(counts) != 1 or (sigmas and len(sigmas) not in counts):
        given = f", TEST.OKS_SIGMAS has {len(sigmas)} numbers" if sigmas else ""
        raise UserError(f"objects and detections have {sorted(counts)} key points{given}: the numbers must be the same")
    (count,) = counts
    return sigmas or (COCO_SIGMAS if count == len(COCO_SIGMAS) else (DEFAULT_SIGMA,) * count)


def count_over_limit(truth: GroundTruth, image_ids: Iterable[int], limit: int) -> tuple[int, int]:
    """Objects that no detection is left for, and the images that have such, where an image has more than `limit`."""
    counts = dict.fromkeys(image_ids, 0)
    for annotation in truth.annotations:
        if annotation["image_id"] in counts and not annotation["iscrowd"]:
            counts[annotation["image_id"]] += 1
    over = [count - limit for count in counts.values() if count > limit]
    return sum(over), len(over)


def raw_ground_truth(content: dict[str, Any]) -> GroundTruth:
    """What a COCO json file holds with as few changes as the evaluators need to read it.

    Annotations of images or categories that the file does not list are left out; a missing `iscrowd` is 0, a missing
    `area` that of the box. Ids of images and categories are the numbers that training knows them by. Annotations are
    numbered anew from 1: to the evaluators an id of 0 means no object.

    Raises:
        UserError: it lacks a part.
    """
    report = DatasetReport(source="")
    try:
        images, categories, objects = content["images"], content["categories"], content.get("annotations", [])
        image_ids, category_ids = read_ids(images, "image", report), read_ids(categories, "category", report)
        places = image_ids.find(objects, "image_id", "annotation", DatasetReport(source=""))
        kinds = category_ids.find(objects, "category_id", "annotation", DatasetReport(source=""))
        if report.has_fatal:
            raise ValueError(report.text())
        sizes = {
            number: {"id": number, "height": image["height"], "width": image["width"]}
            for number, image in zip(image_ids.values.tolist(), images, strict=True)
        }
        names = {
            number: {"id": number, "name": class_name(item, number)}
            for number, item in zip(category_ids.values.tolist(), categories, strict=True)
        }
        known = [i for i in range(len(objects)) if places[i] >= 0 and kinds[i] >= 0]
        annotations = [
            _completed(objects[i], number, int(image_ids.values[places[i]]), int(category_ids.values[kinds[i]]))
            for number, i in enumerate(known, start=1)
        ]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(
            f"TEST.RAW_GROUND_TRUTH: the annotation file cannot be evaluated on as it is: {error!r}; switch it off"
        ) from error
    return GroundTruth(list(sizes.values()), list(names.values()), annotations)


def _completed(annotation: dict[str, Any], number: int, image_id: int, category_id: int) -> dict[str, Any]:
    area, bbox = annotation.get("area"), annotation["bbox"]
    complete = {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": bbox,
        "iscrowd": int(bool(flag(annotation.get("iscrowd")))),
        "area": area if isinstance(area, (int, float)) else bbox[2] * bbox[3],
    }
    for key in ("segmentation", "keypoints"):
        if annotation.get(key):
            complete[key] = annotation[key]
    if "keypoints" in complete:
        complete["num_keypoints"] = sum(visibility > 0 for visibility in complete["keypoints"][2::3])
    return complete


def _annotations_for(annotations: list[dict[str, Any]], iou_type: str) -> list[dict[str, Any]]:
    """The annotations that an evaluator gets: for boxes without their masks, for masks with one each, and so on."""
    if iou_type == "keypoints":
        return [_without(item, "segmentation") for item in annotations if "keypoints" in item]
    plain = [_without(item, "keypoints", "num_keypoints") for item in annotations]
    if iou_type == "segm":
        return [item if "segmentation" in item else _as_region(item) for item in plain]
    return [_without(item, "segmentation") for item in plain]


def _without(annotation: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in annotation.items() if key not in keys}


def _as_region(annotation: dict[str, Any]) -> dict[str, Any]:
    """An object without a mask as a crowd that fills its box."""
    x, y, w, h = annotation["bbox"]
    return {**annotation, "iscrowd": 1, "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]]}


def _to_metrics(raw: RawEvaluation, names: dict[int, str], called: Sequence[str]) -> dict[str, Any]:
    metrics: dict[str, Any] = {name: float(value) for name, value in zip(called, raw.stats, strict=True)}
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
