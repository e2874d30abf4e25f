"""Annotation files as labelling tools export them: made up, with the keys, types and habits of each tool.

Each takes the content of the tiny data set (two images with two rectangles each) and returns that tool's file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Content = dict[str, Any]


@dataclass(frozen=True)
class Export:
    """An export and what is to be read from it.

    Attributes:
        make: from the tiny data set's content and folder to the tool's content.
        has_masks: whether it has masks.
        classes: names that are read.
    """

    make: Callable[[Content, Path], Content]
    has_masks: bool = True
    classes: tuple[str, ...] = ("red", "green")


def _rle(annotation: Content, size: int = 64) -> Content:
    """The rectangle of an annotation as uncompressed run lengths, column by column."""
    x, y, w, h = annotation["bbox"]
    counts = [x * size + y, *([h, size - h] * (w - 1)), h]
    return {"counts": [*counts, size * size - sum(counts)], "size": [size, size]}


def _cvat(content: Content, folder: Path) -> Content:
    del folder
    for image in content["images"]:
        image.update(license=0, flickr_url="", coco_url="", date_captured=0)
    for category in content["categories"]:
        category["supercategory"] = ""
    for annotation in content["annotations"]:
        annotation["attributes"] = {"occluded": False}
    info = dict.fromkeys(("contributor", "date_created", "description", "url", "version", "year"), "")
    return {"licenses": [{"name": "", "id": 0, "url": ""}], "info": info, **content}


def cvat_boxes(content: Content, folder: Path) -> Content:
    """CVAT, rectangles: an empty list of polygons each."""
    content = _cvat(content, folder)
    for annotation in content["annotations"]:
        annotation.update(segmentation=[], area=float(annotation["area"]))
        annotation["attributes"]["rotation"] = 0.0
    return content


def cvat_brushed(content: Content, folder: Path) -> Content:
    """CVAT, polygons beside brushed masks, which are run lengths and, so it says, crowds."""
    content = _cvat(content, folder)
    for annotation in content["annotations"][1::2]:
        annotation.update(segmentation=_rle(annotation), iscrowd=1)
    return content


def cvat_keypoints(content: Content, folder: Path) -> Content:
    """CVAT, skeletons: key points, and a box around them."""
    content = _cvat(content, folder)
    for category in content["categories"]:
        category.update(keypoints=["a", "b"], skeleton=[[1, 2]])
    for annotation in content["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation.update(segmentation=[], keypoints=[x, y, 2, x + w, y + h, 1], num_keypoints=1)
    return content


def roboflow(content: Content, folder: Path) -> Content:
    """Roboflow: class 0 is the project, and names of images carry a hash."""
    for image in content["images"]:
        name = image["file_name"].replace(".", "_") + ".rf.0123456789abcdef.png"
        (folder / "images" / image["file_name"]).rename(folder / "images" / name)
        image.update(file_name=name, license=1, date_captured="2023-05-01T10:00:00+00:00")
        image["extra"] = {"name": "photo.png"}
    for category in content["categories"]:
        category["supercategory"] = "lights"
    content["categories"].insert(0, {"id": 0, "name": "lights", "supercategory": "none"})
    for annotation in content["annotations"]:
        annotation["segmentation"] = []
    return {"info": {"year": "2023"}, "licenses": [{"id": 1, "url": "", "name": "Public Domain"}], **content}


def roboflow_same_name(content: Content, folder: Path) -> Content:
    """Roboflow with one class that is called like the project."""
    content = roboflow(content, folder)
    content["categories"] = [
        {"id": 0, "name": "red", "supercategory": "none"},
        {"id": 1, "name": "red", "supercategory": "red"},
    ]
    for annotation in content["annotations"]:
        annotation["category_id"] = 1
    return content


def label_studio(content: Content, folder: Path) -> Content:
    """Label Studio on Windows: backslashes, ids from 0, no crowd flags of its own."""
    del folder
    for image in content["images"]:
        image["file_name"] = "images\\" + image["file_name"]
        image["id"] -= 1
    for category in content["categories"]:
        category["id"] -= 1
    for annotation in content["annotations"]:
        annotation.update(ignore=0, id=annotation["id"] - 1, image_id=annotation["image_id"] - 1)
        annotation["category_id"] -= 1
    return {**content, "info": {"year": 2024, "version": "1.0", "contributor": "Label Studio"}}


def labelme2coco(content: Content, folder: Path) -> Content:
    """labelme2coco: each label is its own supercategory, classes are repeated, numbers are text here and there."""
    del folder
    for category in content["categories"]:
        category["supercategory"] = category["name"]
    content["categories"] += [{**category, "id": category["id"] + 2} for category in content["categories"]]
    for image in content["images"]:
        image.update(height=f"{image['height']}.0000", width=float(image["width"]))
    for annotation in content["annotations"]:
        annotation.update(bbox=[float(value) for value in annotation["bbox"]], iscrowd="0")
    return content


def via(content: Content, folder: Path) -> Content:
    """A converter of VIA 2: a category for each region, and ids of images as text."""
    del folder
    content["categories"] = [
        {"id": item["category_id"], "name": content["categories"][item["category_id"] - 1]["name"]}
        for item in content["annotations"]
    ]
    for image in content["images"]:
        image.update(id=str(image["id"]), license=0, date_captured="")
    for annotation in content["annotations"]:
        annotation["image_id"] = str(annotation["image_id"])
    return content


def makesense(content: Content, folder: Path) -> Content:
    """makesense.ai: nothing but what is needed; polygons are not closed boxes."""
    del folder
    return {"info": {"description": "my-project-name"}, **content}


def coco_annotator(content: Content, folder: Path) -> Content:
    """COCO Annotator: much of its own database comes along."""
    del folder
    for image in content["images"]:
        image.update(dataset_id=3, category_ids=[], path=f"/datasets/x/{image['file_name']}", annotated=True)
        image.update(annotating=[], num_annotations=2, metadata={}, deleted=False, milliseconds=0, events=[])
    for category in content["categories"]:
        category.update(supercategory="", color="#ff0000", metadata={}, keypoint_colors=[])
    for annotation in content["annotations"]:
        annotation.update(iscrowd=False, isbbox=False, creator="me", color="#00ff00", keypoints=[], metadata={})
    return content


def pycococreator(content: Content, folder: Path) -> Content:
    """pycococreator: compressed run lengths for crowds, sizes at each annotation."""
    del folder
    for annotation in content["annotations"]:
        annotation.update(width=64, height=64)
    crowd = {**content["annotations"][0], "id": 9, "iscrowd": 1, "bbox": [0, 0, 2, 60], "area": 120}
    crowd.update(segmentation=_rle(crowd), bbox=[float(value) for value in crowd["bbox"]])
    content["annotations"].append(crowd)
    licence = {"id": 1, "name": "Attribution", "url": "http://example.org"}
    return {"info": {"description": "Example Dataset"}, "licenses": [licence], **content}


def supervisely(content: Content, folder: Path) -> Content:
    """Supervisely: null where it knows nothing, points in pairs."""
    del folder
    for image in content["images"]:
        image.update(license=None, coco_url=None, flickr_url=None, date_captured=None)
    for annotation in content["annotations"]:
        (flat,) = annotation["segmentation"]
        annotation["segmentation"] = [[flat[i : i + 2] for i in range(0, len(flat), 2)]]
    return {"info": {"description": "", "url": "None"}, "licenses": [None], **content}


def fiftyone(content: Content, folder: Path) -> Content:
    """FiftyOne: an unused class first, supercategories are null, names of images with their folder."""
    del folder
    for image in content["images"]:
        image.update(license=None, coco_url=None, file_name=f"images/{image['file_name']}")
    for category in content["categories"]:
        category["supercategory"] = None
    for annotation in content["annotations"]:
        del annotation["segmentation"]
        annotation["bbox"] = [value + 0.25 for value in annotation["bbox"]]
    return {"info": {"year": "", "version": "", "contributor": ""}, "licenses": [], **content}


EXPORTS: dict[str, Export] = {
    "CVAT, boxes": Export(cvat_boxes, has_masks=False),
    "CVAT, polygons": Export(_cvat),
    "CVAT, brushed masks": Export(cvat_brushed),
    "CVAT, key points": Export(cvat_keypoints, has_masks=False),
    "Roboflow": Export(roboflow, has_masks=False),
    "Roboflow, same name": Export(roboflow_same_name, has_masks=False, classes=("red",)),
    "Label Studio on Windows": Export(label_studio),
    "labelme2coco": Export(labelme2coco),
    "VIA 2": Export(via),
    "makesense": Export(makesense),
    "COCO Annotator": Export(coco_annotator),
    "pycococreator": Export(pycococreator),
    "Supervisely": Export(supervisely),
    "FiftyOne": Export(fiftyone, has_masks=False),
}
