"""Running a model over one data set."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fpt.core.config_node import CfgNode
from fpt.dataloaders.build import build_dataset, build_test_loader, check_range
from fpt.dataloaders.class_choice import shared_labels
from fpt.dataloaders.coco import CocoDataset
from fpt.dataloaders.concat import AnyDataset
from fpt.engine.inference import run_inference
from fpt.engine.interrupt import EvaluationStoppedError
from fpt.evaluation.evaluate import find_evaluators
from fpt.parallel.data_parallel import DataParallel
from fpt.solver.build import amp_dtype
from fpt.structures.coco_classes import are_unnamed
from fpt.structures.detections import Detections
from fpt.utils.distributed import gather_everywhere, gather_on_main, max_over_processes, share_of_range
from fpt.utils.errors import UserError

_LOGGER = logging.getLogger("fpt")


def open_test_dataset(cfg: CfgNode, name: str) -> AnyDataset:
    """A data set for evaluation: images at the test size, without targets.

    Raises:
        UserError: the data set cannot be used, or TEST.EVALUATOR names no evaluator.
    """
    find_evaluators(cfg.TEST.EVALUATOR)
    return build_dataset(cfg, name, is_train=False, with_masks=False)


def match_classes(dataset: AnyDataset, model_classes: Sequence[str], *, source: Path | str) -> np.ndarray:
    """int64 [C + 1]: for each label of a model that of the class of the same name in a data set, else 0.

    Where the classes differ, what counts is logged. Those of a file that keeps no names are the data set's, if they are
    as many.

    Args:
        dataset: the data set.
        model_classes: names; label i + 1 is model_classes[i].
        source: what has these classes, for messages.

    Raises:
        UserError: not a single name is shared.
    """
    if are_unnamed(model_classes) and len(model_classes) == len(dataset.class_names):
        if tuple(model_classes) != dataset.class_names:
            _LOGGER.info(
                "%s keeps no names of classes: they are taken to be those of data set %s", source, dataset.name
            )
        return np.arange(len(model_classes) + 1)
    labels = shared_labels(model_classes, dataset.class_names)
    if tuple(model_classes) == dataset.class_names:
        return labels
    shared = [name for name in model_classes if name in dataset.class_names]
    if not shared:
        raise UserError(
            f"{source} was trained on the {len(model_classes)} classes {name_list(model_classes)}, and data set "
            f"{dataset.name} has the {len(dataset.class_names)} classes {name_list(dataset.class_names)}: none is "
            "shared"
        )
    others = {
        "only the model": [name for name in model_classes if name not in dataset.class_names],
        "only the data set": [name for name in dataset.class_names if name not in model_classes],
    }
    differing = "; ".join(f"{owner} has {name_list(names)}" for owner, names in others.items() if names)
    _LOGGER.warning(
        "data set %s: %d classes are shared with %s by name and count%s",
        dataset.name,
        len(shared),
        source,
        f"; {differing}" if differing else ", in another order",
    )
    return labels


def name_list(names: Sequence[str], count: int = 10) -> str:
    """Names for a message, not more than so many."""
    return "[" + ", ".join(names[:count]) + (", ..." if len(names) > count else "") + "]"


def detect_dataset(
    cfg: CfgNode,
    model: nn.Module,
    dataset: CocoDataset,
    *,
    labels: np.ndarray | None = None,
    index_range: tuple[int, int] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Detections]:
    """What `model` finds in the images of a data set, in their order.

    Detections have the labels of the data set: `labels` of `match_classes`, or those of the model where it is None;
    detections of other classes are left out. Each process runs its part of the images; the main process returns all
    detections, the others none.

    Raises:
        EvaluationStoppedError: (on all processes) `should_stop`, asked after each batch, was true on one.
        UserError: (on all processes) the range does not lie in the data set, or an image can't be read.
    """
    start, end = index_range or (0, len(dataset))
    check_range(dataset, start, end)
    start, end = share_of_range(start, end)
    found: list[Detections] = []
    failure = ""
    try:
        if start < end:
            found = _detect_range(cfg, model, dataset, start, end, should_stop)
            found = found if labels is None else [_relabel(image, labels) for image in found]
    except UserError as error:
        failure = str(error)
    if max_over_processes(int(should_stop())):
        raise EvaluationStoppedError
    if failures := [text for text in gather_everywhere(failure) if text]:
        raise UserError(failures[0])
    gathered = gather_on_main(found)
    return [] if gathered is None else list(itertools.chain.from_iterable(gathered))


def _relabel(image: Detections, labels: np.ndarray) -> Detections:
    if len(image) and image.labels.max() >= len(labels):
        raise UserError(
            f"the model has found something of class {image.labels.max()}, but {len(labels) - 1} classes are known: "
            "say which it was trained on (EvaluationOptions(class_names=...))"
        )
    renamed = replace(image, labels=labels[image.labels])
    return renamed.select(np.flatnonzero(renamed.labels))


def _detect_range(
    cfg: CfgNode, model: nn.Module, dataset: CocoDataset, start: int, end: int, should_stop: Callable[[], bool]
) -> list[Detections]:
    devices = len(model.devices) if isinstance(model, DataParallel) else 1
    loader = build_test_loader(
        cfg,
        dataset,
        batch_size=cfg.TEST.IMS_PER_BATCH * devices,
        num_workers=min(cfg.DATA_LOADER.NUM_THREADS, end - start),
        index_range=(start, end),
    )
    return run_inference(
        model,
        loader,
        num_images=end - start,
        device=torch.device(cfg.DEVICE),
        amp_dtype=amp_dtype(cfg),
        mask_threshold=cfg.MRCNN.THRESH_BINARIZE,
        should_stop=should_stop,
    )
