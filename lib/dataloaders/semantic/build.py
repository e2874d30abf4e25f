"""Data sets of semantic segmentation from the configuration."""

from __future__ import annotations

from pathlib import Path

from fpt.core.config_node import CfgNode
from fpt.dataloaders.catalog import find_dataset
from fpt.dataloaders.image_io import ImageReading
from fpt.dataloaders.semantic.dataset import SemanticDataset
from fpt.dataloaders.semantic.formats import LABEL_READERS, WITHOUT_KEY
from fpt.dataloaders.semantic.transforms import ScaleCropFlip
from fpt.utils.errors import UserError
from fpt.utils.parts import find_part


def build_semantic_dataset(
    cfg: CfgNode, name: str, *, ann_file: Path, image_dir: Path, reading: ImageReading, limit: int | None
) -> SemanticDataset:
    """A data set by name.

    Args:
        cfg: the configuration.
        name: of the data set.
        ann_file: what its ANN_FILE names.
        image_dir: folder of its images.
        reading: how images become 8-bit RGB.
        limit: use the first so many images; None = all.

    Raises:
        UserError: unknown format, missing or wrong files.
    """
    files = find_dataset(name, cfg.DATASETS)
    read = find_part(LABEL_READERS, files.format, option=f"DATASETS.{name}.FORMAT")
    for key, value in (("CLASSES", files.classes), ("IGNORE", files.ignored)):
        if value and files.format in WITHOUT_KEY[key]:
            raise UserError(
                f"DATASETS.{name} has {key}, but FORMAT {files.format} says that itself; leave it out, or declare the "
                "maps as FORMAT label_maps"
            )
    return SemanticDataset(
        name=name,
        source=ann_file,
        labelled=read(files, image_dir, ann_file),
        transform=build_semantic_transform(cfg),
        short_side=cfg.SEMANTIC.SHORT_SIDE,
        limit=limit,
        reading=reading,
    )


def build_semantic_transform(cfg: CfgNode) -> ScaleCropFlip:
    """Sizes, parts, mirroring and colours of training."""
    options = cfg.SEMANTIC
    means = (123.675, 116.28, 103.53) if isinstance(cfg.PIXEL_MEANS, str) else cfg.PIXEL_MEANS
    fill = [round(value) for value in means]
    return ScaleCropFlip(
        crop_hw=options.CROP_SIZE,
        scale_range=options.SCALE_RANGE,
        max_share=options.MAX_CLASS_SHARE,
        flip_probability=0.5 if cfg.TRAIN.USE_FLIPPED else 0.0,
        jitter=options.COLOUR_JITTER,
        blur=options.BLUR,
        fill=fill[::-1] if cfg.PIXEL_FORMAT == "BGR" else fill,
    )
