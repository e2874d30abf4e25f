"""A data set in COCO's terms: images with boxes, labels and box-frame masks."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from fpt.dataloaders.annotation_store import open_annotations
from fpt.dataloaders.coco_json import AnnotationReader, load_json
from fpt.dataloaders.image_io import read_image
from fpt.dataloaders.report import DatasetReport
from fpt.dataloaders.transforms import ResizeAndFlip, flip_boxes, resize_image
from fpt.structures.masks import rasterize_polygons, rasterize_rle
from fpt.utils.errors import UserError

logger = logging.getLogger(__name__)

MASK_SIZE = 112
"""Cells a side of the box-frame masks: four for each cell of a mask head's usual 28."""

Key = int | tuple[int, int]
Sample = dict[str, Any]


class LoadFailure(str):
    """Why an image could not be loaded; travels through the loader so that the message arrives as it was."""


class ImageDataset(Dataset[Sample]):
    """Base of data sets of images: the loader gets the message of a UserError instead of an exception."""

    def __getitems__(self, keys: list[Key]) -> list[Sample | LoadFailure]:
        samples: list[Sample | LoadFailure] = []
        for key in keys:
            try:
                samples.append(self[key])
            except UserError as error:
                samples.append(LoadFailure(error))
        return samples


class CocoDataset(ImageDataset):
    """Images of one annotation file.

    A key is an index, or (index, seed): the seed alone decides size and mirroring, so that a sample depends on
    neither worker nor order; an index alone gives the first size, unmirrored.

    Args:
        name: name that messages and results use.
        ann_file: annotation file, in COCO's format unless there is another reader; a folder where the reader takes one.
        image_dir: folder of the images.
        transform: sizes and mirroring.
        with_targets: whether samples hold targets.
        with_masks: whether targets hold masks.
        min_area: objects with a smaller area in original pixels are left out; -1 keeps all.
        limit: number of images that are used, from the first; None = all.
        read: reader of the annotation file.

    Raises:
        UserError: the annotation file or an image is missing or wrong; the message holds the whole report.
    """

    def __init__(
        self,
        *,
        name: str,
        ann_file: Path | str,
        image_dir: Path | str,
        transform: ResizeAndFlip,
        with_targets: bool = True,
        with_masks: bool = False,
        min_area: float = -1.0,
        limit: int | None = None,
        read: AnnotationReader = load_json,
    ) -> None:
        self.name = name
        self.ann_file = Path(ann_file)
        self.image_dir = Path(image_dir)
        self.transform = transform
        self.with_targets = with_targets
        self.with_masks = with_masks
        self.min_area = min_area
        self.read = read
        self._store = open_annotations(self.ann_file, read)
        self._length = len(self._store.packed) if limit is None else min(limit, len(self._store.packed))
        self.has_masks = bool(self._store.packed.has_mask().any())
        if with_masks and with_targets and not self.has_masks:
            raise UserError(
                f"data set {name}: {self.ann_file} has no masks, so a mask head cannot be trained on it; "
                "switch it off with --set MODEL.MASK_ON False"
            )
        _report_missing_images(self)
        if self.report.has_fatal:
            raise UserError(f"data set {name} cannot be used:\n{self.report.text()}")
        if self.report.findings:
            logger.warning("data set %s\n%s", name, self.report.text())

    def __len__(self) -> int:
        return self._length

    @property
    def report(self) -> DatasetReport:
        """Faults of the annotation file and its images."""
        return self._store.report

    def load_annotations(self) -> dict[str, Any]:
        """What the annotation file holds, in COCO's terms, read anew."""
        return self.read(self.ann_file)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, without background; label i + 1 is ``class_names[i]``."""
        return self._store.categories.names

    @property
    def category_ids(self) -> tuple[int, ...]:
        """Ids of the classes in the annotation file; label i + 1 is ``category_ids[i]``."""
        return self._store.categories.ids

    @property
    def num_classes(self) -> int:
        """Number of classes, background included."""
        return len(self.class_names) + 1

    @property
    def image_ids(self) -> list[int]:
        """Ids of the images."""
        ids: list[int] = self._store.packed.image_ids[: self._length].tolist()
        return ids

    @property
    def is_wide(self) -> np.ndarray:
        """bool [len]: whether an image is wider than high."""
        sizes = self._store.packed.image_sizes_hw[: self._length]
        return sizes[:, 1] > sizes[:, 0]

    @property
    def num_objects(self) -> int:
        """Objects in the images that are used, crowds included."""
        return int(self._store.packed.object_offsets[self._length])

    def image_path(self, index: int) -> Path:
        """File of an image."""
        return self.image_dir / self._store.packed.file_name(index)

    def image_id(self, index: int) -> int:
        """Id of an image in the annotation file."""
        return int(self._store.packed.image_ids[index])

    def size_hw(self, index: int) -> tuple[int, int]:
        """Height and width of an image, as annotated."""
        return self._store.packed.size_hw(index)

    def file_names(self) -> list[str]:
        """File names of all images, relative to image_dir."""
        return self._store.packed.file_names(self._length)

    def __getitem__(self, key: Key) -> Sample:
        """One sample.

        Returns:
            image: uint8 [3, H, W] RGB of network-input size (channels last in memory); image_id; size_hw of the
            original; scale: input / original (of the shorter side; heights and widths are rounded one by one);
            target, if wanted: boxes float32 [N, 4] xyxy in input pixels, labels int64 [N], masks uint8 [N, S, S]
            in the frames of the boxes, crowd_boxes float32 [K, 4].

        Raises:
            UserError: the image cannot be read or has another size than annotated.
        """
        index, seed = key if isinstance(key, tuple) else (key, None)
        if not 0 <= index < self._length:
            raise IndexError(f"image {index} of {self._length}")
        packed = self._store.packed
        size_hw = packed.size_hw(index)
        image = read_image(self.image_path(index), size_hw)
        input_hw, is_flipped = self.transform.draw(size_hw, seed)
        image = resize_image(image, input_hw)
        if is_flipped:
            image = cv2.flip(image, 1)
        sample: Sample = {
            "image": torch.from_numpy(image).permute(2, 0, 1),
            "image_id": self.image_id(index),
            "size_hw": size_hw,
            "scale": min(input_hw) / min(size_hw),
        }
        if self.with_targets:
            sample["target"] = self._target(index, size_hw, input_hw, is_flipped)
        return sample

    def _target(
        self, index: int, size_hw: tuple[int, int], input_hw: tuple[int, int], is_flipped: bool
    ) -> dict[str, torch.Tensor]:
        packed = self._store.packed
        chosen = packed.objects(index)
        boxes = packed.boxes_xyxy[chosen] * np.array(
            [input_hw[1] / size_hw[1], input_hw[0] / size_hw[0]] * 2, dtype=np.float32
        )
        if is_flipped:
            boxes = flip_boxes(boxes, input_hw[1])
        is_ignored = np.array(packed.is_crowd[chosen])
        is_kept = ~is_ignored & (packed.areas[chosen] >= self.min_area)
        if self.with_masks:
            is_ignored |= is_kept & ~packed.has_mask(chosen)
            is_kept &= ~is_ignored
        target = {
            "boxes": torch.from_numpy(boxes[is_kept]),
            "labels": torch.from_numpy(packed.labels[chosen][is_kept].astype(np.int64)),
            "crowd_boxes": torch.from_numpy(boxes[is_ignored]),
        }
        if self.with_masks:
            masks = self._masks(chosen.start + np.flatnonzero(is_kept), size_hw)
            target["masks"] = torch.from_numpy(np.ascontiguousarray(masks[:, :, ::-1]) if is_flipped else masks)
        return target

    def _masks(self, positions: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
        """Box-frame masks uint8 [N, S, S] of the unmirrored image."""
        packed = self._store.packed
        masks = np.zeros((len(positions), MASK_SIZE, MASK_SIZE), np.uint8)
        for i, position in enumerate(positions.tolist()):
            box = packed.boxes_xyxy[position]
            rle = packed.rle(position, size_hw)
            if rle is None:
                masks[i] = rasterize_polygons(packed.polygons(position), box, MASK_SIZE)
            else:
                masks[i] = rasterize_rle(rle, box, MASK_SIZE)
        return masks


def _report_missing_images(dataset: CocoDataset) -> None:
    """Look every image up by listing each folder once: asking for 118k files one by one takes many times longer."""
    names = dataset.file_names()
    listed: dict[str, set[str]] = {}
    missing = []
    for name in names:
        folder, _, base = name.rpartition("/")
        if folder not in listed:
            listed[folder] = _list_folder(dataset.image_dir / folder)
        if base not in listed[folder]:
            missing.append(name)
    if not missing:
        return
    tried = dataset.image_dir.absolute()
    exists = "" if tried.is_dir() else ", a folder that does not exist"
    action = f"looked for in {tried}{exists}; put them there or correct the data set's IMAGE_DIR"
    dataset.report.add_all("missing images", action, missing, is_fatal=True)


def _list_folder(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except OSError:
        return set()
