"""A data set with a class for every pixel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fpt.dataloaders.coco import ImageDataset, Key, Sample
from fpt.dataloaders.image_io import ImageReading, read_image
from fpt.dataloaders.semantic.label_maps import LabelledImages
from fpt.dataloaders.semantic.transforms import ScaleCropFlip
from fpt.dataloaders.transforms import resize_image
from fpt.structures.keypoints import KeypointLayout, flip_order
from fpt.utils.errors import UserError


class SemanticDataset(ImageDataset):
    """Images and maps of classes.

    A key is an index, or (index, seed): with a seed the sample is one of training, scaled, cut and mirrored as the seed
    says; an index alone gives the whole image.

    Args:
        name: name that messages and results use.
        source: what ANN_FILE names.
        labelled: the images.
        transform: of training; classes whose names differ in left and right change places in a mirrored image.
        short_side: shorter side in pixels that images are brought to first; 0 = their own size.
        limit: use the first so many images; None = all.
        reading: how images become 8-bit RGB.
    """

    keypoint_layout: KeypointLayout | None = None
    with_keypoints = False

    def __init__(
        self,
        *,
        name: str,
        source: Path,
        labelled: LabelledImages,
        transform: ScaleCropFlip,
        short_side: int = 0,
        limit: int | None = None,
        reading: ImageReading | None = None,
    ) -> None:
        self.name = name
        self.ann_file = source
        self.labelled = labelled
        self.transform = transform
        self.short_side = short_side
        self.reading = reading or ImageReading()
        self._length = min(len(labelled.images), limit or len(labelled.images))
        self._flip_order = np.array(flip_order(self.class_names), np.int16)

    def __len__(self) -> int:
        return self._length

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; class i is ``class_names[i]``."""
        return self.labelled.class_names

    @property
    def category_ids(self) -> tuple[int, ...]:
        """Numbers of the classes."""
        return tuple(range(len(self.class_names)))

    @property
    def num_classes(self) -> int:
        """Number of classes and one, as a detector with its background counts."""
        return len(self.class_names) + 1

    @property
    def image_ids(self) -> list[int]:
        """Numbers of the images."""
        return list(range(self._length))

    @property
    def is_wide(self) -> np.ndarray:
        """bool [len], all equal: the parts of all images have one size."""
        return np.zeros(self._length, dtype=bool)

    def image_path(self, index: int) -> Path:
        """File of an image."""
        return self.labelled.images[index]

    def image_id(self, index: int) -> int:
        """Number of an image."""
        return index

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """An image, uint8 [H, W, 3] RGB, and its map of classes, int16 [H, W].

        Raises:
            UserError: one of them cannot be read, they have different sizes, or an id is no class.
        """
        path, classes = self.image_path(index), self.labelled.classes(index)
        image = read_image(path, reading=self.reading)
        if image.shape[:2] == classes.shape:
            return image, classes
        if self.reading.exif == "auto":
            unturned = read_image(path, reading=replace(self.reading, exif="ignore"))
            if unturned.shape[:2] == classes.shape:
                return unturned, classes
        raise UserError(
            f"{path} is {image.shape[1]} x {image.shape[0]} (width x height), but its map of classes "
            f"{classes.shape[1]} x {classes.shape[0]}"
        )

    def input_size(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width that an image is brought to before anything else."""
        return input_size(size_hw, short_side=self.short_side)

    def __getitem__(self, key: Key) -> Sample:
        """One sample.

        Returns:
            image: uint8 [3, H, W] RGB; image_id; size_hw of the original; scale: input / original; target: ``classes``
            int16, with a seed those of the input [H, W], else those of the original.

        Raises:
            UserError: the image or its map cannot be read, or they do not fit.
        """
        index, seed = key if isinstance(key, tuple) else (key, None)
        if not 0 <= index < self._length:
            raise IndexError(f"image {index} of {self._length}")
        image, classes = self.read(index)
        size_hw = (image.shape[0], image.shape[1])
        input_hw = self.input_size(size_hw)
        image = resize_image(image, input_hw)
        if seed is not None:
            image, classes = self.transform(image, classes, seed=seed, flip_order=self._flip_order)
        return {
            "image": torch.from_numpy(image).permute(2, 0, 1),
            "image_id": index,
            "size_hw": size_hw,
            "scale": min(input_hw) / min(size_hw),
            "target": {"classes": torch.from_numpy(classes)},
        }


def input_size(size_hw: tuple[int, int], *, short_side: int) -> tuple[int, int]:
    """Height and width with the shorter side at ``short_side``; 0 = as they are."""
    if not short_side:
        return size_hw
    scale = short_side / min(size_hw)
    return max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale))
