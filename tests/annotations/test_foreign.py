"""Files of other formats are named, with what to do."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path

import pytest

from fpt.annotations.json_file import load_json
from fpt.utils.errors import UserError


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.json", "{}")
    return file.getvalue()


BYTES = {
    b"<!DOCTYPE html>\n<html><head><title>404</title></head></html>": "a web page, not the file itself",
    b"\n  <HTML>": "a web page",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n": "a git-LFS pointer, .* `git lfs pull`",
    gzip.compress(b"{}"): r"compressed by gzip: unpack it first",
    _zip(): "a zip archive: unpack it first",
    b"\x89PNG\r\n\x1a\n000": "an image: ANN_FILE names the annotation file",
    b"\xff\xd8\xff\xe0000": "an image",
    b"%PDF-1.7": "a PDF document",
    b"0 0.5 0.5 0.25 0.25\n1 0.1 0.1 0.2 0.2\n": "a label file of YOLO",
    b"2 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2\n": "a label file of YOLO",
    b"train: images/train\nval: images/val\nnames: [a, b]\n": "the data.yaml of YOLO",
    b"<annotation>\n<folder>x</folder><object/></annotation>": "an xml file of PASCAL VOC",
    b"<?xml version='1.0'?>\n<annotations><version>1.1</version><meta/></annotations>": "an xml file",
    b"<annotations>\n<version>1.1</version><image id='0'/></annotations>": "the xml of CVAT",
    b"filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,1,1,x,0,0,1,1\n": "a table of comma-separated values",
    b"\x80\x04\x95\x10\x00": "a Python pickle",
    b"   \n": "the annotation file is empty",
    b'{"images": [], "annot': "broken json at line 1.*the end of the file is missing",
    b'{"a": 1}\n{"a": 2}\n': "Extra data.*one json object a line",
}

JSON = {
    "labelme": ({"version": "5.0", "shapes": [], "imagePath": "a.jpg", "imageData": None}, "of labelme"),
    "VIA project": ({"_via_settings": {}, "_via_img_metadata": {}, "_via_attributes": {}}, "annotations of VIA"),
    "VIA annotations": ({"a.jpg123": {"filename": "a.jpg", "size": 123, "regions": []}}, "annotations of VIA"),
    "Detectron2": ([{"file_name": "a.jpg", "height": 1, "annotations": [{"bbox_mode": 0}]}], "data-set dicts of Detec"),
    "results": ([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}], "a result file"),
    "annotations alone": ([{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}], "annotations alone"),
    "GeoJSON": ({"type": "FeatureCollection", "features": []}, "GeoJSON"),
    "CreateML": ([{"image": "a.jpg", "annotations": [{"label": "x", "coordinates": {}}]}], "CreateML"),
    "Label Studio": ([{"id": 1, "data": {"image": "x"}, "annotations": []}], "Label Studio's own json"),
    "Supervisely": ({"description": "", "size": {"height": 1}, "objects": []}, "of Supervisely"),
    "VoTT": ({"asset": {}, "regions": []}, "of VoTT"),
    "Labelbox": ([{"ID": "x", "Labeled Data": "url", "Label": {}}], "Labelbox"),
    "BDD100K": ([{"name": "a.jpg", "labels": []}], "BDD100K"),
    "OpenMMLab": ({"metainfo": {}, "data_list": []}, "OpenMMLab"),
    "panoptic": (
        {"images": [], "categories": [], "annotations": [{"segments_info": [], "file_name": "a.png"}]},
        "COCO's panoptic format",
    ),
    "server": ({"message": "Not Found", "documentation_url": "x"}, "an error message of a server"),
    "a number": (7, "the json's top is a int"),
}


@pytest.mark.parametrize(("data", "message"), list(BYTES.items()), ids=[str(data[:12]) for data in BYTES])
def test_bytes_of_other_formats(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as error:
        load_json(path)
    assert str(error.value).count("\n") == 0


@pytest.mark.parametrize("name", JSON)
def test_json_of_other_formats(tmp_path: Path, name: str) -> None:
    content, message = JSON[name]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        load_json(path)


def test_coco_files_are_none_of_these(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 1}],
        "categories": [],
        "annotations": [],
        "info": {},
        "samples": 3,
        "objects": [],
        "size": 1,
    }
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        (tmp_path / "a.json").write_bytes(json.dumps(content).encode(encoding))
        assert load_json(tmp_path / "a.json") == content


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["x.json"], r"name the file in it: .*x\.json"),
        (["a.json", "b.json"], "a folder of 2 json files"),
        (["a.xml", "b.xml"], "a folder of xml files"),
        (["a.txt"], "a folder of text files"),
        ([], "ANN_FILE names a file"),
    ],
)
def test_folders(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=message):
        load_json(tmp_path)
