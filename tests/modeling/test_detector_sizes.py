"""The whole detector with FPT on images of awkward sizes, one or many at a time, with every normalisation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fpt.core.config import get_cfg
from fpt.modeling.build import build_model
from fpt.modeling.detector import GeneralizedRCNN


def build(norm: str = "GN", pyramid: str = "FPN") -> GeneralizedRCNN:
    cfg = get_cfg()
    cfg.MODEL.CONV_BODY = f"{pyramid}.ResNet18_conv5_body_fpt"
    cfg.MODEL.FPT.NORM = norm
    cfg.MODEL.FPT.MAX_KEYS = 64
    cfg.RESNETS.BASE_CHANNELS = cfg.FPN.DIM = 16
    cfg.RESNETS.FREEZE_AT = 0
    cfg.RESNETS.USE_GN = cfg.FPN.USE_GN = True
    cfg.FAST_RCNN.ROI_BOX_HEAD = "fast_rcnn_heads.roi_2mlp_head"
    cfg.FAST_RCNN.MLP_HEAD_DIM = 16
    cfg.TRAIN.BATCH_SIZE_PER_IM = 16
    cfg.TRAIN.RPN_POST_NMS_TOP_N = cfg.TEST.RPN_POST_NMS_TOP_N = 20
    cfg.TEST.SCORE_THRESH = 0.01
    cfg.TEST.DETECTIONS_PER_IM = 5
    torch.manual_seed(0)
    return build_model(cfg, num_classes=3)


def make_batch(*sizes: tuple[int, int]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    generator = torch.Generator().manual_seed(1)
    images = [torch.rand(3, h, w, generator=generator) * 255 for h, w in sizes]
    return images, [
        {"boxes": torch.tensor([[0.1, 0.1, 0.8 * w, 0.7 * h]]), "labels": torch.tensor([1])} for h, w in sizes
    ]


@pytest.mark.parametrize("pyramid", ["FPN", "BFP", "BPA"])
@pytest.mark.parametrize("sizes", [[(33, 47)], [(1, 1)], [(33, 47), (97, 64), (50, 131)]])
def test_any_sizes_train_and_detect(pyramid: str, sizes: list[tuple[int, int]]) -> None:
    model, (images, targets) = build(pyramid=pyramid), make_batch(*sizes)
    sum(model(images, targets).values()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    with torch.no_grad():
        found = model.eval()(images)
    assert len(found) == len(sizes)
    for item, (h, w) in zip(found, sizes, strict=True):
        assert (item["boxes"] >= 0).all()
        assert (item["boxes"] <= torch.tensor([w, h, w, h])).all()


def test_a_large_odd_image_trains_and_detects() -> None:
    model, (images, targets) = build(), make_batch((801, 1087))
    sum(model(images, targets).values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    with torch.no_grad():
        assert model.eval()(images)[0]["boxes"].shape[1] == 4


@pytest.mark.parametrize("norm", ["GN", "BN", "SyncBN", "none"])
def test_one_small_image_with_every_norm(norm: str) -> None:
    """BatchNorm has statistics of 2 x 2 cells at 33 x 47, but none of the one cell at 20 x 20, and says so."""
    model, (images, targets) = build(norm), make_batch((33, 47))
    assert all(torch.isfinite(loss) for loss in model(images, targets).values())
    tiny = make_batch((20, 20))
    if norm in ("BN", "SyncBN"):
        with pytest.raises(ValueError, match="in training got one image of 1 x 1 cells.*MODEL.FPT.NORM GN"):
            model(*tiny)
    else:
        assert all(torch.isfinite(loss) for loss in model(*tiny).values())
    with torch.no_grad():
        assert len(model.eval()(tiny[0])) == 1
