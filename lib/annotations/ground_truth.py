"""Ground truth for evaluators, in COCO's terms, made of what training reads."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fpt.annotations.json_file import load_json
from fpt.annotations.pack import pack_content, read_packed
from fpt.annotations.packed import Categories, PackedAnnotations


@dataclass(frozen=True)
class GroundTruth:
    """Images, classes and objects with the keys and types that evaluators know; no other key of the file is in it.

    Attributes:
        images: id, height, width.
        categories: id, name.
        annotations: id (from 1), image_id, category_id, bbox (x, y, width, height), area, iscrowd, segmentation
            (polygons or compressed RLE) where the object has a mask, and where its class has key points, keypoints
            (x, y, visibility, ...) and num_keypoints, those that are annotated.
    """

    images: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    annotations: list[dict[str, Any]]

    def of_categories(self, ids: Collection[int]) -> GroundTruth:
        """The part of some classes; all images stay."""
        categories = [category for category in self.categories if category["id"] in ids]
        if len(categories) == len(self.categories):
            return self
        return GroundTruth(self.images, categories, [item for item in self.annotations if item["category_id"] in ids])

    def of_names(self, names: Collection[str]) -> GroundTruth:
        """The part of the classes of these names; all images stay."""
        return self.of_categories({category["id"] for category in self.categories if category["name"] in names})


def read_ground_truth(source: Path | str | dict[str, Any]) -> GroundTruth:
    """The ground truth of a COCO json file, or of its content.

    Raises:
        UserError: it cannot be used.
    """
    if isinstance(source, dict):
        found = pack_content("the ground truth", source)
    else:
        found = read_packed(Path(source), load_json)
    return make_ground_truth(found.packed, found.categories)


def make_ground_truth(
    packed: PackedAnnotations, categories: Categories, *, labels: np.ndarray | None = None
) -> GroundTruth:
    """Ground truth of packed annotations.

    Args:
        packed: the annotations.
        categories: the classes that labels stand for.
        labels: int [N], 0 leaves an object out; None = those of `packed`.
    """
    labels = packed.labels if labels is None else labels
    image_of = np.repeat(np.arange(len(packed)), np.diff(packed.object_offsets))
    chosen = np.flatnonzero(labels > 0)
    has_mask = packed.has_mask()
    num_points = (0, *(len(names) for names in categories.keypoint_names))
    annotations = []
    columns = (chosen, image_of[chosen], labels[chosen], packed.boxes_xywh[chosen], packed.areas[chosen])
    rows = zip(*(column.tolist() for column in (*columns, packed.is_crowd[chosen], has_mask[chosen])), strict=True)
    ids = packed.image_ids.tolist()
    for number, (position, index, label, box, area, is_crowd, with_mask) in enumerate(rows, start=1):
        annotation = {
            "id": number,
            "image_id": ids[index],
            "category_id": categories.ids[label - 1],
            "bbox": box,
            "area": area,
            "iscrowd": int(is_crowd),
        }
        if with_mask:
            annotation["segmentation"] = _segmentation(packed, position, packed.size_hw(index))
        if num_points[label]:
            points = packed.keypoints_of(position)
            points = points if len(points) == num_points[label] else np.zeros((num_points[label], 3))
            annotation |= {"keypoints": points.ravel().tolist(), "num_keypoints": int((points[:, 2] > 0).sum())}
        annotations.append(annotation)
    sizes = packed.image_sizes_hw.tolist()
    return GroundTruth(
        images=[{"id": ids[i], "height": h, "width": w} for i, (h, w) in enumerate(sizes)],
        categories=[{"id": i, "name": name} for i, name in zip(categories.ids, categories.names, strict=True)],
        annotations=annotations,
    )


def _segmentation(packed: PackedAnnotations, position: int, size_hw: Sequence[int]) -> Any:
    h, w = size_hw
    rle = packed.rle(position, (h, w))
    if rle is not None:
        return {"size": [h, w], "counts": rle["counts"].decode("ascii")}
    return [part.ravel().tolist() for part in packed.polygons(position)]
