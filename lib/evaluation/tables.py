"""Metrics as text that can be read in a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_NAMES = {"bbox": "box", "segm": "mask", "keypoints": "key points"}
_TITLES = {**_NAMES, **{f"{kind}_raw": f"{name}, raw file" for kind, name in _NAMES.items()}}
_COMMON = ("AP", "AP50", "AP75", "APm", "APl")
_SEMANTIC = ("mIoU", "bIoU", "mAcc", "pAcc", "fwIoU")
_COLUMNS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10")


def format_metrics(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Texts by title: the tables of COCO's kinds of metrics, and one line per number of the others."""
    coco = {kind: values for kind, values in metrics.items() if {"per_class", *_COMMON} <= values.keys()}
    texts = {}
    if coco:
        texts["average precision by class"] = format_per_class(coco)
        texts["average precision and recall"] = format_summary(coco)
    for kind, values in metrics.items():
        if "per_class_IoU" in values:
            texts["intersection over union by class"] = format_classes(values)
            texts["semantic segmentation"] = format_table(
                ["%", *_SEMANTIC], [["all classes", *(_percent(values.get(name)) for name in _SEMANTIC)]]
            )
        elif kind not in coco:
            texts[kind] = format_table([kind, "value"], [[name, str(value)] for name, value in values.items()])
    return texts


def format_classes(values: Mapping[str, Any]) -> str:
    """IoU and boundary IoU of each class in percent, and its share of the pixels, one row a class."""
    pixels = values["per_class_pixels"]
    total = max(sum(pixels.values()), 1)
    rows = [
        [name, _percent(iou), _percent(values["per_class_bIoU"][name]), _percent(pixels[name] / total)]
        for name, iou in values["per_class_IoU"].items()
    ]
    return format_table(["class", "IoU", "boundary IoU", "pixels"], rows)


def format_summary(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """One row for boxes, masks and key points, in percent; `-` where no ground truth counts, or it has no such number.

    The last columns are called by the number of detections of an image that count, AR100 for COCO's own.
    """
    columns = (*_COLUMNS, *_at_limit(next(iter(metrics.values()))))
    rows = [
        [_TITLES.get(kind, kind), *(_percent(values.get(name)) for name in columns)] for kind, values in metrics.items()
    ]
    return format_table(["%", *columns], rows)


def _at_limit(values: Mapping[str, Any]) -> list[str]:
    """The name of the recall at the highest limit: AR and a number of three digits or more."""
    return [name for name in values if name.startswith("AR") and len(name) > 4 and name[2:].isdigit()]


def format_per_class(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """AP and AP50 of each class in percent, one row per class, in the order of the data set."""
    kinds = list(metrics)
    if not kinds:
        return ""
    header = ["class", *(f"{_TITLES.get(kind, kind)} {name}" for kind in kinds for name in ("AP", "AP50"))]
    rows = []
    for name in metrics[kinds[0]]["per_class"]:
        pairs = [(metrics[kind]["per_class"].get(name), metrics[kind]["per_class_AP50"].get(name)) for kind in kinds]
        rows.append([name, *(_percent(value) for pair in pairs for value in pair)])
    return format_table(header, rows)


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell: the first aligned left, the others right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = []
    for row in (header, ["-" * width for width in widths], *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "-" if value is None or not value >= 0 else f"{100 * value:.1f}"
