"""What a data set with a class for every pixel holds, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fpt.dataloaders.semantic.dataset import SemanticDataset
from fpt.run.draw_ground_truth import drawing_files
from fpt.run.remark import Remark
from fpt.utils.errors import UserError
from fpt.utils.own_files import claim_outputs, recorded
from fpt.visualization.image_output import explained_output, save_image
from fpt.visualization.segmentation import draw_classes


def check_semantic_dataset(
    dataset: SemanticDataset, *, draw_dir: Path | None = None, palette: Sequence[int] = ()
) -> Iterator[Remark]:
    """Every image with its map: what cannot be used, as it is found, and the share of each class.

    Args:
        dataset: images and maps.
        draw_dir: each image is drawn into it, tinted by its classes; None = no drawings.
        palette: colours of the classes.
    """
    yield Remark(f"data set {dataset.name}: {len(dataset.class_names)} classes ({', '.join(dataset.class_names)})")
    files = drawing_files(dataset, draw_dir) if draw_dir is not None else []
    if files:
        claim_outputs(files, inputs=image_files(dataset), advice="give another folder for --draw")
    counts, num_ignored, num_bad = np.zeros(len(dataset.class_names), np.int64), 0, 0
    for index in range(len(dataset)):
        try:
            image, classes = dataset.read(index)
            if files:
                with explained_output(files[index]), recorded(files[index]):
                    save_image(files[index], draw_classes(image, classes, dataset.class_names, palette=palette))
        except UserError as error:
            num_bad += 1
            yield Remark(f"  ERROR {error}", is_fault=True)
            continue
        counts += np.bincount(classes[classes >= 0], minlength=len(counts))
        num_ignored += int((classes < 0).sum())
    yield Remark(f"  {len(dataset)} images, {num_bad} of them cannot be used")
    total = max(int(counts.sum()) + num_ignored, 1)
    shares = [f"{name} {100 * count / total:.2f}%" for name, count in zip(dataset.class_names, counts, strict=True)]
    yield Remark(f"  share of the pixels: {', '.join(shares)}; {100 * num_ignored / total:.2f}% count for nothing")
    empty = [name for name, count in zip(dataset.class_names, counts, strict=True) if not count]
    if empty:
        yield Remark(f"  note  classes without a pixel: {', '.join(empty)}")


def image_files(dataset: SemanticDataset) -> list[Path]:
    """The images, which nothing may be written over."""
    return [dataset.image_path(index) for index in range(len(dataset))]
