"""Older Detectron-style files: they load with warnings, or fail where a feature is missing."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from fpt.core.config import load_cfg, parse_cfg
from fpt.core.defaults import OPTIONS
from fpt.core.legacy_keys import DETAILS, DROPPED, FIXED, IMPLIED, ORIGINAL_DEFAULTS, RENAMED
from fpt.core.merge import flatten_options
from fpt.utils.errors import UserError

MASK = """
MODEL:
  TYPE: generalized_rcnn
  CONV_BODY: FPN.fpn_ResNet50_conv5_body
  NUM_CLASSES: 81
  FASTER_RCNN: True
  MASK_ON: True
NUM_GPUS: 8
SOLVER:
  WEIGHT_DECAY: 0.0001
  LR_POLICY: steps_with_decay
  BASE_LR: 2e-2
  MAX_ITER: 90000
  STEPS: [0, 60000, 80000]
  SCALE_MOMENTUM: True
FPN:
  FPN_ON: True
  MULTILEVEL_ROIS: True
  MULTILEVEL_RPN: True
RESNETS:
  IMAGENET_PRETRAINED_WEIGHTS: 'data/pretrained_model/resnet50_caffe.pth'
FAST_RCNN:
  ROI_BOX_HEAD: fast_rcnn_heads.roi_2mlp_head
  ROI_XFORM_METHOD: RoIAlign
  ROI_XFORM_RESOLUTION: 7
  ROI_XFORM_SAMPLING_RATIO: 2
MRCNN:
  ROI_MASK_HEAD: mask_rcnn_heads.mask_rcnn_fcn_head_v1up4convs
  RESOLUTION: 28
  ROI_XFORM_RESOLUTION: 14
  DILATION: 1
  CONV_INIT: MSRAFill
TRAIN:
  SCALES: (800,)
  MAX_SIZE: 1333
  BATCH_SIZE_PER_IM: 512
  RPN_PRE_NMS_TOP_N: 2000
TEST:
  SCALE: 800
  MAX_SIZE: 1333
  NMS: 0.5
  BBOX_AUG:
    ENABLED: False
    SCALES: (400, 500)
"""

GROUP_NORM = """
MODEL:
  TYPE: generalized_rcnn
  CONV_BODY: FPN.fpn_ResNet101_conv5_body
  FASTER_RCNN: True
FPN:
  FPN_ON: True
  USE_GN: True
RESNETS:
  STRIDE_1X1: False
  TRANS_FUNC: bottleneck_gn_transformation
  STEM_FUNC: basic_gn_stem
  SHORTCUT_FUNC: basic_gn_shortcut
FAST_RCNN:
  ROI_BOX_HEAD: fast_rcnn_heads.add_roi_Xconv1fc_gn_head
KRCNN:
  NUM_KEYPOINTS: 17
"""

CAFFE2 = """
MODEL:
  CONV_BODY: FPN.add_fpn_ResNet50_conv5_body
  ROI_HEAD: head_builder.add_roi_2mlp_head
  NUM_CLASSES: -1
RPN:
  ON: True
TRAIN:
  WEIGHTS: https://example.org/ImageNetPretrained/MSRA/R-50.pkl
  DATASET: coco_2014_train:coco_2014_valminusminival
TEST:
  SCALES: (600,)
USE_NCCL: False
"""

KEYPOINTS = """
MODEL:
  CONV_BODY: FPN.fpn_ResNet50_conv5_body
  KEYPOINTS_ON: True
KRCNN:
  USE_DECONV: True
RETINANET:
  SOFTMAX: True
"""

KEYPOINT_RCNN = """
MODEL:
  TYPE: generalized_rcnn
  CONV_BODY: FPN.fpn_ResNet50_conv5_body
  NUM_CLASSES: 2
  FASTER_RCNN: True
  KEYPOINTS_ON: True
FPN:
  FPN_ON: True
  MULTILEVEL_ROIS: True
  MULTILEVEL_RPN: True
