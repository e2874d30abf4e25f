"""Images of a data set with what was found beside what is annotated."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fpt.dataloaders.coco import CocoDataset
from fpt.dataloaders.image_io import read_image
from fpt.evaluation.coco import complete_ground_truth
from fpt.run.image_files import output_names
from fpt.structures.detections import Detections
from fpt.visualization.draw import draw_side_by_side
from fpt.visualization.ground_truth import detections_from_annotations
from fpt.visualization.image_output import save_image

_LOGGER = logging.getLogger("fpt")

_NUM_KEPT = 4


def draw_dataset(
    dataset: CocoDataset, detections: Sequence[Detections], folder: Path, *, score_threshold: float
) -> dict[str, np.ndarray]:
    """Write ``<folder>/<name of the image>.png`` for each of `detections`; returns the last few by name.

    The images are uint8 [H, W, 3] BGR: what was found on the left, what is annotated on the right.
    """
    annotations = _annotations_by_image(dataset)
    index_of = {image_id: index for index, image_id in enumerate(dataset.image_ids)}
    paths = [dataset.image_path(index_of[found.image_id]) for found in detections]
    drawn: dict[str, np.ndarray] = {}
    for found, path, name in zip(detections, paths, output_names(paths), strict=True):
        truth = detections_from_annotations(
            annotations[found.image_id], dataset.category_ids, image_id=found.image_id, size_hw=found.size_hw
        )
        drawn[name] = draw_side_by_side(
            read_image(path, found.size_hw), found, truth, dataset.class_names, score_threshold=score_threshold
        )
        save_image(folder / f"{name}.png", drawn[name])
        if len(drawn) > _NUM_KEPT:
            del drawn[next(iter(drawn))]
    _LOGGER.info("%d images drawn: %s", len(detections), folder)
    return drawn


def _annotations_by_image(dataset: CocoDataset) -> dict[int, list[dict[str, Any]]]:
    grouped: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for item in complete_ground_truth(dataset.load_annotations(), source=dataset.ann_file)["annotations"]:
        grouped[item["image_id"]].append(item)
    return grouped
