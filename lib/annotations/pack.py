"""Checks annotations in COCO's terms and packs them into flat arrays: the one reader of ground truth."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fpt.annotations.areas import read_areas
from fpt.annotations.boxes import BOX_FORMATS, check_box_format, clip_boxes, convert_boxes, is_clipped, read_boxes
from fpt.annotations.categories import read_categories
from fpt.annotations.ids import Entry, entry_name, read_ids
from fpt.annotations.images import ListedImages, SizeOf, read_images
from fpt.annotations.keypoints import check_keypoints
from fpt.annotations.numbers import flag, shown, whole_column, whole_number
from fpt.annotations.packed import Categories, PackedAnnotations
from fpt.annotations.report import DatasetReport
from fpt.annotations.shapes import box_of_segmentation, offsets_of, outlines_of, pack_shapes, report_maskless
from fpt.utils.errors import UserError

AnnotationReader = Callable[[Path], dict[str, Any]]
"""From ANN_FILE to the content of a COCO json file: a dict of the lists images, annotations and categories."""


@dataclass(frozen=True)
class ReadAnnotations:
    """What a data set's annotations hold.

    Attributes:
        packed: images and objects.
        categories: the classes.
        report: what was dropped, clipped or read in another way than it is written.
        has_measured: whether sizes of images are the files' own, so that they are part of what was read.
    """

    packed: PackedAnnotations
    categories: Categories
    report: DatasetReport
    has_measured: bool = False


def read_packed(
    path: Path, read: AnnotationReader, *, size_of: SizeOf | None = None, box_format: str = "xywh"
) -> ReadAnnotations:
    """Read, check and pack annotations.

    Args:
        path: the annotation file, or folder of files.
        read: its reader.
        size_of: reads the size of an image file where the annotation file has none.
        box_format: what the four numbers of a box are, one of BOX_FORMATS.

    Raises:
        UserError: the file is missing, of another format, or has faults that would lose labels; all faults are in the
            message.
    """
    with _no_garbage_collection():
        return pack_content(path, read(path), size_of=size_of, box_format=box_format)


def pack_content(
    source: Path | str, content: object, *, size_of: SizeOf | None = None, box_format: str = "xywh"
) -> ReadAnnotations:
    """As read_packed, of the content of a file.

    Raises:
        UserError: as read_packed.
    """
    if box_format not in BOX_FORMATS:
        raise UserError(f"BOX_FORMAT is {box_format!r}; legal: {', '.join(BOX_FORMATS)}")
    if not isinstance(content, dict):
        raise UserError(
            f"{source}: its reader gave a {type(content).__name__}; due is a dict of the lists images, annotations and "
            "categories, as in COCO's json"
        )
    report = DatasetReport(source=str(source))
    found = _pack_lists(Path(source), content, report, size_of=size_of, box_format=box_format)
    if found is None or report.has_fatal:
        raise UserError(f"this data set cannot be used:\n{report.text()}")
    return found


def _pack_lists(
    path: Path, content: dict[str, Any], report: DatasetReport, *, size_of: SizeOf | None, box_format: str
) -> ReadAnnotations | None:
    """None where something fatal was found so early that what follows would only follow from it."""
    class_entries = _entries(path, content, "categories", report)
    image_entries = _entries(path, content, "images", report)
    entries = _entries(path, content, "annotations", report, is_optional=True)
    report.num_images, report.num_annotations = len(image_entries), len(entries)
    if report.has_fatal:
        return None
    images = read_images(image_entries, size_of, report)
    class_ids = read_ids(class_entries, "category", report)
    if report.has_fatal:
        return None
    image_of = images.ids.find(entries, "image_id", "annotation", report)
    class_of = class_ids.find(entries, "category_id", "annotation", report)
    counts = np.bincount(class_of[class_of >= 0], minlength=len(class_entries))
    categories, labels = read_categories(class_entries, class_ids, counts, report)
    is_known = (image_of >= 0) & (class_of >= 0)
    chosen = np.flatnonzero(is_known)
    objects = _Objects(
        entries=[entries[i] for i in chosen.tolist()] if len(chosen) < len(entries) else entries,
        ids=_annotation_ids(entries, report)[chosen],
        image_of=image_of[chosen],
        labels=labels[class_of[chosen]],
    )
    packed = _pack_objects(images, objects, categories, box_format, report)
    if packed is None:
        return None
    report.num_empty_images = int((np.diff(packed.object_offsets) == 0).sum())
    return ReadAnnotations(packed, categories, report, images.has_measured)


@dataclass(frozen=True)
class _Objects:
    """Annotations whose image and class are known.

    Attributes:
        entries: as the file has them.
        ids: int64 [N].
        image_of: int64 [N], positions of their images.
        labels: int32 [N].
    """

    entries: list[Entry]
    ids: np.ndarray
    image_of: np.ndarray
    labels: np.ndarray

    def select(self, chosen: np.ndarray) -> _Objects:
        """Some of them, in this order."""
        entries = [self.entries[i] for i in chosen.tolist()]
        return _Objects(entries, self.ids[chosen], self.image_of[chosen], self.labels[chosen])


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Millions of small lists live here, none of them garbage: most of the time would go into looking at them."""
    is_collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_collecting:
            gc.enable()


