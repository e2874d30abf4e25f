"""Data sets and loaders from the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fpt.annotations.readers import DATASET_READERS
from fpt.core.config import resolve_data_path, resolve_weights_path
from fpt.core.config_node import CfgNode
from fpt.dataloaders.catalog import find_dataset
from fpt.dataloaders.coco import CocoDataset, Objects, allowed_bad
from fpt.dataloaders.concat import AnyDataset
from fpt.dataloaders.image_io import ImageReading
from fpt.dataloaders.loader import ImageLoader
from fpt.dataloaders.proposals import Proposals, read_proposals
from fpt.dataloaders.replacement import ReplacingImages
from fpt.dataloaders.samplers import RangeBatchSampler, TrainBatchSampler
from fpt.dataloaders.semantic.build import build_semantic_dataset
from fpt.dataloaders.semantic.formats import LABEL_READERS
from fpt.dataloaders.transforms import ResizeAndFlip
from fpt.utils.distributed import rank, world_size
from fpt.utils.errors import UserError
from fpt.utils.parts import find_part

_DEBUG_IMAGES = 32
_OR_YAML = ", or the yaml file that the run was started with: --cfg FILE --output_dir RUN --resume"


def build_transform(cfg: CfgNode, *, is_train: bool) -> ResizeAndFlip:
    """Sizes and mirroring of training or of evaluation."""
    if is_train:
        return ResizeAndFlip(
            tuple(cfg.TRAIN.SCALES),
            cfg.TRAIN.MAX_SIZE,
            flip_probability=0.5 if cfg.TRAIN.USE_FLIPPED else 0.0,
            inclusive_corners=cfg.MODEL.LEGACY == "detectron",
        )
    return ResizeAndFlip((cfg.TEST.SCALE,), cfg.TEST.MAX_SIZE, inclusive_corners=cfg.MODEL.LEGACY == "detectron")


def build_dataset(
    cfg: CfgNode,
    name: str,
    *,
    is_train: bool,
    with_masks: bool,
    with_keypoints: bool = False,
    logs_report: bool = True,
) -> AnyDataset:
    """A data set by name: declared in DATASETS, or built in.

    Args:
        cfg: the configuration.
        name: name of the data set.
        is_train: with targets, drawn sizes and mirroring; else images alone at the test size.
        with_masks: targets hold masks.
        with_keypoints: targets hold key points.
        logs_report: log what was found in the annotation file, where anything was.

    Raises:
        UserError: unknown name or format, missing or wrong files.
    """
    files = find_dataset(name, cfg.DATASETS)
    if cfg.MODEL.TYPE == "semantic_segmentor":
        ann_file, image_dir = find_files(cfg, name)
        limit = _DEBUG_IMAGES if cfg.DEBUG else None
        paths: dict[str, Any] = {"ann_file": ann_file, "image_dir": image_dir}
        return build_semantic_dataset(cfg, name, **paths, reading=build_reading(cfg), limit=limit)
    if files.format in LABEL_READERS and files.format not in DATASET_READERS:
        raise UserError(
            f"DATASETS.{name}.FORMAT is {files.format!r}, a class for every pixel: that is for MODEL.TYPE "
            "semantic_segmentor, and this model is a detector"
        )
    read = find_part(DATASET_READERS, files.format, option=f"DATASETS.{name}.FORMAT")
    ann_file, image_dir = find_files(cfg, name)
    return CocoDataset(
        name=name,
        ann_file=ann_file,
        image_dir=image_dir,
        read=read,
        transform=build_transform(cfg, is_train=is_train),
        with_targets=is_train,
        with_masks=with_masks,
        with_keypoints=with_keypoints,
        flip_pairs=cfg.KRCNN.FLIP_PAIRS,
        proposals=_find_proposals(cfg, name, is_train=is_train),
        max_proposals=(cfg.TRAIN if is_train else cfg.TEST).RPN_POST_NMS_TOP_N,
        is_class_agnostic=cfg.MODEL.RPN_ONLY,
        min_area=cfg.TRAIN.GT_MIN_AREA if is_train else -1.0,
        limit=_DEBUG_IMAGES if cfg.DEBUG else None,
        box_format=files.box_format,
        classes=files.classes,
        max_missing=cfg.TRAIN.MAX_BAD_SAMPLES if is_train else 0.0,
        reading=build_reading(cfg),
        logs_report=logs_report,
    )


def _find_proposals(cfg: CfgNode, name: str, *, is_train: bool) -> Proposals | None:
    """The proposals of a data set, where a model is to have some; a set of the other phase has those of that."""
    if not (cfg.TRAIN.PROPOSAL_FILES or cfg.TEST.PROPOSAL_FILES):
        return None
    own, other = ("TRAIN", "TEST") if is_train else ("TEST", "TRAIN")
    for key in (own, other):
        names, files = cfg[key].DATASETS, cfg[key].PROPOSAL_FILES
        if files and name in names:
            file = files[names.index(name)]
            if "://" in file:
                raise UserError(f"{key}.PROPOSAL_FILES: {file} is an address; download it, and give the file")
            return read_proposals(resolve_weights_path(cfg, file))
    raise UserError(
        f"data set {name}: {own}.PROPOSAL_FILES names no file of proposals for it, but the model needs them while "
        "training and in evaluation"
    )


def build_reading(cfg: CfgNode) -> ImageReading:
    """How images become 8-bit RGB."""
    options = cfg.DATA_LOADER
    return ImageReading(exif=options.EXIF, stretch=options.STRETCH, reduces_jpeg=options.REDUCED_JPEG)


def find_files(cfg: CfgNode, name: str) -> tuple[Path, Path]:
    """The annotation file and the image folder of a data set.

    Raises:
        UserError: the name is unknown, or one of them is not there; the option that says where it is now is named.
    """
    files = find_dataset(name, cfg.DATASETS)
    try:
        return resolve_data_path(cfg, files.ann_file), resolve_data_path(cfg, files.image_dir)
    except UserError as error:
        moved = [
            f"DATASETS.{name}.{key} PATH"
            for key, path in (("ANN_FILE", files.ann_file), ("IMAGE_DIR", files.image_dir))
            if Path(path).expanduser().is_absolute() and not Path(path).expanduser().exists()
        ]
        advice = f"; if it was moved: --set {' '.join(moved)}{_OR_YAML}" if moved else ""
        raise UserError(f"data set {name}: {error}{advice}") from None


def build_train_dataset(cfg: CfgNode, names: Sequence[str] | None = None) -> ReplacingImages:
    """All of TRAIN.DATASETS as one.

    Raises:
        UserError: none is named, their classes differ, or they hold nothing to learn from.
    """
    names = tuple(names if names is not None else cfg.TRAIN.DATASETS)
    if not names:
        raise UserError("TRAIN.DATASETS names no data set; set it, or give --dataset")
    heads = {"with_masks": cfg.MODEL.MASK_ON, "with_keypoints": cfg.MODEL.KEYPOINTS_ON}
    parts = [build_dataset(cfg, name, is_train=True, **heads) for name in names]
    max_bad = allowed_bad(cfg.TRAIN.MAX_BAD_SAMPLES, sum(len(part) for part in parts))
    dataset = ReplacingImages(parts, max_bad=max_bad)
    if cfg.MODEL.TYPE == "semantic_segmentor":
        return dataset
    check_objects(
        [part.objects() for part in parts if isinstance(part, CocoDataset)], names=names, min_area=cfg.TRAIN.GT_MIN_AREA
    )
    return dataset


def check_objects(counts: Sequence[Objects], *, names: Sequence[str], min_area: float = -1.0) -> None:
    """Raise UserError, with the reason, where the objects of all data sets together are nothing to learn from."""
    crowds, small = (sum(getattr(count, key) for count in counts) for key in ("num_crowds", "num_small"))
    learnt, covering = (sum(getattr(count, key) for count in counts) for key in ("num_learnt", "num_covering"))
    where = f"TRAIN.DATASETS {', '.join(names)}"
    if learnt and learnt == covering:
        raise UserError(
            f"{where}: the boxes of all {learnt} objects cover their whole image, so that there is nothing to find; a "
            "detector learns from boxes around objects"
        )
    if learnt:
        return
    if crowds and not small:
        raise UserError(
            f"{where}: all {crowds} objects are crowds (iscrowd 1), which are ignored regions: there is nothing to "
            "learn from. CVAT writes brushed masks so: set iscrowd to 0 in the annotation file"
        )
    if small:
        raise UserError(
            f"{where}: all {small} objects have an area of less than TRAIN.GT_MIN_AREA ({min_area:g} pixels)"
            + (f", beside {crowds} crowds" if crowds else "")
            + ": there is nothing to learn from; lower it"
        )
    raise UserError(f"{where}: there is no annotated object to learn from")


def build_train_loader(cfg: CfgNode, *, batch_size: int, num_workers: int, start_batch: int = 0) -> ImageLoader:
    """Endless loader over TRAIN.DATASETS; its ``dataset`` has the classes.

    Images that cannot be loaded are replaced and listed in the batches, until they are more than
    TRAIN.MAX_BAD_SAMPLES: then batches fall short, so ``fpt.engine.bad_sample_report`` must watch them.

    Args:
        cfg: the configuration.
        batch_size: images in a batch of all processes; each gets its part.
        num_workers: worker processes.
        start_batch: number of the first batch, for a run that goes on.
    """
    dataset = build_train_dataset(cfg)
    is_wide = dataset.is_wide if cfg.TRAIN.ASPECT_GROUPING else np.zeros(len(dataset), dtype=bool)
    sampler = TrainBatchSampler(
        is_wide=is_wide,
        batch_size=batch_size,
        seed=cfg.RNG_SEED,
        start_batch=start_batch,
        rank=rank(),
        world_size=world_size(),
    )
    return ImageLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=num_workers,
        pin_memory=_pins_memory(cfg),
        timeout=cfg.DATA_LOADER.TIMEOUT,
    )


def build_test_loader(
    cfg: CfgNode,
    dataset: AnyDataset,
    *,
    batch_size: int,
    num_workers: int,
    index_range: tuple[int, int] | None = None,
) -> ImageLoader:
    """Loader over a data set in order.

    Args:
        cfg: the configuration.
        dataset: made by build_dataset with is_train=False.
        batch_size: images in a batch.
        num_workers: worker processes.
        index_range: first index and the one after the last; None = all.

    Raises:
        UserError: the range does not lie in the data set.
    """
    start, end = index_range if index_range is not None else (0, len(dataset))
    check_range(dataset, start, end)
    sampler = RangeBatchSampler(start=start, end=end, batch_size=batch_size)
    return ImageLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=num_workers,
        pin_memory=_pins_memory(cfg),
        timeout=cfg.DATA_LOADER.TIMEOUT,
    )


def check_range(dataset: AnyDataset, start: int, end: int) -> None:
    """Raise UserError unless the indices start .. end - 1 lie in the data set and are at least one."""
    if not 0 <= start < end <= len(dataset):
        raise UserError(
            f"range {start} {end} of data set {dataset.name}: it needs 0 <= START < END <= {len(dataset)}, its images"
        )


def _pins_memory(cfg: CfgNode) -> bool:
    return cfg.DEVICE != "cpu" and torch.cuda.is_available()
