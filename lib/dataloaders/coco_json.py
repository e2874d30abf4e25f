"""Reads annotations in COCO's terms, checks them and packs them into flat arrays."""

from __future__ import annotations

import contextlib
import gc
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fpt.dataloaders.annotations import Categories, PackedAnnotations
from fpt.dataloaders.polygons import offsets_of, pack_shapes
from fpt.dataloaders.report import DatasetReport
from fpt.utils.errors import UserError

MIN_BOX_SIDE = 0.1
"""Boxes with a shorter side, in pixels, hold nothing that could be learnt and make log(width) explode."""
CLIP_TOLERANCE = 1.0
"""Boxes that reach out of the image by at most this many pixels are clipped without a word: it is rounding."""

_INT64 = 1 << 63

AnnotationReader = Callable[[Path], dict[str, Any]]
"""From ANN_FILE to the content of a COCO json file: a dict of the lists images, annotations and categories."""


def load_json(path: Path) -> dict[str, Any]:
    """Parse a json file whose top is an object.

    Raises:
        UserError: the file is missing or broken; the position is named.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: the annotation file cannot be read: {error.strerror or error}") from None
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}: broken json at line {error.lineno}, column {error.colno} (character {error.pos}): {error.msg}"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: broken json: byte {error.start} is no text ({error.reason})") from None
    except RecursionError:
        raise UserError(f"{path}: broken json: brackets are nested too deep") from None
    if not isinstance(content, dict):
        raise UserError(
            f"{path}: the json's top is a {type(content).__name__}; COCO's format has an object with the keys "
            "images, annotations and categories (a list is probably a result file)"
        )
    return content


def read_packed(path: Path, read: AnnotationReader) -> tuple[PackedAnnotations, Categories, DatasetReport]:
    """Read, check and pack annotations.

    Args:
        path: the annotation file, or folder of files.
        read: its reader.

    Returns:
        The arrays, the classes, and the report of what was dropped or clipped.

    Raises:
        UserError: the file is missing, of another format, or has faults that would lose labels; all faults are in the
            message.
    """
    report = DatasetReport(source=str(path))
    with _no_garbage_collection():
        packed, categories = _pack_content(path, read(path), report)
    if report.has_fatal:
        raise UserError(f"this data set cannot be used:\n{report.text()}")
    return packed, categories, report


def _pack_content(path: Path, content: object, report: DatasetReport) -> tuple[PackedAnnotations, Categories]:
    if not isinstance(content, dict):
        raise UserError(
            f"{path}: its reader gave a {type(content).__name__}; due is a dict of the lists images, annotations and "
            "categories, as in COCO's json"
        )
    categories, category_ids = _read_categories(_entries(path, content, "categories", report), report)
    images = _read_images(_entries(path, content, "images", report), report)
    annotations = _entries(path, content, "annotations", report, is_optional=True)
    report.num_images = len(images["ids"])
    report.num_annotations = len(annotations)
    packed = _pack(images, annotations, category_ids, report)
    report.num_empty_images = int((np.diff(packed.object_offsets) == 0).sum())
    return packed, categories


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
) -> list[dict[str, Any]]:
    """The list under a key, without what is no object."""
    if key not in content:
        if is_optional:
            report.add(f"no key {key!r}", "read as images alone", path.name)
        else:
            report.add(f"no key {key!r}", f"add it; the file has {sorted(content)}", path.name, is_fatal=True)
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


def _whole(value: Any) -> int | None:
    """A whole number of at most 64 bits, or None."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and -_INT64 <= value < _INT64 else None


def _column(
    entries: list[dict[str, Any]], key: str, owner: str, report: DatasetReport, low: int | None = None
) -> np.ndarray:
    """int64 values of a key; missing and wrong ones are reported as fatal and read as -1."""
    raw = [entry.get(key) for entry in entries]
    values = [_whole(value) for value in raw]
    missing = [_entry_name(entries[i], owner, i) for i, value in enumerate(raw) if value is None]
    report.add_all(f"{owner}s without the key {key!r}", "add it", missing, is_fatal=True)
    for i, value in enumerate(values):
        if (value is None and raw[i] is not None) or (value is not None and low is not None and value < low):
            legal = "a whole number" if low is None else f"a whole number from {low}"
            example = f"{_entry_name(entries[i], owner, i)} has {raw[i]!r}"
            report.add(f"{owner}s whose {key!r} is not {legal}", "correct it", example, is_fatal=True)
    return np.array([-1 if value is None else value for value in values], dtype=np.int64)


