"""Fixtures that several tests share: the checkout, real data beside it, a tiny data set and a tiny detector for it."""

from __future__ import annotations

import itertools
import json
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fpt.core.config import load_cfg
from fpt.dataloaders.build import build_train_loader
from fpt.dataloaders.coco import CocoDataset
from fpt.dataloaders.collate import Batch
from fpt.dataloaders.transforms import ResizeAndFlip
from fpt.engine.bad_sample_report import BadSampleReport
from fpt.run.options import RunOptions
from fpt.run.train import TrainResult, train

ROOT = Path(__file__).resolve().parents[1]

os.environ.setdefault("FPT_KEEP_MEMORY", "0")  # for the whole process it would be: tests measure memory, in any order


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


@pytest.fixture
def heeded_signals() -> Iterator[None]:
    """SIGINT and SIGHUP as a terminal's job gets them: background jobs and nohup let children ignore them, too."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


_NO_RIGHTS = 65534


@pytest.fixture(scope="session", autouse=True)
def _own_cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Caches of annotations stay out of the user's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("user_cache")))
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


@pytest.fixture
def no_superuser(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """Give up the superuser's right to read and write everything; the test's own folders become nobody's."""
    if os.geteuid() != 0:
        yield
        return
    runs = [request.getfixturevalue(name) for name in ("tiny", "trained") if name in request.fixturenames]
    for path in (*tmp_path.parents[2:], *ROOT.parents):
        if not path.stat().st_mode & 0o001:
            pytest.skip(f"{path} is closed to everybody but the superuser")
    for folder in {tmp_path, *(run.folder for run in runs)}:
        for path in (folder, *folder.parents[:2], *folder.rglob("*")):
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    for folder in {tmp_path, *(run.folder for run in runs if "trained" not in request.fixturenames)}:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, _NO_RIGHTS, _NO_RIGHTS)
    os.seteuid(_NO_RIGHTS)
    yield
    os.seteuid(0)


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


@dataclass
class CocoFolder:
    """Content of an annotation file and the folder that it is written to.

    Three images: 0 wide with two objects and a crowd, 1 upright with one object, 2 wide without objects.
    """

    folder: Path
    content: dict[str, Any] = field(default_factory=dict)

    @property
    def ann_file(self) -> Path:
        return self.folder / "annotations.json"

    @property
    def image_dir(self) -> Path:
        return self.folder / "images"

    @property
    def annotations(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.content["annotations"]
        return entries

    def write(self) -> Path:
        self.ann_file.write_text(json.dumps(self.content))
        return self.ann_file

    def open(self, *, short_side: int = 30, flip: float = 0.0, with_masks: bool = False, **options: Any) -> CocoDataset:
        self.write()
        return self.reopen(short_side=short_side, flip=flip, with_masks=with_masks, **options)

    def reopen(
        self, *, short_side: int = 30, flip: float = 0.0, with_masks: bool = False, **options: Any
    ) -> CocoDataset:
        return CocoDataset(
            name="tiny",
            ann_file=self.ann_file,
            image_dir=self.image_dir,
            transform=ResizeAndFlip((short_side,), 1000, flip),
            with_masks=with_masks,
            **options,
        )


def _box_polygon(x: float, y: float, w: float, h: float) -> list[float]:
    return [x, y, x + w, y, x + w, y + h, x, y + h]


@pytest.fixture
def coco_folder(tmp_path: Path) -> CocoFolder:
    """The data set, images written, annotations not yet."""
    rng = np.random.default_rng(0)
    folder = CocoFolder(tmp_path)
    folder.image_dir.mkdir()
    sizes_hw = [(30, 40), (40, 30), (30, 40)]
    for i, (h, w) in enumerate(sizes_hw):
        cv2.imwrite(str(folder.image_dir / f"{i}.png"), rng.integers(0, 255, (h, w, 3), dtype=np.uint8))
    crowd = {"size": [30, 40], "counts": [0, 60, 1140]}
    folder.content = {
        "images": [
            {"id": 10 + i, "file_name": f"{i}.png", "height": h, "width": w} for i, (h, w) in enumerate(sizes_hw)
        ],
        "categories": [{"id": 7, "name": "fig"}, {"id": 3, "name": "date"}],
        "annotations": [
            {"id": 1, "image_id": 10, "category_id": 7, "bbox": [4, 6, 10, 12], "area": 100.0, "iscrowd": 0}
            | {"segmentation": [_box_polygon(4, 6, 5, 12)], "keypoints": [5, 7, 2, 0, 0, 0]},
            {
                "id": 2,
                "image_id": 11,
                "category_id": 3,
                "bbox": [0, 0, 30, 20],
                "segmentation": [[0, 0, 30, 0, 30, 20]],
            },
            {"id": 3, "image_id": 10, "category_id": 3, "bbox": [0, 0, 2, 30], "iscrowd": 1, "segmentation": crowd},
            {"id": 4, "image_id": 10, "category_id": 3, "bbox": [20, 10, 20, 20]}
            | {"segmentation": [_box_polygon(20, 10, 20, 10), _box_polygon(20, 25, 20, 5)]},
        ],
    }
    return folder


class LargestTensor(TorchDispatchMode):
    """Notes the largest tensor that any operation makes, in forward and backward."""

    num_elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.num_elements = max(self.num_elements, leaf.numel())
        return out


@pytest.fixture
def largest_tensor() -> LargestTensor:
    """A context; ``num_elements`` is then the size of the largest tensor that was made in it."""
    return LargestTensor()