KRCNN:
  ROI_KEYPOINTS_HEAD: keypoint_rcnn_heads.roi_pose_head_v1convX
  NUM_STACKED_CONVS: 8
  NUM_KEYPOINTS: 17
  USE_DECONV_OUTPUT: True
  CONV_INIT: MSRAFill
  CONV_HEAD_DIM: 512
  UP_SCALE: 2
  HEATMAP_SIZE: 56
  ROI_XFORM_METHOD: RoIAlign
  ROI_XFORM_RESOLUTION: 14
  ROI_XFORM_SAMPLING_RATIO: 2
  KEYPOINT_CONFIDENCE: bbox
  MIN_KEYPOINT_COUNT_FOR_VALID_MINIBATCH: 20
TRAIN:
  DATASETS: ('keypoints_coco_2017_train',)
  SCALES: (640, 672, 704, 736, 768, 800)
TEST:
  DATASETS: ('keypoints_coco_2017_val',)
  KPS_AUG:
    ENABLED: True
    H_FLIP: True
"""

C4 = """
MODEL:
  TYPE: generalized_rcnn
  CONV_BODY: ResNet.add_ResNet50_conv4_body
  FASTER_RCNN: True
  MASK_ON: True
FAST_RCNN:
  ROI_BOX_HEAD: ResNet.add_ResNet_roi_conv5_head
  ROI_XFORM_METHOD: RoIAlign
MRCNN:
  ROI_MASK_HEAD: mask_rcnn_heads.mask_rcnn_fcn_head_v0upshare
TRAIN:
  BATCH_SIZE_PER_IM: 512
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "old.yaml"
    path.write_text(text)
    return path


def test_mask_rcnn_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "fpt"):
        cfg = load_cfg(write(tmp_path, MASK))
    assert cfg.MODEL.CONV_BODY == "FPN.ResNet50_conv5_body"
    assert cfg.MODEL.NUM_CLASSES == 81
    assert cfg.SOLVER.STEPS == (0, 60000, 80000)
    text = caplog.text
    assert "BBOX_AUG" not in text
    assert "SOLVER.SCALE_MOMENTUM" in text
    assert not any(key in text for key in ("FPN.MULTILEVEL_ROIS", "MODEL.FASTER_RCNN", "ROI_XFORM_METHOD"))


def test_group_norm_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "fpt"):
        cfg = load_cfg(write(tmp_path, GROUP_NORM))
    assert cfg.RESNETS.USE_GN
    assert cfg.FAST_RCNN.ROI_BOX_HEAD == "fast_rcnn_heads.roi_Xconv1fc_gn_head"
    assert "RESNETS.TRANS_FUNC, RESNETS.STEM_FUNC, RESNETS.SHORTCUT_FUNC" in caplog.text
    assert "replaced by RESNETS.USE_GN" in caplog.text


def test_caffe2_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "fpt"):
        cfg = load_cfg(write(tmp_path, CAFFE2))
    assert cfg.FAST_RCNN.ROI_BOX_HEAD == "fast_rcnn_heads.roi_2mlp_head"
    assert cfg.RESNETS.IMAGENET_PRETRAINED_WEIGHTS == "pretrained_model/R-50.pkl"
    assert cfg.TRAIN.DATASETS == ("coco_2014_train", "coco_2014_valminusminival")
    assert (cfg.TEST.SCALE, cfg.MODEL.NUM_CLASSES) == (600, 0)
    assert "TRAIN.DATASET (in" in caplog.text
    assert "renamed to TRAIN.DATASETS" in caplog.text


def test_keypoint_rcnn_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "fpt"):
        cfg = load_cfg(write(tmp_path, KEYPOINT_RCNN))
    assert cfg.MODEL.KEYPOINTS_ON
    assert (cfg.KRCNN.NUM_KEYPOINTS, cfg.KRCNN.HEATMAP_SIZE, cfg.KRCNN.CONV_HEAD_DIM) == (17, 56, 512)
    assert "KRCNN.MIN_KEYPOINT_COUNT_FOR_VALID_MINIBATCH" in caplog.text
    assert "there is no test-time augmentation of key points here" in caplog.text


def test_missing_features_are_refused_together(tmp_path: Path) -> None:
    path = write(tmp_path, KEYPOINTS)
    with pytest.raises(UserError) as caught:
        load_cfg(path)
    message = str(caught.value)
    assert (
        "KRCNN.USE_DECONV is True, but the keypoint head makes its heat maps by a transposed 4x4 convolution and a "
        f"bilinear doubling; the only value here is False (in {path}, line 6)" in message
    )
    assert "RETINANET.SOFTMAX is True, but a class's score is one sigmoid" in message


