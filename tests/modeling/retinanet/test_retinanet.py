"""RetinaNet against torchvision's, and as a whole."""

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.detection._utils import Matcher
from torchvision.models.detection.retinanet import RetinaNetHead as Reference
from torchvision.ops import box_iou

from fpt.core.config import load_cfg
from fpt.core.config_node import CfgNode
from fpt.modeling.build import build_model
from fpt.modeling.retinanet.head import RetinaNetHead
from fpt.modeling.retinanet.losses import RetinaNetLosses
from fpt.modeling.retinanet.retinanet import RetinaNet
from fpt.modeling.sampling import AnchorSampling
from fpt.run.attention_maps import look, pyramid_of
from fpt.structures.boxes import BoxCoder
from fpt.utils.errors import UserError

SAMPLING = AnchorSampling(positive_iou=0.5, negative_iou=0.4, straddle_threshold=-1)


def _cfg(*options: object) -> CfgNode:
    return load_cfg(
        None,
        [
            *("MODEL.CONV_BODY", "FPN.ResNet18_conv5_body", "RETINANET.RETINANET_ON", "True"),
            *("FPN.RPN_MIN_LEVEL", "3", "FPN.RPN_MAX_LEVEL", "7", "FPN.EXTRA_CONV_LEVELS", "True"),
            *("RESNETS.BASE_CHANNELS", "16", "RESNETS.USE_GN", "True", "RESNETS.FREEZE_AT", "0", "FPN.DIM", "16"),
            *options,
        ],
    )


def _pair(num_anchors: int = 9, num_classes: int = 3) -> tuple[RetinaNetHead, Reference]:
    torch.manual_seed(0)
    ours = RetinaNetHead(in_channels=8, num_anchors=num_anchors, num_classes=num_classes, num_convs=2)
    theirs = Reference(8, num_anchors, num_classes)
    for name in ("classification_head", "regression_head"):
        getattr(theirs, name).conv = torch.nn.Sequential(*list(getattr(theirs, name).conv)[:2])
    names = {
        "cls_tower": "classification_head.conv",
        "box_tower": "regression_head.conv",
        "cls_logits": "classification_head.cls_logits",
        "bbox_pred": "regression_head.bbox_reg",
    }
    theirs.load_state_dict(
        {name.replace(part := name.split(".")[0], names[part], 1): value for name, value in ours.state_dict().items()}
    )
    return ours, theirs


def test_head_is_torchvisions() -> None:
    ours, theirs = _pair()
    maps = [torch.randn(2, 8, 6, 5), torch.randn(2, 8, 3, 3)]
    logits, offsets = ours(maps)
    expected = theirs(maps)
    torch.testing.assert_close(torch.cat(logits, 1), expected["cls_logits"])
    torch.testing.assert_close(torch.cat(offsets, 1), expected["bbox_regression"])
    assert logits[0].sigmoid().mean().item() == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize("num_objects", [(2, 1), (2, 0), (0, 0)])