def _entry_name(entry: dict[str, Any], owner: str, position: int) -> str:
    if "file_name" in entry:
        return str(entry["file_name"])
    return f"id {entry['id']}" if "id" in entry else f"{owner} number {position}"


def _report_duplicates(values: Iterable[Any], kind: str, report: DatasetReport) -> None:
    duplicates = [f"{value} ({count} times)" for value, count in Counter(values).items() if count > 1]
    report.add_all(kind, "give each its own", duplicates, is_fatal=True)


def _read_categories(entries: list[dict[str, Any]], report: DatasetReport) -> tuple[Categories, np.ndarray]:
    """Classes sorted by id, and their ids as int64."""
    ids = _column(entries, "id", "category", report)
    _report_duplicates(ids.tolist(), "category ids that occur more than once", report)
    ordered = sorted(zip(ids.tolist(), entries, strict=True), key=lambda pair: pair[0])
    categories = Categories(
        ids=tuple(value for value, _ in ordered),
        names=tuple(str(entry.get("name", value)) for value, entry in ordered),
        keypoint_names=tuple(tuple(map(str, entry.get("keypoints") or ())) for _, entry in ordered),
    )
    _report_duplicates(categories.names, "category names that occur more than once", report)
    return categories, np.array(categories.ids, dtype=np.int64)


def _read_images(entries: list[dict[str, Any]], report: DatasetReport) -> dict[str, Any]:
    """Ids int64 [M], sizes_hw int64 [M, 2], names [M]."""
    ids = _column(entries, "id", "image", report)
    _report_duplicates(ids.tolist(), "image ids that occur more than once", report)
    sizes = [_column(entries, key, "image", report, low=1) for key in ("height", "width")]
    names = [entry.get("file_name") for entry in entries]
    unnamed = [f"id {entry.get('id')}" for entry, name in zip(entries, names, strict=True) if not name]
    report.add_all("images without the key 'file_name'", "add it", unnamed, is_fatal=True)
    return {"ids": ids, "sizes_hw": np.stack(sizes, axis=1), "names": [str(name or "") for name in names]}


def _read_boxes(entries: list[dict[str, Any]], report: DatasetReport) -> np.ndarray:
    """x, y, width, height float64 [N, 4]; any box where there are no four numbers, which is fatal."""
    boxes = np.ones((len(entries), 4))
    for i, entry in enumerate(entries):
        try:
            box = entry["bbox"]
            if len(box) != 4:
                raise TypeError
            boxes[i] = box
        except KeyError:
            name = _entry_name(entry, "annotation", i)
            report.add("annotations without the key 'bbox'", "add it", name, is_fatal=True)
        except (TypeError, ValueError):
            example = f"{_entry_name(entry, 'annotation', i)} has {str(entry['bbox'])[:40]}"
            report.add("boxes that are not [x, y, width, height]", "correct them", example, is_fatal=True)
    return boxes


