"""What a data set holds, and what is wrong with it: all of it, before a training meets it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fpt.core.config_node import CfgNode
from fpt.dataloaders.build import build_dataset, check_objects
from fpt.dataloaders.coco import CocoDataset
from fpt.dataloaders.concat import AnyDataset
from fpt.dataloaders.image_io import exif_orientation
from fpt.dataloaders.semantic.dataset import SemanticDataset
from fpt.run.check_semantic_data import check_semantic_dataset, image_files
from fpt.run.draw_ground_truth import draw_ground_truth, drawing_files, input_files
from fpt.run.remark import Remark
from fpt.utils.errors import UserError
from fpt.utils.own_files import check_outputs

_SAME_SIZE_ORIENTATIONS = (2, 3, 4)
"""EXIF orientations that leave height and width as they are, so that sizes do not tell how an image was annotated."""


class DataChecker:
    """Says of data sets what they hold and what is wrong with them; each is opened once.

    Args:
        cfg: the configuration; it declares the data sets, or they are of COCO's.
    """

    def __init__(self, cfg: CfgNode) -> None:
        self.cfg = cfg
        self._opened: dict[str, AnyDataset] = {}

    def check_drawings(self, name: str, folder: Path) -> None:
        """Raise UserError where drawings of a data set in `folder` would be written over files that are not ours."""
        with contextlib.suppress(UserError):  # of a data set that cannot be used `check` says so
            dataset = self._open(name)
            files = drawing_files(dataset, folder)
        if name in self._opened:
            inputs = input_files(dataset) if isinstance(dataset, CocoDataset) else image_files(dataset)
            check_outputs(files, inputs=inputs, advice="give another folder for --draw")

    def _open(self, name: str) -> AnyDataset:
        if name not in self._opened:
            self._opened[name] = build_dataset(
                self.cfg,
                name,
                is_train=True,
                with_masks=False,
                with_keypoints=self.cfg.MODEL.KEYPOINTS_ON,
                logs_report=False,
            )
        return self._opened[name]

    def check(self, name: str, *, reads_images: bool = False, draw_dir: Path | None = None) -> Iterator[Remark]:
        """What is found in a data set, as it is found.

        Args:
            name: of the data set.
            reads_images: load every image and its masks too, as training does.
            draw_dir: each image is drawn into it with its ground truth; None = no drawings.

        Raises:
            UserError: the data set cannot be used at all; the message says all that is wrong.
        """
        dataset = self._open(name)
        if isinstance(dataset, SemanticDataset):
            yield from check_semantic_dataset(dataset, draw_dir=draw_dir, palette=self.cfg.SEMANTIC.PALETTE)
            return
        masks = "masks" if dataset.has_masks else "boxes only"
        if dataset.keypoint_layout is not None:
            masks += f", {len(dataset.keypoint_layout)} key points ({', '.join(dataset.keypoint_layout.names)})"
        classes = ", ".join(dataset.class_names)
        yield Remark(f"data set {name}: {len(dataset.class_names)} classes ({classes}), {masks}")
        yield Remark(dataset.report.text(), is_fault=dataset.report.has_faults)
        yield from _count_objects(dataset, min_area=self.cfg.TRAIN.GT_MIN_AREA)
        if reads_images:
            dataset.with_masks = dataset.has_masks
            yield from _read_images(dataset)
        if draw_dir is not None:
            yield from draw_ground_truth(dataset, draw_dir)

    def compare_classes(self, train: Sequence[str], test: Sequence[str]) -> Iterator[Remark]:
        """How the classes of the data sets that were checked differ from those of the first one of training."""
        names = [name for name in dict.fromkeys([*train, *test]) if name in self._opened]
        for name in names[1:]:
            own, theirs = self._opened[names[0]].class_names, self._opened[name].class_names
            if own == theirs:
                continue
            missing = [item for item in own if item not in theirs]
            extra = [item for item in theirs if item not in own]
            parts = [f"{name} lacks {', '.join(missing)}"] if missing else []
            parts += [f"{name} alone has {', '.join(extra)}"] if extra else []
            what = "; ".join(parts) or "the same names in another order"
            rule = "they cannot be trained together" if name in train else "only shared names count in an evaluation"
            yield Remark(f"  note  classes of {names[0]} and {name} differ ({rule}): {what}", is_fault=name in train)


def _count_objects(dataset: CocoDataset, *, min_area: float) -> Iterator[Remark]:
    """Objects by class, and why there is nothing to learn from, if there is not."""
    objects = dataset.objects()
    counts = [f"{name} {number}" for name, number in zip(dataset.class_names, objects.num_by_class, strict=True)]
    yield Remark(f"  objects by class: {', '.join(counts)}")
    empty = [name for name, number in zip(dataset.class_names, objects.num_by_class, strict=True) if not number]
    if empty and objects.num_learnt:
        yield Remark(f"  note  classes without an object: {', '.join(empty)}")
    try:
        check_objects([objects], names=[dataset.name], min_area=min_area)
    except UserError as error:
        yield Remark(f"  ERROR it can be evaluated on, not trained on: {error}", is_fault=True)


def _count_empty_masks(target: dict[str, Any]) -> int:
    """Objects whose mask covers nothing of their box; those without a mask are none of them."""
    if "masks" not in target:
        return 0
    is_empty = target["masks"].flatten(1).amax(dim=1) == 0
    return int((is_empty & target["has_mask"]).sum() if "has_mask" in target else is_empty.sum())


def _read_images(dataset: CocoDataset) -> Iterator[Remark]:
    turned: list[str] = []
    for index in range(len(dataset)):
        path = dataset.image_path(index)
        try:
            target = dataset[index]["target"]
        except UserError as error:
            yield Remark(f"  ERROR {error}", is_fault=True)
            continue
        if exif_orientation(path) in _SAME_SIZE_ORIENTATIONS:
            turned.append(path.name)
        num_empty = _count_empty_masks(target)
        if num_empty:
            yield Remark(f"  note  {path}: {num_empty} x masks that cover nothing of their box", is_fault=True)
    if turned:
        done = "left as they are stored" if dataset.reading.exif == "ignore" else "turned or mirrored accordingly"
        examples = ", ".join(turned[:5]) + (f" and {len(turned) - 5} more" if len(turned) > 5 else "")
        yield Remark(
            f"  note  {len(turned)} x images with an EXIF orientation of 2, 3 or 4 (mirrored or upside down), {done}; "
            f"if they were annotated the other way, set DATA_LOADER.EXIF (auto, apply, ignore) [{examples}]"
        )
