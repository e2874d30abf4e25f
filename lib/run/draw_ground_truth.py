"""Images of a data set with their ground truth, so that an owner sees it before a training does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fpt.dataloaders.coco import CocoDataset
from fpt.dataloaders.concat import AnyDataset
from fpt.dataloaders.image_io import read_image
from fpt.run.image_files import output_names
from fpt.run.remark import Remark
from fpt.utils.errors import UserError
from fpt.utils.own_files import claim_outputs, recorded
from fpt.visualization.draw import draw_detections
from fpt.visualization.ground_truth import detections_from_annotations
from fpt.visualization.image_output import explained_output, save_image


def draw_ground_truth(dataset: CocoDataset, folder: Path) -> Iterator[Remark]:
    """Write ``<folder>/<name of the image>.png`` for each image: boxes, masks and key points, coloured by class.

    Crowds have a class of their own in the drawings, such as "person (crowd)".

    Args:
        dataset: images and ground truth.
        folder: where to.

    Returns:
        What could not be read or written, as it happens, and at last the number of drawings.

    Raises:
        UserError: a drawing would be written over a file that is not ours.
    """
    names = [*dataset.class_names, *(f"{name} (crowd)" for name in dataset.class_names)]
    annotations = dataset.annotations_by_image()
    paths = [dataset.image_path(index) for index in range(len(dataset))]
    files = drawing_files(dataset, folder)
    claim_outputs(files, inputs=input_files(dataset), advice="give another folder for --draw")
    num_written = 0
    for index, (path, file) in enumerate(zip(paths, files, strict=True)):
        size_hw = dataset.size_hw(index)
        truth = detections_from_annotations(
            annotations.get(dataset.image_id(index), []),
            dataset.category_ids,
            image_id=dataset.image_id(index),
            size_hw=size_hw,
            with_crowds=True,
        )
        try:
            image = read_image(path, size_hw, reading=dataset.reading)
            drawing = draw_detections(
                image,
                truth,
                names,
                score_threshold=0.0,
                with_scores=False,
                skeleton=dataset.skeleton,
                is_truth=True,
            )
            with explained_output(file), recorded(file):
                save_image(file, drawing)
        except UserError as error:
            yield Remark(f"  ERROR {error}", is_fault=True)
        else:
            num_written += 1
    yield Remark(f"  {num_written} of {len(dataset)} images drawn: {folder}")


def drawing_files(dataset: AnyDataset, folder: Path) -> list[Path]:
    """The file of each image's drawing."""
    return [folder / f"{name}.png" for name in output_names(input_files(dataset)[:-1])]


def input_files(dataset: AnyDataset) -> list[Path]:
    """The images, and last the annotation file."""
    return [*(dataset.image_path(index) for index in range(len(dataset))), dataset.ann_file]
