"""Key points from the data into the configuration, through training, evaluation and prediction."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
import yaml

from fpt.checkpoint.checkpoint import load_checkpoint
from fpt.core.config import load_cfg
from fpt.core.config_node import CfgNode
from fpt.modeling.build import build_model
from fpt.run.evaluate import evaluate_checkpoint
from fpt.run.keypoints import keypoints_of_data, layout_of
from fpt.run.options import EvaluationOptions, RunOptions
from fpt.run.predictor import Predictor
from fpt.run.train import train
from fpt.structures.keypoints import COCO_PERSON, KeypointLayout
from fpt.synthetic.shapes import generate_shapes
from fpt.utils.errors import UserError

DEMO = Path(__file__).parents[2] / "configs" / "demo" / "shapes_keypoints_R-18.yaml"
SMALL = (
    *("RESNETS.BASE_CHANNELS", "16", "FPN.DIM", "16", "FAST_RCNN.MLP_HEAD_DIM", "16", "MRCNN.DIM_REDUCED", "16"),
    *("KRCNN.CONV_HEAD_DIM", "16", "KRCNN.NUM_STACKED_CONVS", "1", "TRAIN.IMS_PER_BATCH", "2", "SOLVER.MAX_ITER", "2"),
    *("TEST.SCORE_THRESH", "0.0", "TEST.DETECTIONS_PER_IM", "3", "DATA_LOADER.NUM_THREADS", "0"),
    *("DEVICE", "cpu", "VIS_TH", "0", "MODEL.MASK_ON", "True"),
)
NAMES = ("top", "right", "bottom", "left", "centre")
LAYOUT = KeypointLayout(NAMES, ((0, 4), (1, 4)))


def _cfg(*options: str) -> CfgNode:
    return load_cfg(None, ["MODEL.KEYPOINTS_ON", "True", *options])


def test_the_data_says_what_the_points_are(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="fpt"):
        cfg = keypoints_of_data(_cfg(), LAYOUT)
    assert (cfg.KRCNN.NUM_KEYPOINTS, cfg.KRCNN.KEYPOINT_NAMES, cfg.KRCNN.SKELETON) == (5, NAMES, (1, 5, 2, 5))
    assert "5 key points; a mirrored image exchanges right and left" in caplog.text
    assert layout_of(cfg) == LAYOUT
    assert load_cfg(None, []) == keypoints_of_data(load_cfg(None, []), LAYOUT)  # a model without
    own = keypoints_of_data(_cfg("KRCNN.SKELETON", "(1, 2)"), LAYOUT)
    assert own.KRCNN.SKELETON == (1, 2)


def test_the_configuration_says_something_else() -> None:
    with pytest.raises(UserError, match="NUM_KEYPOINTS is 17, but the objects of the data set have 5 key points"):
        keypoints_of_data(_cfg("KRCNN.NUM_KEYPOINTS", "17"), LAYOUT)
    with pytest.raises(UserError, match=r"KEYPOINT_NAMES is \('a', 'b'\), but the data set has \('top'"):
        keypoints_of_data(_cfg("KRCNN.KEYPOINT_NAMES", "('a', 'b')"), LAYOUT)
    with pytest.raises(UserError, match="OKS_SIGMAS has 2 numbers, but there are 5 key points"):
        keypoints_of_data(_cfg("TEST.OKS_SIGMAS", "(0.1, 0.1)"), LAYOUT)
    with pytest.raises(UserError, match="KRCNN.NUM_KEYPOINTS is 0.*set it"):
        build_model(_cfg(), num_classes=2)
    with pytest.raises(UserError, match="HEATMAP_SIZE is 64, but the head makes heat maps of 4 x .*: set it to 56"):
        build_model(_cfg("KRCNN.NUM_KEYPOINTS", "5", "KRCNN.HEATMAP_SIZE", "64"), num_classes=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("KRCNN.KEYPOINT_NAMES", "('a', 'a')"), "each may stand once only"),
        (("KRCNN.KEYPOINT_NAMES", "('a', 'b')", "KRCNN.NUM_KEYPOINTS", "3"), "KEYPOINT_NAMES has 2 names"),
        (("KRCNN.SKELETON", "(1, 2, 3)"), "must be pairs"),
        (("KRCNN.SKELETON", "(1, 4)", "KRCNN.NUM_KEYPOINTS", "3"), "must be pairs"),
        (("TEST.OKS_SIGMAS", "(0.1, 0.1)", "KRCNN.NUM_KEYPOINTS", "3"), "OKS_SIGMAS has 2 numbers"),
        (("KRCNN.KEYPOINT_NAMES", "('a', 'b')", "KRCNN.FLIP_PAIRS", "('a', 'c')"), "out of a, b"),
        (("RETINANET.RETINANET_ON", "True"), "RetinaNet has no key points"),
    ],
)
def test_options_that_do_not_fit(options: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _cfg(*options)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps on a few figures, beside its data."""
    folder = tmp_path_factory.mktemp("keypoints")
    generate_shapes(folder / "shapes", num_train=6, num_val=4, size=64)
    cfg = load_cfg(DEMO, [*SMALL, "DATA_DIR", str(folder)])
    result = train(cfg, RunOptions(output_dir=folder / "run"))
    assert result.step == 2
    return folder / "run"