def _entries(
    path: Path, content: dict[str, Any], key: str, report: DatasetReport, *, is_optional: bool = False
) -> list[Entry]:
    """The list under a key, without what is no object."""
    if key not in content:
        if is_optional:
            report.add(f"no key {key!r}", "read as images alone", path.name, is_harmless=True)
        else:
            keys = ", ".join(shown(name) for name in sorted(map(str, content))[:10])
            report.add(f"no key {key!r}", f"add it; the file has {keys or 'no keys'}", path.name, is_fatal=True)
        return []
    value = content[key]
    if not isinstance(value, list):
        report.add(f"{key!r} is no list", "correct the file", f"it is a {type(value).__name__}", is_fatal=True)
        return []
    if not value and not is_optional:
        report.add(f"empty list under {key!r}", "fill it", path.name, is_fatal=True)
    wrong = [f"{key}[{i}]" for i, entry in enumerate(value) if not isinstance(entry, dict)]
    report.add_all(f"{key} that are no objects", "correct the file", wrong, is_fatal=True)
    return [entry for entry in value if isinstance(entry, dict)] if wrong else value


def _annotation_ids(entries: list[Entry], report: DatasetReport) -> np.ndarray:
    """int64 [N], all different: the file's, or 1, 2, ... where it has none, no numbers, or repeats.

    Nothing refers to them, so that nothing is lost by new ones.
    """
    raw = [entry.get("id") for entry in entries]
    values = whole_column(raw)
    if values is None:
        numbers = [whole_number(value) for value in raw]
        if None not in numbers:
            values = np.array(numbers, dtype=np.int64)
    if values is None:
        wrong = [entry_name(entries[i], "annotation", i) for i, value in enumerate(raw) if whole_number(value) is None]
        report.add_all("annotations without an id that is a number", "all are numbered anew", wrong, is_harmless=True)
        return np.arange(1, len(raw) + 1)
    unique, counts = np.unique(values, return_counts=True)
    if len(unique) == len(values):
        return values
    repeats = [f"{unique[i]} ({counts[i]} times)" for i in np.flatnonzero(counts > 1).tolist()]
    report.add_all("annotation ids that occur more than once", "all are numbered anew", repeats, is_harmless=True)
    return np.arange(1, len(values) + 1)


