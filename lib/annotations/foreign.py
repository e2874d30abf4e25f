"""Files that are no COCO json: what they are, and what to do with them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

_CONVERT = "export as COCO json from the tool that made it"
_EXPORT = f"not COCO's format: {_CONVERT}"

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a git-LFS pointer, not the file itself: fetch it with `git lfs pull`"),
    (b"\x1f\x8b", "compressed by gzip: unpack it first (gunzip)"),
    (b"PK\x03\x04", "a zip archive: unpack it first, and name the json file in it"),
    (b"BZh", "compressed by bzip2: unpack it first"),
    (b"\xfd7zXZ", "compressed by xz: unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it first"),
    (b"Rar!", "a rar archive: unpack it first"),
    (b"\x89PNG", "an image: ANN_FILE names the annotation file, IMAGE_DIR the folder of the images"),
    (b"\xff\xd8\xff", "an image: ANN_FILE names the annotation file, IMAGE_DIR the folder of the images"),
    (b"%PDF", "a PDF document, no annotation file"),
    (b"PAR1", f"a Parquet table, {_EXPORT}"),
    (b"SQLite format 3", f"an SQLite database, {_EXPORT}"),
    (b"\x80", f"a Python pickle or another binary file, {_EXPORT}"),
)

_YOLO_LINE = re.compile(r"\s*\d+(\s+[+-]?\d*\.?\d+(e[+-]?\d+)?){4,}\s*", re.IGNORECASE)
_TEXTS: tuple[tuple[str, str], ...] = (
    (r"<!doctype html|<html|<head", "a web page, not the file itself: the download has failed; download it again"),
    (r"<annotations?>[\s\S]*<(meta|image|track)\b", f"the xml of CVAT, {_EXPORT} (in CVAT: Export dataset, COCO 1.0)"),
    (r"<annotation\b", "an xml file of PASCAL VOC, one an image: convert the folder of xml files to one COCO json"),
    (r"<\?xml|<error", "an xml file, no annotations in json: if it was downloaded, the download has failed"),
    (r"(train|val|names|nc)\s*:[\s\S]*\bnames\s*:", "the data.yaml of YOLO, not annotations: " + _CONVERT),
    (r"[^\n{\[]*(filename|image|file|path)[^\n{\[]*,[^\n{\[]*\n", f"a table of comma-separated values, {_EXPORT}"),
)


def describe_bytes(start: bytes) -> str | None:
    """What a file that begins with these bytes is, and what to do; None where it may be json."""
    for magic, text in _STARTS:
        if start.startswith(magic):
            return text
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return None  # json in UTF-16
    text = start.decode("utf-8", "replace").lstrip("\ufeff \t\r\n").lower()
    if _YOLO_LINE.fullmatch(text.partition("\n")[0]):
        return f"a label file of YOLO (class and box a line, one file an image), {_EXPORT}"
    for pattern, meaning in _TEXTS:
        if re.match(pattern, text):
            return meaning
    return None


def describe_content(content: Any) -> str | None:
    """What a json of another format is, and what to do; None where it may be COCO's."""
    kinds = _LISTS if isinstance(content, list) else _OBJECTS
    first = content
    if isinstance(content, list):
        first = content[0] if content and isinstance(content[0], dict) else {}
    if not isinstance(first, dict):
        return None
    return next((text for has_words, text in kinds if has_words(first)), None)


def _has(*keys: str) -> Callable[[dict[str, Any]], bool]:
    return lambda entry: all(key in entry for key in keys)


def _has_values(*keys: str) -> Callable[[dict[str, Any]], bool]:
    """The entries under the top's keys are objects that have these keys."""

    def check(entry: dict[str, Any]) -> bool:
        values = [value for value in entry.values() if isinstance(value, dict)]
        return bool(values) and all(key in values[0] for key in keys)

    return check


def _lacks_coco(check: Callable[[dict[str, Any]], bool]) -> Callable[[dict[str, Any]], bool]:
    return lambda entry: not (isinstance(entry.get("images"), list) and "categories" in entry) and check(entry)


def _is_panoptic(entry: dict[str, Any]) -> bool:
    annotations = entry.get("annotations")
    first = annotations[0] if isinstance(annotations, list) and annotations else None
    return isinstance(first, dict) and "segments_info" in first


