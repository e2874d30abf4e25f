"""A data set in COCO's terms: images with boxes, labels, box-frame masks and key points."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from fpt.annotations.ground_truth import GroundTruth, make_ground_truth
from fpt.annotations.json_file import load_json
from fpt.annotations.pack import AnnotationReader
from fpt.annotations.packed import Categories
from fpt.annotations.report import DatasetReport
from fpt.annotations.shapes import FAULT_WORDS
from fpt.annotations.store import open_annotations
from fpt.dataloaders.class_choice import choose_classes
from fpt.dataloaders.image_finder import ImageFinder, find_images, find_size_hw
from fpt.dataloaders.image_io import ImageReading, read_image
from fpt.dataloaders.keypoint_layout import check_layout, layout_of, name_points
from fpt.dataloaders.proposals import Proposals
from fpt.dataloaders.transforms import ResizeAndFlip, resize_image
from fpt.structures.keypoints import flip_order
from fpt.structures.masks import rasterize_polygons, rasterize_rle
from fpt.utils.errors import UserError

logger = logging.getLogger(__name__)

MASK_SIZE = 112
"""Cells a side of the box-frame masks: four for each cell of a mask head's usual 28."""

_COVER_TOLERANCE = 1.0
"""A box that leaves so many pixels of its image, or less, covers it."""

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


