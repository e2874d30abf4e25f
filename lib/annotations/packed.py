"""The annotations of a data set as a few flat arrays, which loader workers share instead of copying."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np


@dataclass(frozen=True)
class PackedAnnotations:
    """Every image and object of a data set; M images in the file's order, N objects grouped by image.

    ``x_offsets[i]`` to ``x_offsets[i + 1]`` is the range of item i in the array that the offsets index.
    Boxes, points and key points are in original-image pixels.

    Attributes:
        image_ids: int64 [M].
        image_sizes_hw: int32 [M, 2].
        file_name_offsets: int64 [M + 1] into file_name_bytes.
        file_name_bytes: uint8, names in UTF-8 one after the other.
        object_offsets: int64 [M + 1] into the object arrays.
        annotation_ids: int64 [N].
        boxes_xyxy: float32 [N, 4], inside the image, x2 and y2 exclusive: what is trained on.
        boxes_xywh: float64 [N, 4] as the file has them, but clipped where they reach far out: what is evaluated on.
        labels: int32 [N], 1..C in the order of the category ids.
        is_crowd: bool [N].
        areas: float64 [N]: the file's, or that of the mask, else of the box, where it has none or one that cannot be.
        part_offsets: int64 [N + 1] into the polygons' parts.
        point_offsets: int64 [P + 1] into points, a range for each part.
        points: float64 [Q, 2].
        rle_offsets: int64 [N + 1] into rle_bytes.
        rle_bytes: uint8, compressed RLE counts of the size of the image.
        keypoint_offsets: int64 [N + 1] into keypoints.
        keypoints: float32 [K, 3] x, y, visibility.
    """

    image_ids: np.ndarray
    image_sizes_hw: np.ndarray
    file_name_offsets: np.ndarray
    file_name_bytes: np.ndarray
    object_offsets: np.ndarray
    annotation_ids: np.ndarray
    boxes_xyxy: np.ndarray
    boxes_xywh: np.ndarray
    labels: np.ndarray
    is_crowd: np.ndarray
    areas: np.ndarray
    part_offsets: np.ndarray
    point_offsets: np.ndarray
    points: np.ndarray
    rle_offsets: np.ndarray
    rle_bytes: np.ndarray
    keypoint_offsets: np.ndarray
    keypoints: np.ndarray

    def __len__(self) -> int:
        return len(self.image_ids)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def file_name(self, index: int) -> str:
        """File name of an image, as the annotation file gives it."""
        start, end = self.file_name_offsets[index : index + 2]
        return self.file_name_bytes[start:end].tobytes().decode("utf-8", "surrogateescape")

    def file_names(self, num_images: int) -> list[str]:
        """File names of the first images."""
        ends = self.file_name_offsets[: num_images + 1].tolist()
        blob = self.file_name_bytes[: ends[-1]].tobytes()
        return [
            blob[start:end].decode("utf-8", "surrogateescape") for start, end in zip(ends[:-1], ends[1:], strict=True)
        ]

    def size_hw(self, index: int) -> tuple[int, int]:
        """Height and width of an image."""
        h, w = self.image_sizes_hw[index].tolist()
        return h, w

    def objects(self, index: int) -> slice:
        """Range of an image's objects."""
        return slice(int(self.object_offsets[index]), int(self.object_offsets[index + 1]))

    def polygons(self, position: int) -> list[np.ndarray]:
        """Polygons of an object: float64 [P, 2] each; empty when it has none."""
        first, last = self.part_offsets[position : position + 2].tolist()
        bounds = self.point_offsets[first : last + 1].tolist()
        return [self.points[start:end] for start, end in zip(bounds[:-1], bounds[1:], strict=True)]

    def rle(self, position: int, size_hw: tuple[int, int]) -> dict[str, Any] | None:
        """Compressed RLE of an object, or None."""
        start, end = self.rle_offsets[position : position + 2].tolist()
        if start == end:
            return None
        return {"size": list(size_hw), "counts": self.rle_bytes[start:end].tobytes()}

    def keypoints_of(self, position: int) -> np.ndarray:
        """Key points of an object: float32 [K, 3]; K = 0 when it has none."""
        start, end = self.keypoint_offsets[position : position + 2].tolist()
        return self.keypoints[start:end]

    def has_mask(self, objects: slice | None = None) -> np.ndarray:
        """bool [N]: whether an object has polygons or an RLE; of a range of objects, or of all."""
        start, stop = (objects.start, objects.stop) if objects is not None else (0, len(self.labels))
        num_parts = np.diff(self.part_offsets[start : stop + 1])
        return (num_parts > 0) | (np.diff(self.rle_offsets[start : stop + 1]) > 0)


@dataclass(frozen=True)
class Categories:
    """The classes of a data set, in the order of their ids; label i + 1 stands for position i.

    Attributes:
        ids: ids in the annotation file.
        names: class names.
        keypoint_names: names of each class's key points; empty where it has none.
        skeletons: pairs of each class's key points, from 0, that drawings connect.
    """

    ids: tuple[int, ...]
    names: tuple[str, ...]
    keypoint_names: tuple[tuple[str, ...], ...]
    skeletons: tuple[tuple[tuple[int, int], ...], ...]
