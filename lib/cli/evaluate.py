"""Running and evaluating a model on one data set: shared by training and testing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fpt.core.config_node import CfgNode
from fpt.dataloaders.build import build_dataset, build_test_loader
from fpt.dataloaders.coco import CocoDataset
from fpt.engine.inference import run_inference
from fpt.evaluation.build import evaluate_dataset
from fpt.solver.build import amp_dtype
from fpt.structures.detections import Detections


@dataclass
class EvaluatedPart:
    """Ground truth of some pictures of a data set.

    Attributes:
        ann_file: annotation file in COCO's format.
        category_ids: ids in it; label i + 1 is category_ids[i].
        image_ids: pictures that were run, and that count.
        has_masks: whether the file has masks.
    """

    ann_file: Path
    category_ids: Sequence[int]
    image_ids: Sequence[int]
    has_masks: bool


def open_test_dataset(cfg: CfgNode, name: str) -> CocoDataset:
    """A data set for evaluation: pictures at the test size, without targets."""
    return build_dataset(cfg, name, is_train=False, with_masks=False)


def detect_dataset(
    cfg: CfgNode, model: nn.Module, dataset: CocoDataset, *, index_range: tuple[int, int] | None = None
) -> list[Detections]:
    """What `model` finds in the pictures of a data set, in their order."""
    start, end = index_range or (0, len(dataset))
    loader = build_test_loader(
        cfg,
        dataset,
        batch_size=cfg.TEST.IMS_PER_BATCH,
        num_workers=min(cfg.DATA_LOADER.NUM_THREADS, max(end - start, 0)),
        index_range=index_range,
    )
    return run_inference(
        model,
        loader,
        num_pictures=end - start,
        device=torch.device(cfg.DEVICE),
        amp_dtype=amp_dtype(cfg),
        mask_threshold=cfg.MRCNN.THRESH_BINARIZE,
    )


def evaluate_detections(
    cfg: CfgNode, dataset: CocoDataset, detections: Sequence[Detections], output_dir: Path
) -> dict[str, Any]:
    """Metrics of the pictures in `detections`; result files and metrics.json go into `output_dir`."""
    part = EvaluatedPart(
        dataset.ann_file, dataset.category_ids, [picture.image_id for picture in detections], dataset.has_masks
    )
    return evaluate_dataset(cfg, part, detections, output_dir)
