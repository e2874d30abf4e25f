"""Images of a data set with what was found beside what is annotated."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fpt.dataloaders.coco import CocoDataset
from fpt.dataloaders.concat import AnyDataset
from fpt.dataloaders.image_io import read_image
from fpt.run.image_files import output_names
from fpt.structures.detections import Detections
from fpt.utils.errors import UserError
from fpt.utils.own_files import recorded
from fpt.visualization.draw import draw_side_by_side
from fpt.visualization.ground_truth import detections_from_annotations
from fpt.visualization.image_output import explained_output, save_image

_LOGGER = logging.getLogger("fpt")

_NUM_KEPT = 4


@dataclass(frozen=True, kw_only=True)
class DrawnImages:
    """Drawings of a data set.

    Attributes:
        last: the last few, uint8 [H, W, 3] RGB, by name.
        failures: files that could not be written.
    """

    last: dict[str, np.ndarray]
    failures: list[Path]


def drawing_files(dataset: AnyDataset, image_ids: Sequence[int], folder: Path) -> list[Path]:
    """The files that `draw_dataset` writes for these images."""
    index_of = {image_id: index for index, image_id in enumerate(dataset.image_ids)}
    paths = [dataset.image_path(index_of[image_id]) for image_id in image_ids]
    return [folder / f"{name}.png" for name in output_names(paths)]


def draw_dataset(
    dataset: CocoDataset, detections: Sequence[Detections], folder: Path, *, score_threshold: float
) -> DrawnImages:
    """Write ``<folder>/<name of the image>.png`` for each of `detections`: found on the left, annotated on the right.

    The files must have been claimed. One that cannot be written is one logged error; the others are written.

    Raises:
        UserError: an image cannot be read.
    """
    annotations = dataset.annotations_by_image()
    index_of = {image_id: index for index, image_id in enumerate(dataset.image_ids)}
    files = drawing_files(dataset, [found.image_id for found in detections], folder)
    last: dict[str, np.ndarray] = {}
    failures: list[Path] = []
    for found, file in zip(detections, files, strict=True):
        truth = detections_from_annotations(
            annotations.get(found.image_id, []), dataset.category_ids, image_id=found.image_id, size_hw=found.size_hw
        )
        drawing = draw_side_by_side(
            read_image(dataset.image_path(index_of[found.image_id]), found.size_hw, reading=dataset.reading),
            found,
            truth,
            dataset.class_names,
            score_threshold=score_threshold,
            skeleton=dataset.skeleton,
        )
        try:
            with explained_output(file), recorded(file):
                save_image(file, drawing)
        except UserError as error:
            _LOGGER.error("%s", error)
            failures.append(file)
            continue
        last[file.stem] = drawing
        if len(last) > _NUM_KEPT:
            del last[next(iter(last))]
    _LOGGER.info("%d of %d images drawn: %s", len(detections) - len(failures), len(detections), folder)
    return DrawnImages(last=last, failures=failures)