def _last(run: Path) -> Path:
    return run / "ckpt" / "model_step2.pth"


def test_a_run_knows_its_points(run: Path) -> None:
    written = yaml.safe_load((run / "config.yaml").read_text())["KRCNN"]
    assert (written["NUM_KEYPOINTS"], tuple(written["KEYPOINT_NAMES"])) == (5, NAMES)
    (line,) = [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()][-1:]
    assert line["loss_kps"] > 0
    assert layout_of(load_cfg(run / "config.yaml")).skeleton == ((0, 4), (1, 4), (2, 4), (3, 4))


def test_evaluation_by_the_yaml_file(run: Path) -> None:
    cfg = load_cfg(DEMO, [*SMALL, "DATA_DIR", str(run.parent)])
    done = evaluate_checkpoint(cfg, _last(run), EvaluationOptions(output_dir=run / "test", draws=True))
    metrics = done.metrics["shapes_val"]
    assert set(metrics) == {"bbox", "segm", "keypoints"}
    assert set(metrics["keypoints"]) >= {"AP", "AP50", "AR", "per_class"}
    results = json.loads((run / "test" / "keypoints.json").read_text())
    assert len(results[0]["keypoints"]) == 15
    assert len(list((run / "test" / "vis").glob("*.png"))) == 4


def test_another_number_than_the_model_has(run: Path) -> None:
    cfg = load_cfg(DEMO, [*SMALL, "DATA_DIR", str(run.parent), "KRCNN.NUM_KEYPOINTS", "17"])
    with pytest.raises(UserError, match=r"shapes differ.*keypoint_branch.head.upsample"):
        Predictor(_last(run), cfg=cfg)


def test_a_model_of_another_program_finds_coco_points(tmp_path: Path) -> None:
    with torch.device("cpu"):
        theirs = torchvision.models.get_model("keypointrcnn_resnet50_fpn", weights=None, weights_backbone=None)
    torch.save(theirs.state_dict(), tmp_path / "keypointrcnn.pth")
    options = ("MODEL.CONV_BODY", "FPN.ResNet50_conv5_body", "RESNETS.STRIDE_1X1", "False", "DEVICE", "cpu")
    predictor = Predictor(tmp_path / "keypointrcnn.pth", cfg=_cfg(*options, "TEST.SCALE", "64"), score_threshold=0.0)
    assert predictor.class_names == ("person",)
    assert layout_of(predictor.cfg) == COCO_PERSON


def test_prediction(run: Path, tmp_path: Path) -> None:
    predictor = Predictor(_last(run), device="cpu", score_threshold=0.0)
    result = predictor(run.parent / "shapes" / "images" / "val" / "000000.jpg")
    assert result.keypoints.shape == (len(result), 5, 3)
    assert result.keypoint_names == NAMES
    assert len(result) > 0
    low, high = result.boxes[:, None, :2] - 1, result.boxes[:, None, 2:] + 1
    assert ((result.keypoints[..., :2] >= low) & (result.keypoints[..., :2] <= high)).all()
    content = result.to_json()
    assert content["keypoint_names"] == list(NAMES)
    assert np.array(content["detections"][0]["keypoints"]).shape == (5, 3)
    assert len(result.to_coco()[0]["keypoints"]) == 15
    result.save(tmp_path / "drawing.png")


def test_resume_and_fine_tuning(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = [*SMALL, "DATA_DIR", str(run.parent)]
    on = train(load_cfg(DEMO, [*options, "SOLVER.MAX_ITER", "3"]), RunOptions(output_dir=run, resume="yes"))
    assert on.step == 3
    before = load_checkpoint(_last(run)).model["roi_heads.keypoint_branch.head.upsample.weight"]
    content = json.loads((run.parent / "shapes" / "annotations" / "train.json").read_text())
    for item in content["categories"]:
        item.update(keypoints=["left", "right"], skeleton=[[1, 2]])
    for item in content["annotations"]:
        item["keypoints"] = item["keypoints"][:6]
    (run.parent / "shapes" / "annotations" / "two.json").write_text(json.dumps(content))
    cfg = load_cfg(DEMO, [*options, "DATASETS.shapes_train.ANN_FILE", "shapes/annotations/two.json"])
    with caplog.at_level(logging.WARNING, logger="fpt"):
        tuned = train(cfg, RunOptions(output_dir=run.parent / "tuned", load_ckpt=_last(run)))
    assert "which start afresh: roi_heads.keypoint_branch.head.upsample" in caplog.text
    after = tuned.model.roi_heads.keypoint_branch.head
    assert after.upsample.weight.shape[1] == 2
    assert before.shape[1] == 5
    assert torch.isfinite(after.upsample.weight).all()
