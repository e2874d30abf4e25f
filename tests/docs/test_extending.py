"""The examples of docs/extending.md, taken from the page: each registers a part, which is then used."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import fpt
from fpt.annotations.readers import DATASET_READERS
from fpt.cli import train
from fpt.core.config_node import CfgNode
from fpt.dataloaders.build import build_dataset
from fpt.evaluation.evaluate import EVALUATORS
from fpt.modeling.backbone.build import BACKBONES
from fpt.modeling.neck.build import NECKS
from fpt.modeling.roi_heads.build import BOX_HEADS, KEYPOINT_HEADS, MASK_HEADS
from fpt.solver.build import build_optimizer, build_schedule
from fpt.solver.lr_schedule import LR_POLICIES
from fpt.solver.optimizer import OPTIMIZERS
from fpt.synthetic.shapes import generate_shapes
from fpt.utils.errors import UserError

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
SECTIONS = {section.partition("\n")[0]: section for section in PAGE.split("\n## ")[1:]}
EXAMPLES = {
    title: found[1] for title, text in SECTIONS.items() if (found := re.search("```python\n(.*?)```", text, re.S))
}
REGISTRIES: tuple[dict[str, Any], ...] = (
    BACKBONES,
    NECKS,
    BOX_HEADS,
    MASK_HEADS,
    KEYPOINT_HEADS,
    DATASET_READERS,
    EVALUATORS,
    LR_POLICIES,
    OPTIMIZERS,
)
SMALL = ["FPN.DIM", "16", "MODEL.FPT.KEY_DIM", "16", "FAST_RCNN.MLP_HEAD_DIM", "16", "MRCNN.DIM_REDUCED", "16"]
SMALL += ["TRAIN.RPN_PRE_NMS_TOP_N", "60", "TEST.RPN_PRE_NMS_TOP_N", "60", "TEST.DETECTIONS_PER_IM", "10"]
SMALL += ["RESNETS.USE_GN", "True", "RESNETS.FREEZE_AT", "0", "RESNETS.BASE_CHANNELS", "16"]
SMALL += ["TRAIN.BATCH_SIZE_PER_IM", "16", "TRAIN.RPN_POST_NMS_TOP_N", "20", "TEST.RPN_POST_NMS_TOP_N", "20"]


@pytest.fixture(autouse=True)
def _registries_as_before() -> Iterator[None]:
    before = [dict(registry) for registry in REGISTRIES]
    yield
    for registry, content in zip(REGISTRIES, before, strict=True):
        registry.clear()
        registry.update(content)


def _run(example: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "example"}
    exec(compile(EXAMPLES[example], f"docs/extending.md, {example}", "exec"), namespace)
    return namespace


def _cfg(*options: str) -> CfgNode:
    return fpt.load_cfg(None, ["MODEL.CONV_BODY", "FPN.ResNet18_conv5_body", *SMALL, *options])


def _train_a_step(cfg: CfgNode) -> torch.nn.Module:
    """Build the model, go one step, and detect."""
    torch.manual_seed(0)
    model = fpt.build_model(cfg, num_classes=3)
    optimizer = build_optimizer(cfg, model)
    image = torch.randint(0, 256, (3, 64, 90), dtype=torch.uint8)
    target = {"boxes": torch.tensor([[4.0, 4.0, 60.0, 50.0]]), "labels": torch.tensor([1])}
    target["masks"] = torch.ones(1, 112, 112, dtype=torch.uint8)
    target["keypoints"] = torch.tensor([20.0, 30.0, 2.0]).expand(1, 3, 3)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    sum(model([image], [target]).values()).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    optimizer.step()
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    assert "boxes" in model.eval()([image])[0]
    return model


def test_there_is_one_of_each_of_at_most_forty_lines() -> None:
    assert len(EXAMPLES) == len(REGISTRIES) == PAGE.count("```python")
    assert all(example.count("\n") <= 40 for example in EXAMPLES.values())


@pytest.mark.parametrize("suffix", ["", "_fpt"])
def test_backbone(suffix: str) -> None:
    example = _run("A backbone")
    options = re.search(r"FPN: \{RPN_MIN_LEVEL: (\d), ROI_MIN_LEVEL: (\d)\}", PAGE).groups()
    levels = ["FPN.RPN_MIN_LEVEL", options[0], "FPN.ROI_MIN_LEVEL", options[1]]
    model = _train_a_step(_cfg("MODEL.CONV_BODY", f"FPN.plain{suffix}", *levels))
    assert isinstance(model.backbone, example["PlainBackbone"])
    assert model.rpn.anchor_generator.strides == (8, 16, 32, 64)
    with pytest.raises(UserError, match=r"there is no level 2 \(stride 4\)"):
        fpt.build_model(_cfg("MODEL.CONV_BODY", f"FPN.plain{suffix}"), num_classes=3)


@pytest.mark.parametrize("suffix", ["", "_fpt"])
def test_neck(suffix: str) -> None:
    example = _run("A neck")
    model = _train_a_step(_cfg("MODEL.CONV_BODY", f"Mean.ResNet18_conv5_body{suffix}"))
    assert isinstance(model.neck.pyramid, example["MeanNeck"])
    assert (model.neck.transformer is not None) == bool(suffix)


def test_box_head() -> None:
    example = _run("A box head")
    model = _train_a_step(_cfg("FAST_RCNN.ROI_BOX_HEAD", "pooled"))
    assert isinstance(model.roi_heads.box_head, example["PooledBoxHead"])


def test_mask_head() -> None:
    example = _run("A mask head")
    model = _train_a_step(_cfg("MODEL.MASK_ON", "True", "MRCNN.ROI_MASK_HEAD", "light"))
    assert isinstance(model.roi_heads.mask_branch.head, example["LightMaskHead"])
    assert model.roi_heads.mask_branch.pooler.is_adaptive


def test_keypoint_head() -> None:
    example = _run("A keypoint head")
    options = ["KRCNN.ROI_KEYPOINTS_HEAD", "subpixel", "KRCNN.NUM_KEYPOINTS", "3", "KRCNN.CONV_HEAD_DIM", "16"]
    model = _train_a_step(_cfg("MODEL.KEYPOINTS_ON", "True", *options))
    assert isinstance(model.roi_heads.keypoint_branch.head, example["SubpixelHead"])


def test_lr_policy() -> None:
    _run("A policy of the learning rate")
    options = ["SOLVER.LR_POLICY", "exponential", "SOLVER.WARM_UP_ITERS", "0", "SOLVER.BASE_LR", "0.4"]
    schedule = build_schedule(_cfg(*options, "SOLVER.GAMMA", "0.25", "SOLVER.STEP_SIZE", "10"))
    assert [schedule(step) for step in (0, 5, 10)] == pytest.approx([0.4, 0.2, 0.1])


def test_optimizer() -> None:
    _run("An optimizer")
    cfg = _cfg("SOLVER.TYPE", "RMSprop")
    _train_a_step(cfg)
    assert type(build_optimizer(cfg, torch.nn.Linear(2, 2))) is torch.optim.RMSprop
    assert train.build_parser().parse_args(["--cfg", "a.yaml", "--o", "RMSprop"]).optimizer == "RMSprop"


def _write_csv(folder: Path) -> dict[str, Any]:
    """The built-in images with their boxes as csv; returns what the json of the training images held."""
    generate_shapes(folder, num_train=2, num_val=2, size=64)
    contents = {}
    for split in ("train", "val"):
        file = folder / "annotations" / f"{split}.json"
        content = contents[split] = json.loads(file.read_text())
        names = {category["id"]: category["name"] for category in content["categories"]}
        images = {image["id"]: image for image in content["images"]}
        with file.with_suffix(".csv").open("w", newline="") as target:
            writer = csv.writer(target)
            writer.writerow(["file", "width", "height", "class", "x1", "y1", "x2", "y2"])
            for item in content["annotations"]:
                image, (x, y, w, h) = images[item["image_id"]], item["bbox"]
                size = image["width"], image["height"]
                writer.writerow([image["file_name"], *size, names[item["category_id"]], x, y, x + w, y + h])
        file.unlink()
    return contents["train"]


def _csv_options(folder: Path) -> list[str]:
    options = ["TRAIN.DATASETS", "birds_train", "TEST.DATASETS", "birds_train", "DATA_DIR", str(folder)]
    for key, value in (("IMAGE_DIR", "images/train"), ("ANN_FILE", "annotations/train.csv"), ("FORMAT", "csv")):
        options += [f"DATASETS.birds_train.{key}", value]
    return options


def test_reader(tmp_path: Path) -> None:
    content = _write_csv(tmp_path)
    cfg = _cfg(*_csv_options(tmp_path))
    with pytest.raises(UserError, match=r"DATASETS\.birds_train\.FORMAT is 'csv'; legal: coco; the nearest is 'coco'"):
        build_dataset(cfg, "birds_train", is_train=True, with_masks=False)
    _run("A reader of data sets")
    dataset = build_dataset(cfg, "birds_train", is_train=True, with_masks=False)
    assert len(dataset) == 2
    assert dataset.objects().num_learnt == len(content["annotations"])
    assert set(dataset.class_names) <= {category["name"] for category in content["categories"]}
    assert dataset[0]["target"]["boxes"].shape[1] == 4
    assert not list(tmp_path.rglob("*.fptcache"))


def test_reader_that_returns_no_dict(tmp_path: Path) -> None:
    _write_csv(tmp_path)
    fpt.register_dataset_reader("csv", lambda path: [])
    with pytest.raises(UserError, match="its reader gave a list; due is a dict of the lists images, annotations and"):
        build_dataset(_cfg(*_csv_options(tmp_path)), "birds_train", is_train=True, with_masks=False)


def test_reader_and_evaluator_in_a_training(tmp_path: Path) -> None:
    _write_csv(tmp_path)
    _run("A reader of data sets")
    _run("An evaluator")
    cfg = tmp_path / "birds.yaml"
    cfg.write_text("MODEL: {CONV_BODY: FPN.ResNet18_conv5_body}\n")
    options = [*SMALL, *_csv_options(tmp_path), "TEST.EVALUATOR", "('auto', 'counts')", "TRAIN.SCALES", "64"]
    options += ["SOLVER.MAX_ITER", "2", "TRAIN.EVAL_PERIOD", "2", "TEST.SCALE", "64", "DATA_LOADER.NUM_THREADS", "0"]
    command = ["--cfg", str(cfg), "--output_dir", str(tmp_path / "run"), "--no_cuda", "--bs", "2", "--set", *options]
    assert train.main(command) == 0
    metrics = json.loads((tmp_path / "run" / "eval" / "birds_train" / "metrics.json").read_text())
    assert set(metrics) == {"bbox", "counts"}
    assert metrics["counts"]["largest_error"] >= metrics["counts"]["mean_error"] >= 0


REGISTER: dict[str, Callable[[str], None]] = {
    "backbone": lambda name: fpt.register_backbone(name, lambda settings: torch.nn.Identity()),
    "neck": lambda name: fpt.register_neck(name, lambda settings: torch.nn.Identity()),
    "box head": lambda name: fpt.register_box_head(name, lambda settings: torch.nn.Identity()),
    "mask head": lambda name: fpt.register_mask_head(name, lambda settings: torch.nn.Identity()),
    "keypoint head": lambda name: fpt.register_keypoint_head(name, lambda settings: torch.nn.Identity()),
    "reader of data sets": lambda name: fpt.register_dataset_reader(name, lambda path: {}),
    "evaluator": lambda name: fpt.register_evaluator(name, lambda dataset, detections: {}),
    "policy of the learning rate": lambda name: fpt.register_lr_policy(name, lambda schedule, step: 1.0),
    "optimizer": lambda name: fpt.register_optimizer(name, lambda groups, *, lr, momentum: torch.optim.SGD(groups)),
}


@pytest.mark.parametrize("kind", REGISTER)
def test_a_name_is_taken_once(kind: str) -> None:
    REGISTER[kind]("mine")
    with pytest.raises(UserError, match=f"^{kind} 'mine' is there already"):
        REGISTER[kind]("mine")
    with pytest.raises(UserError, match=f"^{kind}: it is registered by a name, not by ''"):
        REGISTER[kind]("")


def test_the_same_part_may_be_registered_again() -> None:
    def policy(schedule: object, step: int) -> float:
        return 1.0

    fpt.register_lr_policy("flat", policy)
    fpt.register_lr_policy("flat", policy)
    head = torch.nn.Identity
    fpt.register_box_head("mine", head)
    fpt.register_box_head("mine", head)
    with pytest.raises(UserError, match="box head 'mine' is there already"):
        fpt.register_box_head("mine", head, is_adaptive=True)


@pytest.mark.parametrize("name", ["mine_fpt", "my.backbone"])
def test_names_that_mean_something_else(name: str) -> None:
    with pytest.raises(UserError, match=f"backbone: it cannot be called '{name}'"):
        fpt.register_backbone(name, lambda settings: torch.nn.Identity())
    with pytest.raises(UserError, match=f"neck: it cannot be called '{name}'"):
        fpt.register_neck(name, lambda settings: torch.nn.Identity())
