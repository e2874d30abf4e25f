"""Proposals of one model, on which another one is trained and evaluated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fpt.cli.check_data import main as check_data
from fpt.core.config import load_cfg
from fpt.core.config_node import CfgNode
from fpt.dataloaders.proposals import read_proposals
from fpt.run.evaluate import evaluate_checkpoint
from fpt.run.options import EvaluationOptions, RunOptions
from fpt.run.predictor import Predictor
from fpt.run.train import train
from fpt.synthetic.shapes import generate_shapes
from fpt.utils.errors import UserError

DEMO = Path(__file__).parents[2] / "configs" / "demo" / "shapes_fpt_R-18.yaml"
SMALL = (
    *("MODEL.CONV_BODY", "FPN.ResNet18_conv5_body", "MODEL.MASK_ON", "False", "DATA_LOADER.NUM_THREADS", "0"),
    *("RESNETS.BASE_CHANNELS", "16", "FPN.DIM", "16", "FAST_RCNN.MLP_HEAD_DIM", "16", "DEVICE", "cpu"),
    *("TRAIN.IMS_PER_BATCH", "2", "SOLVER.MAX_ITER", "2", "TEST.SCORE_THRESH", "0.0", "TEST.DETECTIONS_PER_IM", "3"),
)


def _cfg(folder: Path, *options: str) -> CfgNode:
    return load_cfg(DEMO, [*SMALL, "DATA_DIR", str(folder), *options])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, and in ``train`` and ``val`` what a proposal network of two steps proposes."""
    folder = tmp_path_factory.mktemp("proposals")
    generate_shapes(folder / "shapes", num_train=6, num_val=4, size=64)
    options = ("MODEL.RPN_ONLY", "True", "TEST.RPN_POST_NMS_TOP_N", "120")
    run = train(_cfg(folder, *options), RunOptions(output_dir=folder / "rpn"))
    assert run.class_names == ("object",)
    for split in ("train", "val"):
        cfg = _cfg(folder, *options, "TEST.DATASETS", f"('shapes_{split}',)")
        evaluate_checkpoint(cfg, run.checkpoint, EvaluationOptions(output_dir=folder / split, draws=split == "val"))
    return folder


def test_proposals_are_written_and_measured(folder: Path) -> None:
    metrics = json.loads((folder / "val" / "metrics.json").read_text())["bbox"]
    assert {"AR10", "AR100", "AR120", "per_class"} <= set(metrics)
    assert list(metrics["per_class"]) == ["object"]
    assert not (folder / "val" / "bbox.json").exists()
    assert len(list((folder / "val" / "vis").glob("*.png"))) == 4
    proposals = read_proposals(folder / "train" / "proposals.npz")
    assert len(proposals.image_ids) == 6
    assert max(proposals.offsets[1:] - proposals.offsets[:-1]) > 20


def test_a_model_on_these_proposals(folder: Path) -> None:
    files = [f"('{folder}/{split}/proposals.npz',)" for split in ("train", "val")]
    given = ("TRAIN.PROPOSAL_FILES", files[0], "TEST.PROPOSAL_FILES", files[1])
    cfg = _cfg(folder, *given, "MODEL.MASK_ON", "True", "TRAIN.EVAL_PERIOD", "2")
    run = train(cfg, RunOptions(output_dir=folder / "fast"))
    assert {"bbox", "segm"} == set(run.metrics)
    line = json.loads((folder / "fast" / "metrics.jsonl").read_text().splitlines()[-1])
    assert "loss_rpn_cls" not in line
    with pytest.raises(UserError, match="finds nothing in an image alone"):
        Predictor(run.checkpoint, device="cpu")(folder / "shapes" / "images" / "val" / "000000.jpg")


def test_both_data_sets_are_checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [
        f"{key}.PROPOSAL_FILES=('{folder}/{split}/proposals.npz',)"
        for key, split in (("TRAIN", "train"), ("TEST", "val"))
    ]
    assert check_data(["--cfg", str(DEMO), "--set", f"DATA_DIR={folder}", *given]) == 0
    assert "data set shapes_val: 7 classes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("TRAIN.PROPOSAL_FILES", "('none.npz',)"), "none.npz"),
        (("TEST.PROPOSAL_FILES", "('none.npz',)"), "data set shapes_train: TRAIN.PROPOSAL_FILES names no file"),
        (("TRAIN.PROPOSAL_FILES", "('https://x.org/p.pkl',)"), "is an address; download it"),
        (("TRAIN.PROPOSAL_FILES", "('a.npz', 'b.npz')"), "has 2 files, but TRAIN.DATASETS 1 names: one each"),
        (("TRAIN.PROPOSAL_FILES", "('a.npz',)", "MODEL.RPN_ONLY", "True"), "this model reads no proposals"),
        (("MODEL.RPN_ONLY", "True", "MODEL.MASK_ON", "True"), "proposals are boxes alone"),
        (("MODEL.RPN_ONLY", "True", "RETINANET.RETINANET_ON", "True"), "RetinaNet has no proposals"),
    ],
)
def test_what_does_not_fit(folder: Path, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        train(_cfg(folder, *options), RunOptions(output_dir=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_old_files_of_both(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "fast.yaml"
    file.write_text(
        "MODEL: {TYPE: generalized_rcnn, CONV_BODY: FPN.fpn_ResNet50_conv5_body, FASTER_RCNN: False}\n"
        "TRAIN:\n  DATASETS: ('coco_2014_train', 'coco_2014_valminusminival')\n  PROPOSAL_FILES: ('a.pkl', 'b.pkl')\n"
        "TEST:\n  DATASETS: ('coco_2014_minival',)\n  PROPOSAL_FILES: ('c.pkl',)\n  PROPOSAL_LIMIT: 1000\n"
    )
    cfg = load_cfg(file)
    assert cfg.TRAIN.PROPOSAL_FILES == ("a.pkl", "b.pkl")
    assert "say whether proposals come from files" in caplog.text
    file.write_text("MODEL: {TYPE: generalized_rcnn, CONV_BODY: FPN.fpn_ResNet50_conv5_body, RPN_ONLY: True}\n")
    assert load_cfg(file).MODEL.RPN_ONLY