@dataclass(frozen=True, kw_only=True)
class Objects:
    """Counts of the objects of a data set.

    Attributes:
        num_learnt: objects that are trained on.
        num_crowds: crowds, which are ignored regions.
        num_small: objects of less than the smallest area.
        num_covering: those that are trained on whose box covers the whole image.
        num_by_class: those that are trained on, by class.
    """

    num_learnt: int
    num_crowds: int
    num_small: int
    num_covering: int
    num_by_class: tuple[int, ...]


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
        with_keypoints: whether targets hold key points.
        proposals: boxes that samples hold, with or without targets; None = none.
        max_proposals: the best so many of an image.
        is_class_agnostic: all classes are one, `object`.
        flip_pairs: names of key points that a mirrored image exchanges, two by two; none = by left and right.
        min_area: objects with a smaller area in original pixels are left out; -1 keeps all.
        limit: number of images that are used, from the first; None = all.
        read: reader of the annotation file.
        box_format: what the four numbers of a box are, one of BOX_FORMATS.
        classes: names of the classes that are used, in this order; none = all, in the order of their ids.
        max_missing: share of the images that may be missing; those are found bad when they are loaded.
        reading: how images become 8-bit RGB; None = the defaults.
        logs_report: log what was found in the annotation file, where anything was.

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
        with_keypoints: bool = False,
        flip_pairs: Sequence[str] = (),
        proposals: Proposals | None = None,
        max_proposals: int = 2000,
        is_class_agnostic: bool = False,
        min_area: float = -1.0,
        limit: int | None = None,
        read: AnnotationReader = load_json,
        box_format: str = "xywh",
        classes: Sequence[str] = (),
        max_missing: float = 0.0,
        reading: ImageReading | None = None,
        logs_report: bool = True,
    ) -> None:
        self.name = name
        self.ann_file = Path(ann_file)
        self.image_dir = Path(image_dir)
        self.transform = transform
        self.with_targets = with_targets
        self.with_masks = with_masks
        self.min_area = min_area
        self.read = read
        self.reading = reading or ImageReading()
        finder = ImageFinder(self.image_dir)
        self._store = open_annotations(
            self.ann_file, read, size_of=partial(find_size_hw, finder, self.reading), box_format=box_format
        )
        packed = self._store.packed
        self._length = len(packed) if limit is None else min(limit, len(packed))
        self._categories, self._labels = self._choose(classes, is_class_agnostic)
        """Classes of this data set, and labels int [N] of the objects where they are others than the file's."""
        self.has_masks = self._find_masks(is_needed=with_masks and with_targets)
        self._proposals, self.max_proposals = proposals, max_proposals
        if proposals is not None:
            self._places = proposals.positions(self.image_ids, source=f"data set {name}: the file of proposals")
        self._flip_order = self._find_points(with_keypoints and with_targets, flip_pairs)
        self._other_names = self._find_images(finder, max_missing)
        if self.report.has_fatal:
            raise UserError(f"data set {name} cannot be used:\n{self.report.text()}")
        if self.report.findings and logs_report:
            logger.warning("data set %s\n%s", name, self.report.text())

    def _choose(self, names: Sequence[str], is_class_agnostic: bool) -> tuple[Categories, np.ndarray | None]:
        packed = self._store.packed
        choice = choose_classes(
            self._store.categories, packed.labels, names, source=self.ann_file, needs_all=self.with_targets
        )
        if not is_class_agnostic:
            return choice.categories, choice.labels
        labels = packed.labels if choice.labels is None else choice.labels
        one = Categories(ids=(1,), names=("object",), keypoint_names=((),), skeletons=((),))
        return one, (labels > 0).astype(np.int32)

    def _find_masks(self, *, is_needed: bool) -> bool:
        packed = self._store.packed
        has_mask = packed.has_mask()[(self.labels > 0) & ~packed.is_crowd]
        if is_needed and len(has_mask) and not has_mask.any():
            raise UserError(f"data set {self.name}: {self._explain_no_masks()}")
        return bool(has_mask.any())

    def _explain_no_masks(self) -> str:
        if faults := self.report.mentioned(FAULT_WORDS):
            lines = "\n  ".join(faults)
            return (
                f"{self.ann_file} has masks, but none can be used:\n  {lines}\ncorrect them, or train boxes alone with "
                "--set MODEL.MASK_ON False"
            )
        return (
            f"{self.ann_file} has no masks, so a mask head cannot be trained on it; switch it off with "
            "--set MODEL.MASK_ON False"
        )

    def _find_points(self, is_used: bool, pairs: Sequence[str]) -> np.ndarray:
        """Find the key points of the classes; their order in a mirrored image, int64 [K], if they are used."""
        self._categories = name_points(self._categories, self._store.packed, self.labels)
        self.keypoint_layout = layout_of(self._categories)
        """The key points of the classes; None where they have none."""
        self.with_keypoints = is_used
        if not is_used:
            return np.zeros(0, np.int64)
        layout = check_layout(self._categories, source=self.ann_file)
        try:
            return np.array(flip_order(layout.names, pairs))
        except ValueError as error:
            raise UserError(f"data set {self.name}: KRCNN.FLIP_PAIRS is {tuple(pairs)}: {error}") from None

    def _find_images(self, finder: ImageFinder, max_missing: float) -> dict[int, str]:
        """Names of the images that have another name than it is written; missing ones are reported."""
        names = self._store.packed.file_names(self._length)
        found = find_images(finder, names)
        other = [f"{names[index]} is {name}" for index, name in found.other_names.items()]
        self.report.add_all("images under another name", "read", other, is_harmless=True)
        if found.missing:
            tried = self.image_dir.absolute()
            exists = "" if tried.is_dir() else ", a folder that does not exist"
            near = finder.nearest(names[found.missing[0]])
            hint = f"; nearest to the first is {near}" if near else ""
            is_fatal = len(found.missing) > allowed_bad(max_missing, self._length)
            action = f"looked for in {tried}{exists}; put them there or correct the data set's IMAGE_DIR{hint}"
            if not is_fatal:
                action += "; until then others take their places (TRAIN.MAX_BAD_SAMPLES)"
            missing = [_shown_name(names[index]) for index in found.missing]
            self.report.add_all("missing images", action, missing, is_fatal=is_fatal)
        return found.other_names

    def __len__(self) -> int:
        return self._length

    @property
    def report(self) -> DatasetReport:
        """Faults of the annotation file and its images."""
        return self._store.report

    @property
    def labels(self) -> np.ndarray:
        """int32 [N]: labels of all objects; 0 = of none of the classes that are used."""
        return self._store.packed.labels if self._labels is None else self._labels

    def ground_truth(self) -> GroundTruth:
        """What the images show, for evaluation: the objects that training learns from, and crowds."""
        return make_ground_truth(self._store.packed, self._categories, labels=self._labels)

    def annotations_by_image(self) -> dict[int, list[dict[str, Any]]]:
        """The annotations of the ground truth by the id of their image."""
        grouped: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for item in self.ground_truth().annotations:
            grouped[item["image_id"]].append(item)
        return grouped

    @property
    def skeleton(self) -> tuple[tuple[int, int], ...]:
        """Pairs of key points, from 0, that drawings connect."""
        return () if self.keypoint_layout is None else self.keypoint_layout.skeleton

    def load_annotations(self) -> dict[str, Any]:
        """What the annotation file holds, in COCO's terms, read anew and as it is."""
        return self.read(self.ann_file)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, without background; label i + 1 is ``class_names[i]``."""
        return self._categories.names

    @property
    def category_ids(self) -> tuple[int, ...]:
        """Ids of the classes in the annotation file; label i + 1 is ``category_ids[i]``."""
        return self._categories.ids

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

    def objects(self) -> Objects:
        """The objects of the images that are used, by what becomes of them while training."""
        packed = self._store.packed
        end = int(packed.object_offsets[self._length])
        labels, is_crowd = self.labels[:end], packed.is_crowd[:end]
        is_small = packed.areas[:end] < self.min_area
        is_learnt = (labels > 0) & ~is_crowd & ~is_small
        sizes = np.repeat(packed.image_sizes_hw[: self._length], np.diff(packed.object_offsets[: self._length + 1]), 0)
        sides = packed.boxes_xyxy[:end, 2:] - packed.boxes_xyxy[:end, :2]
        covers = (sides >= sizes[:, ::-1] - _COVER_TOLERANCE).all(axis=1)
        return Objects(
            num_learnt=int(is_learnt.sum()),
            num_crowds=int(((labels > 0) & is_crowd).sum()),
            num_small=int(((labels > 0) & ~is_crowd & is_small).sum()),
            num_covering=int((is_learnt & covers).sum()),
            num_by_class=tuple(np.bincount(labels[is_learnt], minlength=self.num_classes)[1:].tolist()),
        )

    def image_path(self, index: int) -> Path:
        """File of an image."""
        return self.image_dir / self._other_names.get(index, self._store.packed.file_name(index))

    def image_id(self, index: int) -> int:
        """Id of an image in the annotation file."""
        return int(self._store.packed.image_ids[index])

    def size_hw(self, index: int) -> tuple[int, int]:
        """Height and width of an image, as annotated."""
        return self._store.packed.size_hw(index)

    def __getitem__(self, key: Key) -> Sample:
        """One sample.

        Returns:
            image: uint8 [3, H, W] RGB of network-input size (channels last in memory); image_id; size_hw of the
            original; scale: input / original (of the shorter side; heights and widths are rounded one by one);
            target, if wanted: boxes float32 [N, 4] xyxy in input pixels, labels int64 [N], masks uint8 [N, S, S]
            in the frames of the boxes, crowd_boxes float32 [C, 4], keypoints float32 [N, K, 3] x, y in input pixels
            and visibility, zeros for objects without. With proposals the target holds ``proposals`` float32 [P, 4] in
            input pixels, and nothing else where targets are not wanted.

        Raises:
            UserError: the image cannot be read or has another size than annotated.
        """
        index, seed = key if isinstance(key, tuple) else (key, None)
        if not 0 <= index < self._length:
            raise IndexError(f"image {index} of {self._length}")
        packed = self._store.packed
        size_hw = packed.size_hw(index)
        input_hw, is_flipped = self.transform.draw(size_hw, seed)
        image = read_image(self.image_path(index), size_hw, reading=self.reading, least_size_hw=input_hw)
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
        if self._proposals is not None:
            boxes = self._proposals.of(int(self._places[index]), limit=self.max_proposals)
            boxes = self.transform.boxes(boxes, size_hw, input_hw, is_flipped)
            sample["target"] = {**sample.get("target", {}), "proposals": torch.from_numpy(boxes)}
        return sample

    def _target(
        self, index: int, size_hw: tuple[int, int], input_hw: tuple[int, int], is_flipped: bool
    ) -> dict[str, torch.Tensor]:
        packed = self._store.packed
        chosen = packed.objects(index)
        boxes = self.transform.boxes(packed.boxes_xyxy[chosen], size_hw, input_hw, is_flipped)
        labels = self.labels[chosen]
        is_ignored = np.array(packed.is_crowd[chosen]) & (labels > 0)
        is_kept = ~packed.is_crowd[chosen] & (labels > 0) & (packed.areas[chosen] >= self.min_area)
        target = {
            "boxes": torch.from_numpy(boxes[is_kept]),
            "labels": torch.from_numpy(labels[is_kept].astype(np.int64)),
            "crowd_boxes": torch.from_numpy(boxes[is_ignored]),
        }
        if self.with_masks:
            masks = self._masks(chosen.start + np.flatnonzero(is_kept), size_hw)
            target["masks"] = torch.from_numpy(np.ascontiguousarray(masks[:, :, ::-1]) if is_flipped else masks)
            has_mask = packed.has_mask(chosen)[is_kept]
            if not has_mask.all():
                target["has_mask"] = torch.from_numpy(has_mask)
        if self.with_keypoints:
            points = self._keypoints(chosen.start + np.flatnonzero(is_kept))
            points = self.transform.points(points, size_hw, input_hw, is_flipped)
            target["keypoints"] = torch.from_numpy(points[:, self._flip_order] if is_flipped else points)
        return target

    def _keypoints(self, positions: np.ndarray) -> np.ndarray:
        """Key points float32 [N, K, 3] in original pixels."""
        points = np.zeros((len(positions), len(self._flip_order), 3), np.float32)
        for i, position in enumerate(positions.tolist()):
            own = self._store.packed.keypoints_of(position)
            if len(own) == points.shape[1]:
                points[i] = own
        return points

    def _masks(self, positions: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
        """Box-frame masks uint8 [N, S, S] of the unmirrored image."""
        packed = self._store.packed
        masks = np.zeros((len(positions), MASK_SIZE, MASK_SIZE), np.uint8)
        for i, position in enumerate(positions.tolist()):
            box = packed.boxes_xyxy[position]
            rle = packed.rle(position, size_hw)
            if rle is None:
                masks[i] = rasterize_polygons(_single(packed.polygons(position)), box, MASK_SIZE)
            else:
                masks[i] = rasterize_rle(rle, box, MASK_SIZE)
        return masks


def allowed_bad(share: float, num_images: int) -> int:
    """Bad images that a training tolerates: a share of all, but one at least if any may be, and never all of them."""
    if share <= 0:
        return 0
    return min(max(1, int(share * num_images)), num_images - 1)


def _shown_name(name: str) -> str:
    return name.encode("utf-8", "replace").decode()


def _single(polygons: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Polygons in single precision, which is enough for a frame of 112 cells; the evaluation's are exact."""
    return [points.astype(np.float32) for points in polygons]