def _lookup(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Position of each value in ``known``; -1 where it is not there."""
    if not len(known):
        return np.full(len(values), -1, dtype=np.int64)
    order = np.argsort(known, kind="stable")
    places = np.searchsorted(known[order], values).clip(max=len(known) - 1)
    found = order[places]
    return np.where(known[found] == values, found, -1)


def _clip_boxes(boxes_xywh: np.ndarray, sizes_hw: np.ndarray, ids: np.ndarray, report: DatasetReport) -> np.ndarray:
    """Boxes xyxy float64 [N, 4] inside their images; dropped ones are nan."""
    is_finite = np.isfinite(boxes_xywh).all(axis=1)
    boxes = np.concatenate((boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]), axis=1)
    limits = np.tile(sizes_hw[:, ::-1], (1, 2)).astype(np.float64)
    clipped = boxes.clip(0, limits)
    has_area = is_finite & (boxes_xywh[:, 2:].min(axis=1, initial=np.inf) >= MIN_BOX_SIDE)
    sides = (clipped[:, 2:] - clipped[:, :2]).min(axis=1, initial=np.inf)
    is_inside = has_area & (sides >= MIN_BOX_SIDE)
    is_clipped = is_inside & (np.abs(boxes - clipped).max(axis=1, initial=0) > CLIP_TOLERANCE)

    def named(selected: np.ndarray) -> list[str]:
        return [f"annotation {ids[i]} {np.round(boxes_xywh[i], 2).tolist()}" for i in np.flatnonzero(selected).tolist()]

    report.add_all("boxes with NaN or infinite numbers", "dropped", named(~is_finite))
    report.add_all("degenerate boxes (no width or height)", "dropped", named(is_finite & ~has_area))
    report.add_all("boxes outside their image", "dropped", named(has_area & ~is_inside))
    report.add_all("boxes that reach out of their image", "clipped to it", named(is_clipped))
    clipped[~is_inside] = np.nan
    return clipped


def _pack(
    images: dict[str, Any], entries: list[dict[str, Any]], category_ids: np.ndarray, report: DatasetReport
) -> PackedAnnotations:
    ids = _column(entries, "id", "annotation", report)
    _report_duplicates(ids[ids >= 0].tolist(), "annotation ids that occur more than once", report)
    columns = {key: _column(entries, key, "annotation", report) for key in ("image_id", "category_id")}
    known = {"image_id": images["ids"], "category_id": category_ids}
    places = {key: _lookup(columns[key], known[key]) for key in columns}
    for key, found in places.items():
        wrong = [f"annotation {ids[i]} has {columns[key][i]}" for i in np.flatnonzero(found < 0).tolist()]
        report.add_all(f"annotations whose {key!r} is not in the file", "correct it", wrong, is_fatal=True)
    boxes_xywh = _read_boxes(entries, report)
    is_known = (places["image_id"] >= 0) & (places["category_id"] >= 0)
    kept = np.flatnonzero(is_known)
    image_of = places["image_id"][kept]
    boxes = _clip_boxes(boxes_xywh[kept], images["sizes_hw"][image_of].clip(min=1), ids[kept], report)
    is_valid = np.isfinite(boxes).all(axis=1)
    order = np.flatnonzero(is_valid)[np.argsort(image_of[is_valid], kind="stable")]
    image_of, kept, boxes = image_of[order], kept[order], boxes[order]
    _report_repeated_objects(image_of, places["category_id"][kept], boxes, ids[kept], report)
    chosen = [entries[i] for i in kept.tolist()]
    file_names = [name.encode() for name in images["names"]]
    return PackedAnnotations(
        image_ids=images["ids"],
        image_sizes_hw=images["sizes_hw"].astype(np.int32),
        file_name_offsets=offsets_of([len(name) for name in file_names]),
        file_name_bytes=np.frombuffer(b"".join(file_names), np.uint8),
        object_offsets=offsets_of(np.bincount(image_of, minlength=len(images["ids"]))),
        annotation_ids=ids[kept],
        boxes_xyxy=boxes.astype(np.float32),
        labels=(places["category_id"][kept] + 1).astype(np.int32),
        is_crowd=np.array([bool(entry.get("iscrowd", 0)) for entry in chosen], dtype=bool),
        areas=_read_areas(chosen, boxes),
        **pack_shapes(chosen, images["sizes_hw"][image_of], report),
    )


def _report_repeated_objects(
    image_of: np.ndarray, classes: np.ndarray, boxes: np.ndarray, ids: np.ndarray, report: DatasetReport
) -> None:
    """Objects that stand there twice, by image, class and box."""
    keys = np.column_stack((image_of, classes, boxes))
    order = np.lexsort(keys.T)
    is_duplicate = (keys[order][1:] == keys[order][:-1]).all(axis=1)
    duplicates = [f"annotations {ids[order[i]]} and {ids[order[i + 1]]}" for i in np.flatnonzero(is_duplicate).tolist()]
    report.add_all("objects that stand there twice (same image, class and box)", "kept; remove one", duplicates)


def _read_areas(entries: list[dict[str, Any]], boxes: np.ndarray) -> np.ndarray:
    """float32 [N]: the file's areas, or the boxes' where there is no positive number."""
    sides = boxes[:, 2:] - boxes[:, :2]
    areas = sides[:, 0] * sides[:, 1]
    for i, entry in enumerate(entries):
        area = entry.get("area")
        if isinstance(area, (int, float)) and 0 < area < float("inf"):
            areas[i] = area
    return areas.astype(np.float32)