def test_losses_are_torchvisions(num_objects: tuple[int, int]) -> None:
    torch.manual_seed(1)
    anchors = torch.cat([low := torch.rand(60, 2) * 50, low + 5 + torch.rand(60, 2) * 30], dim=1)
    targets = [
        {"boxes": anchors[:count] + 1.5, "labels": torch.arange(1, count + 1), "crowd_boxes": torch.zeros(0, 4)}
        for count in num_objects
    ]
    logits, offsets = torch.randn(2, 60, 3) * 2, torch.randn(2, 60, 4)
    ours = RetinaNetLosses(sampling=SAMPLING, box_beta=0)(
        logits, offsets, anchors, targets=targets, sizes_hw=[(99, 99)] * 2, box_coder=BoxCoder()
    )
    matcher = Matcher(0.5, 0.4, allow_low_quality_matches=True)
    matched = [
        matcher(box_iou(target["boxes"], anchors)) if len(target["boxes"]) else torch.full((60,), -1)
        for target in targets
    ]
    zero_based = [{**target, "labels": target["labels"] - 1} for target in targets]
    head = Reference(8, 9, 3)
    theirs = head.compute_loss(
        zero_based, {"cls_logits": logits, "bbox_regression": offsets}, [anchors, anchors], matched
    )
    torch.testing.assert_close(ours["loss_cls"], theirs["classification"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours["loss_bbox"], theirs["bbox_regression"], rtol=1e-5, atol=1e-6)


def test_over_a_batch_every_positive_counts_alike() -> None:
    anchors = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0], [40.0, 0.0, 50.0, 10.0]])
    targets = [
        {"boxes": anchors[:count], "labels": torch.ones(count, dtype=torch.long), "crowd_boxes": torch.zeros(0, 4)}
        for count in (3, 1)
    ]
    offsets = torch.ones(2, 3, 4)
    losses = {
        over_batch: RetinaNetLosses(sampling=SAMPLING, box_beta=0, over_batch=over_batch)(
            torch.zeros(2, 3, 1), offsets, anchors, targets=targets, sizes_hw=[(64, 64)] * 2, box_coder=BoxCoder()
        )["loss_bbox"].item()
        for over_batch in (False, True)
    }
    assert losses == {False: pytest.approx(4.0), True: pytest.approx(4.0)}
    assert RetinaNetLosses(sampling=SAMPLING, box_beta=0, box_weight=0.5)(
        torch.zeros(2, 3, 1), offsets, anchors, targets=targets, sizes_hw=[(64, 64)] * 2, box_coder=BoxCoder()
    )["loss_bbox"].item() == pytest.approx(2.0)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("RETINANET.SHARE_CLS_BBOX_TOWER", "True"),
        ("MODEL.CONV_BODY", "FPN.ResNet18_conv5_body_fpt", "MODEL.FPT.MAX_KEYS", "16"),
    ],
)
def test_it_trains_and_detects(options: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    model = build_model(_cfg("TEST.SCORE_THRESH", "0.005", "TEST.DETECTIONS_PER_IM", "7", *options), num_classes=3)
    assert isinstance(model, RetinaNet)
    assert model.neck.strides == (8, 16, 32, 64, 128)
    assert len(model.neck.pyramid.laterals) == 3
    images = [torch.rand(3, 64, 96) * 255, torch.rand(3, 70, 64) * 255]
    full = {"boxes": torch.tensor([[8.0, 8.0, 60.0, 56.0]]), "labels": torch.tensor([2])}
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    losses = model(images, [full, empty])
    assert set(losses) == {"loss_cls", "loss_bbox"}
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    with torch.no_grad():
        found = model.eval()(images)
        (alone,) = model([images[1]])
    for item, (h, w) in zip(found, [(64, 96), (70, 64)], strict=True):
        assert 0 < len(item["boxes"]) <= 7
        assert set(item["labels"].tolist()) <= {1, 2}
        assert (item["scores"].diff() <= 0).all()
        assert (item["boxes"] >= 0).all()
        assert (item["boxes"] <= torch.tensor([w, h, w, h])).all()
    torch.testing.assert_close(alone["boxes"], found[1]["boxes"], atol=1e-3, rtol=1e-4)


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(UserError, match="RETINANET_ON and MODEL.MASK_ON are True, but RetinaNet has no masks"):
        _cfg("MODEL.MASK_ON", "True")
    with pytest.raises(UserError, match="NEGATIVE_OVERLAP is 0.6, but must not be above RETINANET.POSITIVE_OVERLAP"):
        _cfg("RETINANET.NEGATIVE_OVERLAP", "0.6")
    with pytest.raises(UserError, match="no map so coarse"):
        build_model(_cfg("FPN.RPN_MIN_LEVEL", "7"), num_classes=3)


def test_the_attention_of_its_pyramid_is_shown() -> None:
    cfg = _cfg("MODEL.CONV_BODY", "FPN.ResNet18_conv5_body_fpt", "DEVICE", "cpu", "TEST.SCALE", "64")
    model = build_model(cfg, num_classes=3).eval()
    maps = pyramid_of(cfg, model, np.zeros((64, 96, 3), np.uint8))
    assert [tuple(x.shape[-2:]) for x in maps.values()] == [(8, 12), (4, 6), (2, 3)]
    assert look(model.neck.transformer, maps, (40.0, 20.0), (64, 96))


def test_group_norm_in_the_head() -> None:
    torch.manual_seed(0)
    head = RetinaNetHead(
        in_channels=8, num_anchors=2, num_classes=3, num_convs=2, norm=lambda channels: nn.GroupNorm(2, channels)
    )
    names = {name for name, _ in head.named_parameters()}
    assert {"cls_tower.0.1.weight", "box_tower.1.1.bias"} <= names
    assert "cls_tower.0.0.bias" not in names
    logits, offsets = head([torch.randn(1, 8, 4, 6), torch.randn(1, 8, 2, 3)])
    assert [x.shape for x in logits] == [(1, 48, 3), (1, 12, 3)]
    sum((x**2).sum() for x in (*logits, *offsets)).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in head.parameters())
