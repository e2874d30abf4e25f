"""What a data set holds, and what is wrong with it: all of it, before a training meets it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fpt.core.config_node import CfgNode
from fpt.dataloaders.build import build_dataset
from fpt.dataloaders.coco import CocoDataset
from fpt.utils.errors import UserError


@dataclass(frozen=True)
class Remark:
    """A line, or some, of the report about a data set.

    Attributes:
        text: what was found.
        is_fault: whether it is something to mend.
    """

    text: str
    is_fault: bool = False


def check_data(cfg: CfgNode, name: str, *, reads_images: bool) -> Iterator[Remark]:
    """The report about a data set, as it is read.

    Args:
        cfg: the configuration; it declares the data set, or the data set is one of COCO's.
        name: of the data set.
        reads_images: load every image and its masks too, as training does.

    Raises:
        UserError: the data set cannot be used at all; the message says all that is wrong.
    """
    dataset = build_dataset(cfg, name, is_train=True, with_masks=False)
    masks = "masks" if dataset.has_masks else "boxes only"
    yield Remark(f"data set {name}: {len(dataset.class_names)} classes ({', '.join(dataset.class_names)}), {masks}")
    yield Remark(dataset.report.text(), is_fault=bool(dataset.report.findings))
    if not dataset.num_objects:
        yield Remark("  ERROR there is no annotated object: it can be evaluated on, not trained on", is_fault=True)
    if reads_images:
        yield from _read_images(build_dataset(cfg, name, is_train=True, with_masks=dataset.has_masks))


def _read_images(dataset: CocoDataset) -> Iterator[Remark]:
    for index in range(len(dataset)):
        try:
            masks = dataset[index]["target"].get("masks")
        except UserError as error:
            yield Remark(f"  ERROR {error}", is_fault=True)
            continue
        num_empty = 0 if masks is None else int((masks.flatten(1).amax(dim=1) == 0).sum())
        if num_empty:
            path = dataset.image_path(index)
            yield Remark(f"  note  {path}: {num_empty} x masks that cover nothing of their box", is_fault=True)
