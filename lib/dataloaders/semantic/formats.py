"""Readers of data sets with a class for every pixel, by the name that FORMAT says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_masks

from fpt.annotations.packed import PackedAnnotations
from fpt.annotations.readers import DATASET_READERS
from fpt.annotations.store import open_annotations
from fpt.dataloaders.catalog import DatasetFiles
from fpt.dataloaders.class_choice import choose_classes
from fpt.dataloaders.image_finder import ImageFinder, find_size_hw
from fpt.dataloaders.image_io import IMAGE_SUFFIXES, ImageReading
from fpt.dataloaders.semantic.label_maps import LabelledImages, check_partners, make_table, read_id_map
from fpt.structures.paste import decode_mask
from fpt.structures.semantic_classes import ADE20K, CITYSCAPES, CITYSCAPES_IDS, IGNORED, LIP, VOC
from fpt.utils.errors import UserError

_CROWD = 2**16 - 1
"""Id of a crowd's pixels, beyond the classes of any file."""

LabelReader = Callable[[DatasetFiles, Path, Path], LabelledImages]
"""Declaration, image folder, and what ANN_FILE names -> images and maps."""


def read_pairs(files: DatasetFiles, image_dir: Path, maps: Path) -> LabelledImages:
    """Images, and png maps of the same names in another folder; names and ignored ids are declared."""
    if not files.classes:
        raise UserError(f"DATASETS.{files.name} needs CLASSES, the names of the ids 0, 1, 2 ... in this order")
    images = _images_in(image_dir)
    partners = [(maps / path.relative_to(image_dir)).with_suffix(".png") for path in images]
    classes = {number: number for number in range(len(files.classes))} | {number: IGNORED for number in files.ignored}
    return _from_png(images, partners, make_table(classes), files.classes, source=image_dir)


def read_cityscapes(files: DatasetFiles, image_dir: Path, maps: Path) -> LabelledImages:
    """leftImg8bit/<split> and gtFine/<split>, each with a folder a city: 19 of the 34 ids count."""
    images = [path for path in _images_in(image_dir) if path.stem.endswith("_leftImg8bit")]
    partners = [
        maps / path.relative_to(image_dir).with_name(path.stem[: -len("_leftImg8bit")] + "_gtFine_labelIds.png")
        for path in images
    ]
    classes = {number: index for index, number in enumerate(CITYSCAPES_IDS)}
    return _from_png(images, partners, make_table(classes, others=IGNORED), CITYSCAPES, source=image_dir)


def read_ade20k(files: DatasetFiles, image_dir: Path, maps: Path) -> LabelledImages:
    """images/<split> and annotations/<split>: ids 1 to 150, and 0 where nothing counts."""
    images = _images_in(image_dir)
    partners = [(maps / path.relative_to(image_dir)).with_suffix(".png") for path in images]
    classes = {0: IGNORED} | {number + 1: number for number in range(len(ADE20K))}
    return _from_png(images, partners, make_table(classes), ADE20K, source=image_dir)


def read_lip(files: DatasetFiles, image_dir: Path, listing: Path) -> LabelledImages:
    """<split>_images, <split>_segmentations and the list <split>_id.txt beside it; 20 classes."""
    names = _read_list(listing)
    split = listing.stem.removesuffix("_id")
    images = [image_dir / f"{name}.jpg" for name in names]
    partners = [listing.parent / f"{split}_segmentations" / f"{name}.png" for name in names]
    classes = {number: number for number in range(len(LIP))} | {255: IGNORED}
    return _from_png(images, partners, make_table(classes), LIP, source=listing)


def read_voc(files: DatasetFiles, image_dir: Path, listing: Path) -> LabelledImages:
    """JPEGImages, SegmentationClass and a list in ImageSets/Segmentation; 255 counts for nothing.

    An image without png has its map in SBD's SBD/cls/<name>.mat (Hariharan et al. 2011).
    """
    names = _read_list(listing)
    root = listing.parents[2] if len(listing.parents) > 2 else listing.parent
    images = [image_dir / f"{name}.jpg" for name in names]
    png = [root / "SegmentationClass" / f"{name}.png" for name in names]
    partners = [path if path.is_file() else root / "SBD" / "cls" / f"{path.stem}.mat" for path in png]
    classes = {number: number for number in range(len(VOC))} | {255: IGNORED}
    return _from_png(images, partners, make_table(classes), VOC, source=listing)


