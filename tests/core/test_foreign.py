"""Files of other programs are named, with what their keys are called here; ours are not taken for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from fpt.core.config import load_cfg
from fpt.core.defaults import OPTIONS
from fpt.core.foreign_tables import PROGRAMS
from fpt.core.merge import flatten_options
from fpt.utils.errors import UserError

from . import foreign_files as files

NAMED = {
    "base of Detectron2": (
        files.DETECTRON2_BASE,
        "Detectron2",
        ("INPUT.MIN_SIZE_TRAIN", "SOLVER.IMS_PER_BATCH (16): NUM_GPUS x TRAIN.IMS_PER_BATCH", "DATASETS.TRAIN"),
    ),
    "child of Detectron2": (
        files.DETECTRON2_CHILD,
        "Detectron2",
        ("MODEL.WEIGHTS", "MODEL.RESNETS.DEPTH (50): MODEL.CONV_BODY"),
    ),
    "own data of Detectron2": (
        files.DETECTRON2_OWN_DATA,
        "Detectron2",
        ("MODEL.ROI_HEADS.NUM_CLASSES (1): MODEL.NUM_CLASSES", "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE (128)"),
    ),
    "maskrcnn-benchmark": (
        files.MASKRCNN_BENCHMARK,
        "maskrcnn-benchmark",
        ("MODEL.WEIGHT ", "MODEL.BACKBONE.CONV_BODY ('R-50-FPN'): MODEL.CONV_BODY"),
    ),
    "yaml of mmdetection": (
        files.MMDETECTION_YAML,
        "mmdetection",
        ("optimizer.lr (0.02): SOLVER.BASE_LR", "data.samples_per_gpu (2): TRAIN.IMS_PER_BATCH"),
    ),
    "arguments of Ultralytics": (
        files.ULTRALYTICS_ARGS,
        "Ultralytics (YOLO)",
        ("lr0 (0.01): SOLVER.BASE_LR", "imgsz (640): TRAIN.SCALES", "epochs (100): SOLVER.MAX_ITER"),
    ),
    "hyperparameters of YOLOv5": (
        files.YOLOV5_HYPERPARAMETERS,
        "Ultralytics (YOLO)",
        ("lr0 (0.01): SOLVER.BASE_LR", "warmup_epochs (3.0): SOLVER.WARM_UP_ITERS"),
    ),
    "model of YOLOv5": (files.YOLO_MODEL, "Ultralytics (YOLO)", ()),
    "data of YOLO": (files.YOLO_DATA, "YOLO (the description of a data set)", ("path", "COCO-format json")),
    "data of Roboflow": (files.ROBOFLOW_DATA, "YOLO (the description of a data set)", ("nc (2): MODEL.NUM_CLASSES",)),
}


def refused(folder: Path, text: str, name: str = "a.yaml") -> str:
    path = folder / name
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_cfg(path)
    return str(caught.value)


@pytest.mark.parametrize("case", NAMED)
def test_the_program_is_named_and_its_keys_have_equals(tmp_path: Path, case: str) -> None:
    text, program, parts = NAMED[case]
    message = refused(tmp_path, text)
    head, *rows = message.splitlines()
    assert f"is a file of {program}, not of this program" in head
    assert "nearest" not in message
    assert len(rows) <= 12
    for part in parts:
        assert part in message


def test_a_row_stands_only_for_what_the_file_holds(tmp_path: Path) -> None:
    message = refused(tmp_path, files.YOLOV5_HYPERPARAMETERS)
    assert "imgsz" not in message
    assert [row.split()[0] for row in message.splitlines()[1:]] == ["lr0", "momentum", "weight_decay", "warmup_epochs"]


def test_a_python_file_is_read_and_not_run(tmp_path: Path) -> None:
    message = refused(tmp_path, files.MMDETECTION_PYTHON, "mask_rcnn.py")
    assert "is a file of mmdetection" in message
    assert "optim_wrapper.optimizer.lr (0.02): SOLVER.BASE_LR" in message
    assert "model.roi_head.bbox_head.num_classes (1)" in message
    for text in ("import os\nos.mkdir('made')\n", "def broken(:\n", "x = " + "(" * 500 + ")" * 500):
        assert "is a Python program, but a yaml file is due" in refused(tmp_path, text, "other.py")


def test_a_file_of_something_else(tmp_path: Path) -> None:
    message = refused(tmp_path, files.COMPOSE)
    assert "none of its keys (version, services) is known" in message
    assert "\n" not in message


def test_a_fork_that_shares_words_is_not_taken_for_the_program(tmp_path: Path) -> None:
    text = """
        MODEL: {NAME: baseline, LAST_STRIDE: 1}
        INPUT: {SIZE_TRAIN: [256, 128], PROB: 0.5}
        DATALOADER: {SAMPLER: triplet, NUM_INSTANCE: 4}
        SOLVER: {IMS_PER_BATCH: 64, MAX_EPOCHS: 120}
    """
    message = refused(tmp_path, text)
    assert "is a file of" not in message
    assert "INPUT.*: 2 keys of a group that is unknown here" in message
    assert "SOLVER.IMS_PER_BATCH is unknown; it is a key of Detectron2, here NUM_GPUS x TRAIN.IMS_PER_BATCH" in message


def test_our_file_with_words_of_others_is_ours(tmp_path: Path) -> None:
    text = (
        "MODEL: {MASK_ON: True, WEIGHTS: a.pkl}\nTRAIN: {MAX_SIZE: 800}\nTEST: {MAX_SIZE: 800}\nINPUT: {FORMAT: BGR}\n"
    )
    message = refused(tmp_path, text)
    assert "is a file of" not in message
    path = tmp_path / "a.yaml"
    assert (
        f"MODEL.WEIGHTS is unknown; it is a key of Detectron2, here RESNETS.IMAGENET_PRETRAINED_WEIGHTS (in {path}, "
        "line 1)" in message
    )
    assert "INPUT.FORMAT is unknown; it is a key of Detectron2, here PIXEL_FORMAT" in message
    assert "lr0 is unknown; it is a key of Ultralytics (YOLO), here SOLVER.BASE_LR (in --set)" in _refused_pair("lr0")


def test_unknown_groups_are_one_line_each(tmp_path: Path) -> None:
    lines = "".join(f"  KEY_{number}: 1\n" for number in range(40))
    message = refused(
        tmp_path, f"MODEL: {{MASK_ON: True}}\nGAN:\n{lines}SLOVER: {{BASE_LR: 1, GAMMA: 1}}\nTRAIN:\n{lines}"
    )
    path = tmp_path / "a.yaml"
    assert f"GAN.*: 40 keys of a group that is unknown here (in {path}, line 3)" in message
    assert f"SLOVER.*: 2 keys of a group that is unknown here; the nearest known group is SOLVER (in {path}" in message
    assert len(message.splitlines()) == 13
    assert message.endswith("... and 31 more of this kind")


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("MAX_SIZE", "s are TRAIN.MAX_SIZE and TEST.MAX_SIZE"),
        ("INPUT.MAX_SIZE", "s are TRAIN.MAX_SIZE and TEST.MAX_SIZE"),
        ("SOLVER.LR", "s are SOLVER.BASE_LR and SOLVER.LR_POLICY"),
        ("TRAIN.BATCH_SIZE", " is TRAIN.BATCH_SIZE_PER_IM"),
        ("SOLVER.WARMUP_ITER", " is SOLVER.WARM_UP_ITERS"),
        ("RESNET.FREEZE_AT", " is RESNETS.FREEZE_AT"),
        ("solver.base-lr", " is SOLVER.BASE_LR"),
        ("MODEL.BACKBONE.TYPE", None),
        ("GAN.LR", None),
        ("META_ARCHITECTURE", None),
        ("X", None),
        ("X" * 100, None),
    ],
)
def test_only_near_keys_are_offered(key: str, near: str | None) -> None:
    message = _refused_pair(key)
    if near is None:
        assert f"{key} is unknown (in --set)" in message
    else:
        assert f"{key} is unknown; the nearest known key{near} (in --set)" in message


def _refused_pair(key: str) -> str:
    with pytest.raises(UserError) as caught:
        load_cfg(None, [key, "1"])
    return str(caught.value)


def test_decisive_words_are_signs() -> None:
    for program in PROGRAMS:
        assert set(program.decisive) <= set(program.signs), program.name


def test_equals_name_options_that_there_are() -> None:
    known = {key for key, _ in flatten_options(OPTIONS)}
    for program in PROGRAMS:
        for ours in program.equals.values():
            words = [word.strip(",()") for word in ours.split()]
            named = [
                word for word in words if word.isupper() and word not in ("COCO",) and not word.startswith("DATASETS.")
            ]
            assert ours.startswith(("--", "DATASETS.")) or named, ours
            assert set(named) <= known, ours
