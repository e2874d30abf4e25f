"""Images of what a model in training finds, beside what is annotated."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from fpt.core.config_node import CfgNode
from fpt.dataloaders.concat import AnyDataset
from fpt.dataloaders.semantic.dataset import SemanticDataset
from fpt.engine.curves import CurveWriter
from fpt.engine.state import TrainState
from fpt.run.detect import detect_dataset, match_classes, open_test_dataset
from fpt.run.draw_dataset import draw_dataset, drawing_files
from fpt.run.segment import segment_dataset
from fpt.utils.distributed import is_main
from fpt.utils.errors import UserError
from fpt.utils.own_files import claim_outputs
from fpt.utils.seeding import preserve_rng_state

_LOGGER = logging.getLogger("fpt")

NUM_IMAGES = 4


class TrainingImages:
    """Hook: every `cfg.TRAIN.VIS_PERIOD` steps, what the model finds in a few images; training is not disturbed.

    Images that can't be read or written are reported.

    The images are the first ones of the first data set of TEST.DATASETS, or of TRAIN.DATASETS where that is empty.

    Args:
        cfg: the configuration.
        state: the training; averaged weights, where there are some, are those that are shown.
        class_names: of the model; label i + 1 is class_names[i].
        folder: run folder; ``images/step<N>/`` is written in it.
        curves: gets the images, too.
    """

    def __init__(
        self, cfg: CfgNode, state: TrainState, *, class_names: Sequence[str], folder: Path, curves: CurveWriter
    ) -> None:
        self.cfg = cfg
        self.state = state
        self.folder = folder
        self.curves = curves
        self.class_names = tuple(class_names)
        self.dataset: AnyDataset = open_test_dataset(cfg, (cfg.TEST.DATASETS or cfg.TRAIN.DATASETS)[0])
        self.labels = match_classes(self.dataset, class_names, source="training")

    def __call__(self, step: int) -> None:
        """Draw when `step` is a multiple of the period."""
        if step % self.cfg.TRAIN.VIS_PERIOD:
            return
        try:
            self._draw(step)
        except (UserError, OSError) as error:
            _LOGGER.error("no images after step %d: %s", step, error)

    def _draw(self, step: int) -> None:
        average = self.state.average
        end = min(NUM_IMAGES, len(self.dataset))
        folder = self.folder / "images" / f"step{step}"
        ids = self.dataset.image_ids[:end]
        if is_main():
            claim_outputs(drawing_files(self.dataset, ids, folder))
        if isinstance(self.dataset, SemanticDataset):
            with preserve_rng_state(), nullcontext() if average is None else average.applied():
                done = segment_dataset(
                    self.cfg,
                    self.state.model,
                    self.dataset,
                    None,
                    labels=self.labels,
                    class_names=self.class_names,
                    index_range=(0, end),
                    drawings=folder,
                )
            self.curves.add_images(step, done.drawings)
            return
        with preserve_rng_state(), nullcontext() if average is None else average.applied():
            found = detect_dataset(self.cfg, self.state.model, self.dataset, labels=self.labels, index_range=(0, end))
        if is_main():
            drawn = draw_dataset(self.dataset, found, folder, score_threshold=self.cfg.VIS_TH)
            self.curves.add_images(step, drawn.last)