_VIA = f"annotations of VIA, {_EXPORT} (in VIA: Annotation, Export Annotations, COCO format)"

_OBJECTS: tuple[tuple[Callable[[dict[str, Any]], bool], str], ...] = (
    (_is_panoptic, "COCO's panoptic format: name the instances json of the same images"),
    (
        _lacks_coco(_has("shapes", "imagePath")),
        "one image's annotations of labelme: put the folder of these files into one COCO json (labelme2coco)",
    ),
    (_lacks_coco(_has("_via_img_metadata")), _VIA),
    (_lacks_coco(_has_values("filename", "regions")), _VIA),
    (lambda entry: entry.get("type") in ("FeatureCollection", "Feature"), f"GeoJSON (map coordinates), {_EXPORT}"),
    (_lacks_coco(_has("database", "taxonomy")), f"the database of ActivityNet, {_EXPORT}"),
    (_lacks_coco(_has("objects", "size")), f"one image's annotations of Supervisely, {_EXPORT}"),
    (_lacks_coco(_has("asset", "regions")), f"one image's annotations of VoTT, {_EXPORT}"),
    (_lacks_coco(_has("assets", "tags")), f"a project of VoTT, {_EXPORT}"),
    (_lacks_coco(_has("info", "samples")), f"a data set of FiftyOne's own, {_EXPORT}"),
    (_lacks_coco(_has("item", "annotations")), f"one image's annotations of V7 Darwin, {_EXPORT}"),
    (_lacks_coco(_has("instances", "metadata")), f"one image's annotations of SuperAnnotate, {_EXPORT}"),
    (_lacks_coco(_has("imgHeight", "objects")), "one image's polygons of Cityscapes: make one COCO json of them"),
    (_lacks_coco(_has("metainfo", "data_list")), f"OpenMMLab's own format, {_EXPORT}"),
    (_lacks_coco(_has("nbformat", "cells")), "a notebook, no annotation file"),
    (_lacks_coco(_has("message", "documentation_url")), "an error message of a server: the download has failed"),
    (_lacks_coco(_has("error")), "an error message of a server: the download has failed; download it again"),
)

_LISTS: tuple[tuple[Callable[[dict[str, Any]], bool], str], ...] = (
    (
        _has("image_id", "category_id", "score"),
        "a result file (detections with scores), no annotations: name the file that it was evaluated on",
    ),
    (
        lambda entry: "file_name" in entry and "annotations" in entry,
        "data-set dicts of Detectron2: save them as COCO json with detectron2.data.datasets.convert_to_coco_json",
    ),
    (_has("image", "annotations"), f"the format of CreateML, {_EXPORT}"),
    (_has("imagefilename"), f"the format of CreateML, {_EXPORT}"),
    (_has("data", "annotations"), f"Label Studio's own json, {_EXPORT} (in Label Studio: Export, COCO)"),
    (_has("data_row"), f"an export of Labelbox, {_EXPORT}"),
    (_has("Labeled Data"), f"an export of Labelbox, {_EXPORT}"),
    (_has("name", "labels"), f"the format of BDD100K, {_EXPORT}"),
    (_has("filename", "ann"), f"OpenMMLab's own format, {_EXPORT}"),
    (_has("image_id", "category_id", "bbox"), "the list of annotations alone: put it under the key annotations, "
     "beside images and categories"),
)  # fmt: skip


def describe_folder(path: Path) -> str:
    """What to name instead of a folder, by what lies in it."""
    names = sorted(entry.name for entry in path.iterdir() if entry.is_file())
    jsons = [name for name in names if name.endswith(".json")]
    if len(jsons) == 1:
        return f"a folder; name the file in it: {path / jsons[0]}"
    suffixes = {Path(name).suffix.lower() for name in names}
    if ".xml" in suffixes:
        return "a folder of xml files (PASCAL VOC?): convert them to one COCO json"
    if ".txt" in suffixes and not jsons:
        return f"a folder of text files (YOLO?), {_EXPORT}"
    if len(jsons) > 1:
        return f"a folder of {len(jsons)} json files; name one of them, or put them into one COCO json"
    return "a folder; ANN_FILE names a file"