def test_retinanet_file(tmp_path: Path) -> None:
    text = "MODEL: {TYPE: retinanet, CONV_BODY: FPN.fpn_ResNet50_conv5_body}\nRETINANET: {INFERENCE_TH: 0.02}"
    cfg = load_cfg(write(tmp_path, text))
    assert cfg.RETINANET.RETINANET_ON
    assert cfg.TEST.SCORE_THRESH == 0.02


def test_c4_file_has_the_originals_defaults(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cfg = load_cfg(write(tmp_path, C4), ["TEST.RPN_PRE_NMS_TOP_N", "6000"])
    assert cfg.MODEL.CONV_BODY == "ResNet.ResNet50_conv4_body"
    assert cfg.FAST_RCNN.ROI_BOX_HEAD == "ResNet.ResNet_roi_conv5_head"
    assert (cfg.FAST_RCNN.ROI_XFORM_RESOLUTION, cfg.FAST_RCNN.ROI_XFORM_SAMPLING_RATIO) == (14, 0)
    assert (cfg.MRCNN.RESOLUTION, cfg.TRAIN.RPN_PRE_NMS_TOP_N, cfg.TEST.RPN_PRE_NMS_TOP_N) == (14, 12000, 6000)
    assert cfg.TRAIN.BATCH_SIZE_PER_IM == 512
    assert "takes Detectron's defaults" in caplog.text


@pytest.mark.parametrize(
    ("name", "here"),
    [
        ("FPN.fpn_ResNet50_conv5_body", "FPN.ResNet50_conv5_body"),
        ("FPN.add_fpn_ResNet101_conv5_body", "FPN.ResNet101_conv5_body"),
        ("FPN.fpn_ResNet50_conv5_P2only_body", "P2only.ResNet50_conv5_body"),
        ("FPN.add_fpn_ResNet50_conv4_P2only_body", "P2only.ResNet50_conv4_body"),
        ("ResNet.add_ResNet101_conv5_body", "ResNet.ResNet101_conv5_body"),
        ("ResNet.ResNet50_conv4_body", "ResNet.ResNet50_conv4_body"),
    ],
)
def test_names_of_backbones(name: str, here: str) -> None:
    assert load_cfg(None, ["MODEL.CONV_BODY", name]).MODEL.CONV_BODY == here


@pytest.mark.parametrize("key", sorted(IMPLIED))
def test_what_another_option_implies_is_named_where_it_is_off(key: str, caplog: pytest.LogCaptureFixture) -> None:
    assert load_cfg(None, [key, "True"]) == load_cfg(None)
    assert not caplog.records
    assert load_cfg(None, [key, "False"]) == load_cfg(None)
    assert f"{key} (in --set): without effect: {IMPLIED[key]}" in caplog.text


def test_tables_do_not_overlap() -> None:
    options = {key for key, _ in flatten_options(OPTIONS)}
    tables = [set(RENAMED), set(DROPPED), set(FIXED), set(IMPLIED), set(DETAILS), options]
    assert len(set().union(*tables)) == sum(len(table) for table in tables)
    assert set(RENAMED.values()) <= options


@pytest.mark.parametrize("key", sorted(FIXED))
def test_the_one_possible_value_changes_nothing_and_says_nothing(key: str, caplog: pytest.LogCaptureFixture) -> None:
    value, _ = FIXED[key]
    texts = [str(value), str(value).lower()] if isinstance(value, bool) else [str(value)]
    with caplog.at_level(logging.DEBUG, "fpt"):
        for given in (value, *texts):
            assert load_cfg(None, [key, given]) == load_cfg(None)
    assert not caplog.records


@pytest.mark.parametrize("key", sorted(FIXED))
def test_another_value_is_an_error_that_says_what_is_missing(key: str) -> None:
    value, note = FIXED[key]
    others = {bool: not value, int: 7, float: 0.5, str: "other", tuple: "('a.pkl',)"}
    with pytest.raises(UserError) as caught:
        load_cfg(None, [key, others[type(value)]])
    message = str(caught.value)
    assert f"{key} is {others[type(value)]!r}, but {note}; the only value here is {value!r}" in message


@pytest.mark.parametrize("key", sorted(DETAILS))
def test_a_detail_says_nothing(key: str, caplog: pytest.LogCaptureFixture) -> None:
    for value in ("True", "0.7", "(400, 500)"):
        assert load_cfg(None, [key, value]) == load_cfg(None)
    assert not caplog.records


@pytest.mark.parametrize("key", sorted(DROPPED))
def test_a_dropped_key_that_is_off_is_silent_and_on_has_a_note(key: str, caplog: pytest.LogCaptureFixture) -> None:
    for off in ("False", "()", "", "off", "0", False, [], 0):
        assert load_cfg(None, [key, off]) == load_cfg(None)
    assert not caplog.records
    assert load_cfg(None, [key, "7"]) == load_cfg(None)
    assert f"{key} (in --set): without effect: {DROPPED[key]}" in caplog.text


def test_original_defaults_are_others_here() -> None:
    ours = dict(load_cfg(None).leaves())
    assert [key for key, value in ORIGINAL_DEFAULTS.items() if ours[key] == value] == []


def test_an_older_file_names_once_what_it_leaves_to_other_defaults(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = MASK.replace("  BATCH_SIZE_PER_IM: 512\n", "").replace("  LR_POLICY: steps_with_decay\n", "")
    load_cfg(write(tmp_path, text.replace("  DILATION: 1\n", "")), ["VIS_TH", "0.9"])
    (message,) = [record.getMessage() for record in caplog.records if "defaults" in record.getMessage()]
    for part in (
        "TRAIN.BATCH_SIZE_PER_IM 64 -> 512",
        "SOLVER.LR_POLICY step -> steps_with_decay",
        "MRCNN.DILATION 2 -> 1",
    ):
        assert part in message
    assert "TEST.RPN_PRE_NMS_TOP_N 12000 -> 1000" in message
    assert "TRAIN.RPN_STRADDLE_THRESH 0.0 -> -1.0" in message
    for part in ("VIS_TH", "MRCNN.RESOLUTION", "TRAIN.RPN_PRE_NMS_TOP_N"):
        assert part not in message
    caplog.clear()
    load_cfg(write(tmp_path, GROUP_NORM))
    assert "MRCNN" not in caplog.text
    caplog.clear()
    load_cfg(write(tmp_path, "TRAIN: {MAX_SIZE: 900}"))
    assert not caplog.records


def test_cuda_is_the_device() -> None:
    assert load_cfg(None, ["CUDA", "False"]).DEVICE == "cpu"
    assert load_cfg(None, ["CUDA", "True"]).DEVICE == "auto"


def test_no_option_has_one_legal_value_alone() -> None:
    assert [key for key, option in flatten_options(OPTIONS) if len(option.choices or "ab") < 2] == []


def test_configuration_of_an_older_checkpoint_loads_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    former = load_cfg(None).clone()
    former.MODEL.TYPE, former.MODEL.FASTER_RCNN, former.FPN.FPN_ON = "generalized_rcnn", True, True
    former.FAST_RCNN.ROI_XFORM_METHOD = former.MRCNN.ROI_XFORM_METHOD = "RoIAlign"
    former["RPN"] = {"RPN_ON": True}
    with caplog.at_level(logging.DEBUG, "fpt"):
        assert parse_cfg(former.dump(), source="a checkpoint") == load_cfg(None)
    assert not caplog.records


@pytest.mark.parametrize("name", ["rpn", "fast_rcnn", "faster_rcnn", "mask_rcnn", "keypoint_rcnn", "generalized_rcnn"])
def test_detectrons_names_of_a_detector_say_nothing_that_other_options_do_not(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.yaml").write_text(f"MODEL: {{TYPE: {name}, MASK_ON: True}}")
    cfg = load_cfg(tmp_path / "a.yaml")
    assert (cfg.MODEL.TYPE, cfg.MODEL.MASK_ON) == ("detector", True)


def test_detectrons_name_of_the_keypoint_head(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("KRCNN: {ROI_KEYPOINTS_HEAD: keypoint_rcnn_heads.add_roi_pose_head_v1convX}")
    assert load_cfg(tmp_path / "a.yaml").KRCNN.ROI_KEYPOINTS_HEAD == "keypoint_rcnn_heads.roi_pose_head_v1convX"