def read_coco_pixels(files: DatasetFiles, image_dir: Path, ann_file: Path) -> LabelledImages:
    """Masks of objects as classes of pixels: smaller objects lie on top, and crowds count for nothing.

    Class 0 is the background; class i + 1 is the file's i-th category.
    """
    finder = ImageFinder(image_dir)
    size_of = partial(find_size_hw, finder, ImageReading())
    store = open_annotations(ann_file, DATASET_READERS["coco"], size_of=size_of, box_format=files.box_format)
    if store.report.has_fatal:
        raise UserError(f"data set {files.name} cannot be used:\n{store.report.text()}")
    packed = store.packed
    if not packed.has_mask().any():
        raise UserError(f"{ann_file} has no masks, of which classes of pixels could be made")
    images = [image_dir / (finder.find(name) or name) for name in packed.file_names(len(packed))]
    choice = choose_classes(store.categories, packed.labels, files.classes, source=ann_file, needs_all=True)
    labels = packed.labels if choice.labels is None else choice.labels
    names = ("background", *choice.categories.names)
    classes = {number: number for number in range(len(names))} | {_CROWD: IGNORED}
    return LabelledImages(
        images=images,
        read=lambda index: _rasterize(packed, labels, index),
        table=make_table(classes),
        class_names=names,
    )


LABEL_READERS: dict[str, LabelReader] = {
    "label_maps": read_pairs,
    "cityscapes": read_cityscapes,
    "ade20k": read_ade20k,
    "lip": read_lip,
    "voc": read_voc,
    "coco": read_coco_pixels,
}

WITHOUT_KEY: dict[str, tuple[str, ...]] = {
    "CLASSES": ("cityscapes", "ade20k", "lip", "voc"),
    "IGNORE": ("cityscapes", "ade20k", "lip", "voc", "coco"),
}
"""Formats that know their classes, or which ids count, themselves."""


def _images_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def _read_list(path: Path) -> list[str]:
    try:
        return [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: the list of images cannot be read: {error}") from None


def _from_png(
    images: Sequence[Path],
    maps: Sequence[Path],
    table: np.ndarray,
    class_names: tuple[str, ...],
    *,
    source: Path,
) -> LabelledImages:
    check_partners(images, maps, source=source)
    return LabelledImages(
        images=images,
        read=lambda index: _read_mat(maps[index]) if maps[index].suffix == ".mat" else read_id_map(maps[index]),
        table=table,
        class_names=class_names,
    )


def _read_mat(path: Path) -> np.ndarray:
    """Ids of SBD's file of an image."""
    try:
        from scipy.io import loadmat  # it takes long, and few need it
    except ImportError:
        raise UserError(f"{path}: maps of SBD are read by scipy: pip install scipy (or fpt[sbd])") from None
    try:
        content = loadmat(path, mat_dtype=False, squeeze_me=True, struct_as_record=False)
        return np.asarray(content["GTcls"].Segmentation).astype(np.int32)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError) as error:
        raise UserError(f"{path}: not a map of SBD: {error}") from None


def _rasterize(packed: PackedAnnotations, labels: np.ndarray, index: int) -> np.ndarray:
    """Ids of an image's pixels from its objects' masks."""
    size_hw, chosen = packed.size_hw(index), packed.objects(index)
    ids = np.zeros(size_hw, np.int32)
    positions = np.arange(chosen.start, chosen.stop)
    is_crowd, areas = packed.is_crowd[chosen], packed.areas[chosen]
    for offset in np.lexsort((-areas, ~is_crowd)).tolist():  # crowds first, then from large to small
        rle = packed.rle(int(positions[offset]), size_hw)
        if rle is None:
            polygons = [points.reshape(-1).tolist() for points in packed.polygons(int(positions[offset]))]
            if not polygons:
                continue
            rle = coco_masks.merge(coco_masks.frPyObjects(polygons, *size_hw))
        label = labels[positions[offset]]
        if label:
            ids[decode_mask(rle).astype(bool)] = _CROWD if is_crowd[offset] else label
    return ids
