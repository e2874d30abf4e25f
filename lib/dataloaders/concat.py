"""Several data sets of the same classes as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fpt.dataloaders.coco import CocoDataset, ImageDataset, Key, Sample
from fpt.dataloaders.semantic.dataset import SemanticDataset
from fpt.structures.keypoints import KeypointLayout
from fpt.utils.errors import UserError

AnyDataset = CocoDataset | SemanticDataset


class ConcatImages(ImageDataset):
    """Data sets one after the other.

    Args:
        datasets: one or more with the same class names in the same order.

    Raises:
        UserError: the classes, or the key points where they are learnt, differ.
    """

    def __init__(self, datasets: Sequence[AnyDataset]) -> None:
        first = datasets[0]
        for other in datasets[1:]:
            if other.class_names != first.class_names:
                differing = sorted(set(first.class_names) ^ set(other.class_names)) or "their order"
                raise UserError(
                    f"data sets {first.name} and {other.name} cannot be trained together: their classes differ in "
                    f"{differing}; give both annotation files the same categories"
                )
            if first.with_keypoints and other.keypoint_layout != first.keypoint_layout:
                raise UserError(
                    f"data sets {first.name} and {other.name} cannot be trained together: their key points differ in "
                    "number, names or skeleton; give both annotation files the same, or set MODEL.KEYPOINTS_ON False"
                )
        self.datasets = tuple(datasets)
        self._starts = np.cumsum([0, *(len(dataset) for dataset in datasets)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, without background."""
        return self.datasets[0].class_names

    @property
    def keypoint_layout(self) -> KeypointLayout | None:
        """The key points of the classes; None where they have none."""
        return self.datasets[0].keypoint_layout

    @property
    def category_ids(self) -> tuple[int, ...]:
        """Ids of the classes in the first annotation file."""
        return self.datasets[0].category_ids

    @property
    def num_classes(self) -> int:
        """Number of classes, background included."""
        return self.datasets[0].num_classes

    @property
    def is_wide(self) -> np.ndarray:
        """bool [len]: whether an image is wider than high."""
        return np.concatenate([dataset.is_wide for dataset in self.datasets])

    def locate(self, index: int) -> tuple[AnyDataset, int]:
        """The data set that holds an image, and the image's index there."""
        which = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.datasets[which], index - int(self._starts[which])

    def __getitem__(self, key: Key) -> Sample:
        """The sample of a key whose index counts through all data sets."""
        index, seed = key if isinstance(key, tuple) else (key, None)
        dataset, inner = self.locate(index)
        return dataset[inner if seed is None else (inner, seed)]