def _pack_objects(
    images: ListedImages, objects: _Objects, categories: Categories, box_format: str, report: DatasetReport
) -> PackedAnnotations | None:
    sizes_hw = images.sizes_hw[objects.image_of]
    raw_boxes = read_boxes(objects.entries, report)
    is_crowd = _read_crowds(objects.entries, report)
    if report.has_fatal:
        return None
    boxes_xywh = convert_boxes(raw_boxes, sizes_hw, box_format)
    _fill_boxes(boxes_xywh, objects.entries, sizes_hw, report)
    if report.has_fatal:
        return None
    boxes = clip_boxes(boxes_xywh, sizes_hw, lambda i: f"annotation {objects.ids[i]}", silent := _silent(report))
    is_valid = np.isfinite(boxes).all(axis=1)
    order = np.flatnonzero(is_valid)[np.argsort(objects.image_of[is_valid], kind="stable")]
    kept = objects.select(order)
    shapes = pack_shapes(kept.entries, sizes_hw[order], report)
    if box_format == "xywh":
        outlines = np.full(boxes.shape, np.nan)
        outlines[order] = outlines_of(shapes)
        check_box_format(boxes_xywh, sizes_hw, outlines, report)
    elif box_format.endswith("_relative"):
        _scale_points(shapes, sizes_hw[order])
    if report.has_fatal:
        return None
    report.findings += silent.findings
    check_keypoints(shapes, categories, kept.labels, ids=kept.ids, sizes_hw=sizes_hw[order], report=report)
    boxes, boxes_xywh = boxes[order], boxes_xywh[order]
    _report_repeated_objects(kept, boxes, report)
    has_mask = (np.diff(shapes["part_offsets"]) > 0) | (np.diff(shapes["rle_offsets"]) > 0)
    report_maskless(kept.entries, has_mask, report)
    corners = np.hstack((boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]))
    far = is_clipped(corners, boxes)
    boxes_xywh[far] = np.hstack((boxes[far, :2], boxes[far, 2:] - boxes[far, :2]))
    names = [name.encode("utf-8", "surrogateescape") for name in images.names]
    return PackedAnnotations(
        image_ids=images.ids.values,
        image_sizes_hw=images.sizes_hw.astype(np.int32),
        file_name_offsets=offsets_of([len(name) for name in names]),
        file_name_bytes=np.frombuffer(b"".join(names), np.uint8),
        object_offsets=offsets_of(np.bincount(kept.image_of, minlength=len(images.names))),
        annotation_ids=kept.ids,
        boxes_xyxy=boxes.astype(np.float32),
        boxes_xywh=boxes_xywh,
        labels=kept.labels,
        is_crowd=is_crowd[order],
        areas=read_areas(kept.entries, boxes_xywh, shapes, has_mask, sizes_hw[order], report),
        **shapes,
    )


def _scale_points(shapes: dict[str, np.ndarray], sizes_hw: np.ndarray) -> None:
    """Bring polygons and key points that are relative to their images, too, to pixels."""
    points, keypoints = shapes["points"], shapes["keypoints"]
    if len(points) and points.min() >= 0 and points.max() <= 1:
        num_points = np.diff(shapes["point_offsets"][shapes["part_offsets"]])
        shapes["points"] = points * np.repeat(sizes_hw[:, ::-1], num_points, axis=0)
    if len(keypoints) and keypoints[:, :2].min() >= 0 and keypoints[:, :2].max() <= 1:
        scale = np.repeat(sizes_hw[:, ::-1], np.diff(shapes["keypoint_offsets"]), axis=0)
        shapes["keypoints"] = np.hstack((keypoints[:, :2] * scale, keypoints[:, 2:])).astype(np.float32)


def _silent(report: DatasetReport) -> DatasetReport:
    """A report for what is said only where the boxes are what they seem."""
    return DatasetReport(source=report.source)


def _read_crowds(entries: list[Entry], report: DatasetReport) -> np.ndarray:
    """bool [N] of ``iscrowd``; what is neither 0 nor 1 is reported as fatal."""
    values = [flag(entry.get("iscrowd")) for entry in entries]
    for i, value in enumerate(values):
        if value is None:
            example = f"{entry_name(entries[i], 'annotation', i)} has {shown(entries[i]['iscrowd'])}"
            report.add("annotations whose 'iscrowd' is neither 0 nor 1", "correct it", example, is_fatal=True)
    return np.array([bool(value) for value in values], dtype=bool)


def _fill_boxes(boxes_xywh: np.ndarray, entries: list[Entry], sizes_hw: np.ndarray, report: DatasetReport) -> None:
    """Put the box around its mask where an annotation has no box; one without either is fatal."""
    for i in np.flatnonzero(np.isnan(boxes_xywh).all(axis=1)).tolist():
        if entries[i].get("bbox"):  # it holds NaN itself
            continue
        name = entry_name(entries[i], "annotation", i)
        box = box_of_segmentation(entries[i], sizes_hw[i].tolist())
        if box is None:
            report.add("annotations without the key 'bbox' and without a mask", "add it", name, is_fatal=True)
        else:
            boxes_xywh[i] = box
            report.add("annotations without the key 'bbox'", "taken from the mask", name, is_harmless=True)


def _report_repeated_objects(objects: _Objects, boxes: np.ndarray, report: DatasetReport) -> None:
    """Objects that stand there twice, by image, class and box."""
    keys = np.column_stack((objects.image_of, objects.labels, boxes))
    order = np.lexsort(keys.T)
    is_duplicate = (keys[order][1:] == keys[order][:-1]).all(axis=1)
    ids = objects.ids[order]
    duplicates = [f"annotations {ids[i]} and {ids[i + 1]}" for i in np.flatnonzero(is_duplicate).tolist()]
    report.add_all("objects that stand there twice (same image, class and box)", "kept; remove one", duplicates)
