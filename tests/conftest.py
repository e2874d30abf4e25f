"""Fixtures that several tests share: the checkout, real data beside it, a tiny data set and a tiny detector for it."""

from __future__ import annotations

import itertools
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fpt.core.config import load_cfg
from fpt.dataloaders.build import build_train_loader
from fpt.dataloaders.collate import Batch
from fpt.engine.bad_sample_report import BadSampleReport
from fpt.run.options import RunOptions
from fpt.run.train import TrainResult, train

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def _importable_tests() -> Iterator[None]:
    """Processes that a test spawns find it by its name, however pytest was started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        yield


@pytest.fixture(autouse=True)
def _fresh_logger() -> Iterator[None]:
    """Undo what command lines do to the package's logger, so that no test depends on those before it."""
    _reset_logger()
    yield
    _reset_logger()


def _reset_logger() -> None:
    logger = logging.getLogger("fpt")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        if isinstance(handler, logging.FileHandler):
            handler.close()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


def _shared(name: str) -> Path:
    folder = Path(os.environ.get("FPT_SHARED", ROOT.parent / "shared")) / name
    if not folder.is_dir():
        pytest.skip(f"real data is absent: {folder} (set FPT_SHARED to its parent)")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data sets beside the checkout; the test is skipped where it is absent."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """Folder of real weights beside the checkout; the test is skipped where it is absent."""
    return _shared("weights")


SIZE = 64
RECTANGLES = {1: [(4, 6, 30, 28, 1), (34, 34, 26, 24, 2)], 2: [(30, 4, 28, 30, 1), (6, 36, 24, 22, 2)]}
"""Objects of each image: x, y, width, height, category id."""
COLOURS = {1: (40, 40, 220), 2: (60, 200, 40)}

YAML = """\
MODEL: {CONV_BODY: FPN.ResNet18_conv5_body, MASK_ON: True}
DATASETS:
  tiny_train: {IMAGE_DIR: images, ANN_FILE: tiny.json}
  tiny_val: {IMAGE_DIR: images, ANN_FILE: tiny.json}
RESNETS: {USE_GN: True, STRIDE_1X1: False, FREEZE_AT: 0, BASE_CHANNELS: 16}
GROUP_NORM: {NUM_GROUPS: 8}
FPN: {DIM: 32, USE_GN: True, RPN_ANCHOR_START_SIZE: 8, ROI_CANONICAL_SCALE: 64}
SOLVER: {TYPE: AdamW, BASE_LR: 0.001, MAX_ITER: 2, WARM_UP_ITERS: 0, CLIP_GRAD_NORM: 10.0}
FAST_RCNN: {MLP_HEAD_DIM: 64}
MRCNN: {ROI_MASK_HEAD: mask_rcnn_heads.mask_rcnn_fcn_head_v1up, DIM_REDUCED: 32, CONV_INIT: MSRAFill}
TRAIN: {DATASETS: [tiny_train], SCALES: [64], MAX_SIZE: 64, IMS_PER_BATCH: 2, BATCH_SIZE_PER_IM: 32, USE_FLIPPED: False,
  RPN_BATCH_SIZE_PER_IM: 64, RPN_STRADDLE_THRESH: -1, RPN_PRE_NMS_TOP_N: 100, RPN_POST_NMS_TOP_N: 50}
TEST: {DATASETS: [tiny_val], SCALE: 64, MAX_SIZE: 64, NMS: 0.5, RPN_PRE_NMS_TOP_N: 100, RPN_POST_NMS_TOP_N: 50}
DATA_LOADER: {NUM_THREADS: 0}
DEVICE: cpu
"""


def write_dataset(folder: Path, classes: tuple[str, ...] = ("red", "green")) -> None:
    """Two images with two rectangles each, and tiny.json."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    annotations = []
    for image_id, rectangles in RECTANGLES.items():
        image = np.full((SIZE, SIZE, 3), 128, np.uint8)
        for x, y, w, h, category in rectangles:
            image[y : y + h, x : x + w] = COLOURS[category]
            polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                    "segmentation": [polygon],
                }
            )
        cv2.imwrite(str(folder / "images" / f"{image_id}.png"), image)
    images = [{"id": i, "file_name": f"{i}.png", "width": SIZE, "height": SIZE} for i in RECTANGLES]
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "tiny.json").write_text(json.dumps(content))


@dataclass(frozen=True)
class Tiny:
    """A folder with the data set and its yaml file."""

    folder: Path

    @property
    def cfg(self) -> Path:
        """The yaml file."""
        return self.folder / "tiny.yaml"

    @property
    def checkpoint(self) -> Path:
        """What the training of the `trained` fixture left."""
        return self.folder / "run" / "ckpt" / "model_step2.pth"

    def change(self, change: Callable[[dict], object]) -> None:
        """Change the content of the annotation file."""
        content = json.loads((self.folder / "tiny.json").read_text())
        change(content)
        (self.folder / "tiny.json").write_text(json.dumps(content))

    def load(self) -> tuple[list[Batch], list[dict]]:
        """The batches of two epochs as training gets them, and the report of bad samples."""
        loader = build_train_loader(load_cfg(self.cfg), batch_size=2, num_workers=0)
        path = self.folder / "bad_samples.jsonl"
        batches = list(itertools.islice(BadSampleReport(path, loader.dataset).watch(loader), 2))
        lines = path.read_text().splitlines() if path.exists() else []
        return batches, [json.loads(line) for line in lines]

    def train(self, output_dir: Path, *, opts: Sequence[object] = (), **options: Any) -> TrainResult:
        """Train with the yaml file, ``KEY, VALUE`` pairs over it and the fields of RunOptions."""
        cfg = load_cfg(self.cfg, [str(value) for value in opts])
        return train(cfg, RunOptions(output_dir=output_dir, **options))

    def arguments(self, *more: str | Path) -> list[str]:
        """``--cfg`` and the other arguments, as strings."""
        return ["--cfg", str(self.cfg), *(str(argument) for argument in more)]


def make_tiny(folder: Path, classes: tuple[str, ...] = ("red", "green")) -> Tiny:
    write_dataset(folder, classes)
    (folder / "tiny.yaml").write_text(YAML)
    return Tiny(folder)


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    """A fresh folder for tests that change it."""
    return make_tiny(tmp_path)


@pytest.fixture(scope="session")
def tiny_factory() -> Callable[..., Tiny]:
    """Makes further folders: ``tiny_factory(folder, classes)``."""
    return make_tiny


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A folder with a run of two steps in ``run``; tests only read it."""
    tiny = make_tiny(tmp_path_factory.mktemp("trained"))
    assert tiny.train(tiny.folder / "run", disp_interval=1).step == 2
    return tiny
