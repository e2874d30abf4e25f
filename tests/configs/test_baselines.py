"""The recipes of Detectron's model zoo: every file loads and builds; the kinds of models train and detect."""

from pathlib import Path

import pytest
import torch

from fpt.core.config import load_cfg
from fpt.core.config_node import CfgNode
from fpt.modeling.build import build_model
from fpt.utils.errors import UserError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FILES = sorted(
    str(path.relative_to(CONFIGS))
    for folder in ("baselines", "gn_baselines", "getting_started")
    for path in (CONFIGS / folder).glob("*.yaml")
)
KINDS = (
    "baselines/e2e_mask_rcnn_R-50-FPN_1x.yaml",
    "baselines/e2e_mask_rcnn_R-50-C4_1x.yaml",
    "baselines/e2e_mask_rcnn_X-101-64x4d-FPN_1x.yaml",
    "baselines/e2e_keypoint_rcnn_R-50-FPN_1x.yaml",
    "gn_baselines/scratch_e2e_mask_rcnn_R-50-FPN_3x_gn.yaml",
)


def _small(file: str) -> CfgNode:
    """The recipe with few channels; the kinds and numbers of layers stay."""
    cfg = load_cfg(CONFIGS / file).clone()
    cfg.RESNETS.BASE_CHANNELS = 16
    cfg.FPN.DIM = cfg.FAST_RCNN.MLP_HEAD_DIM = cfg.FAST_RCNN.CONV_HEAD_DIM = cfg.MRCNN.DIM_REDUCED = 16
    cfg.KRCNN.CONV_HEAD_DIM = 16
    cfg.TRAIN.BATCH_SIZE_PER_IM, cfg.TRAIN.RPN_POST_NMS_TOP_N, cfg.TEST.RPN_POST_NMS_TOP_N = 16, 20, 20
    cfg.TEST.SCORE_THRESH, cfg.TEST.DETECTIONS_PER_IM = 0.0, 5
    return cfg


def _train_and_detect(cfg: CfgNode) -> None:
    torch.manual_seed(0)
    model = build_model(cfg, num_classes=3)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    image = torch.rand(3, 64, 96) * 255
    target = {"boxes": torch.tensor([[8.0, 8.0, 60.0, 56.0]]), "labels": torch.tensor([1])}
    target["masks"] = torch.ones(1, 28, 28, dtype=torch.uint8)
    target["keypoints"] = torch.tensor([20.0, 30.0, 2.0]).expand(1, 17, 3)
    for _ in range(2):
        losses = model([image, image], [target, target])
        assert ("loss_mask" in losses) == cfg.MODEL.MASK_ON
        assert ("loss_kps" in losses) == cfg.MODEL.KEYPOINTS_ON
        total = sum(losses.values())
        assert torch.isfinite(total)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    with torch.no_grad():
        (found,) = model.eval()([image])
    assert len(found["boxes"]) == len(found["scores"]) > 0
    assert ("keypoints" in found) == cfg.MODEL.KEYPOINTS_ON


@pytest.mark.parametrize("file", FILES)
def test_every_recipe_loads_without_a_word_and_builds(file: str, caplog: pytest.LogCaptureFixture) -> None:
    cfg = load_cfg(CONFIGS / file)
    assert not caplog.records
    with torch.device("meta"):
        model = build_model(cfg, num_classes=81)
    assert model.has_masks == ("mask" in file)
    assert model.num_keypoints == (17 if "keypoint" in file else 0)
    blocks = {"ResNet50": 6, "ResNet101": 23, "ResNet152": 36}
    assert len(model.backbone.layer3) == blocks[cfg.MODEL.CONV_BODY.split(".")[1].split("_")[0]]


@pytest.mark.parametrize("file", KINDS)
def test_each_kind_trains_and_detects(file: str) -> None:
    _train_and_detect(_small(file))


@pytest.mark.slow
@pytest.mark.parametrize("file", [file for file in FILES if file not in KINDS])
def test_every_recipe_trains_and_detects(file: str) -> None:
    _train_and_detect(_small(file))


@pytest.mark.parametrize("key", ["TRANS_FUNC: bottleneck_gn_transformation", "NUM_GROUPS: 32", "STRIDE_1X1: False"])
def test_a_key_that_stands_outside_its_group_is_told_where_it_belongs(key: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(f"MODEL:\n  CONV_BODY: FPN.fpn_ResNet50_conv5_body\nRESNETS:\n{key}\n")
    with pytest.raises(UserError, match=rf"{key.split(':')[0]} stands outside its group; indent it under RESNETS \(in"):
        load_cfg(file)
