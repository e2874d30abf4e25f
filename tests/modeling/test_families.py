"""Backbones and necks of Detectron's model zoo: ResNeXt, dilated res5, C4, C5, P2 alone, convolved P6 and P7."""

from collections import OrderedDict

import pytest
import torch
import torchvision
from torch import nn
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from fpt.core.config import get_cfg
from fpt.core.config_node import CfgNode
from fpt.layers.norm import FrozenBatchNorm2d
from fpt.modeling.backbone.resnet import BlockSettings, ResNet
from fpt.modeling.build import build_model, load_pretrained_backbone
from fpt.modeling.detector import GeneralizedRCNN
from fpt.modeling.neck.compose import ExtraLevels
from fpt.utils.errors import UserError


def _frozen(channels: int, ends_branch: bool) -> nn.Module:
    return FrozenBatchNorm2d(channels)


def _small(backbone: str, *options: object) -> CfgNode:
    cfg = get_cfg()
    cfg.MODEL.CONV_BODY = backbone
    cfg.RESNETS.BASE_CHANNELS, cfg.RESNETS.FREEZE_AT, cfg.RESNETS.USE_GN = 16, 0, True
    cfg.FPN.DIM = cfg.FAST_RCNN.MLP_HEAD_DIM = 16
    cfg.TRAIN.BATCH_SIZE_PER_IM = 16
    cfg.TRAIN.RPN_POST_NMS_TOP_N = cfg.TEST.RPN_POST_NMS_TOP_N = 20
    cfg.TEST.SCORE_THRESH, cfg.TEST.DETECTIONS_PER_IM = 0.01, 5
    cfg.RPN.SIZES = (16, 32)
    for key, value in zip(options[::2], options[1::2], strict=True):
        group, _, name = str(key).partition(".")
        cfg[group][name] = value
    return cfg


def _build(cfg: CfgNode) -> GeneralizedRCNN:
    torch.manual_seed(0)
    return build_model(cfg, num_classes=3)


def _step(model: GeneralizedRCNN) -> None:
    """A training step reaches every parameter, and detections come out."""
    images = [torch.rand(3, 64, 96) * 255, torch.rand(3, 80, 64) * 255]
    target = {"boxes": torch.tensor([[8.0, 8.0, 60.0, 56.0]]), "labels": torch.tensor([1])}
    losses = model(images, [target, target])
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    with torch.no_grad():
        assert all(len(found["boxes"]) > 0 for found in model.eval()(images))


@pytest.mark.parametrize("is_deep", [False, True])
def test_resnext_has_torchvisions_maps(is_deep: bool) -> None:
    name, depth, width = ("resnext101_32x8d", 101, 8) if is_deep else ("resnext50_32x4d", 50, 4)
    with torch.device("meta" if is_deep else "cpu"):
        reference = torchvision.models.get_model(name, weights=None).eval()
        ours = ResNet(depth=depth, settings=BlockSettings(norm=_frozen, groups=32, width_per_group=width))
    wanted = {key: value.shape for key, value in reference.state_dict().items() if "num_batches" not in key}
    assert {key: value.shape for key, value in ours.state_dict().items()} == {
        key: shape for key, shape in wanted.items() if not key.startswith("fc.")
    }
    if not is_deep:
        ours.load_state_dict(reference.state_dict(), strict=False)
        x = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            stem = reference.maxpool(reference.relu(reference.bn1(reference.conv1(x))))
            last = reference.layer4(reference.layer3(reference.layer2(reference.layer1(stem))))
            torch.testing.assert_close(ours(x)["res5"], last, atol=1e-4, rtol=1e-4)


def test_groups_need_bottlenecks() -> None:
    with pytest.raises(UserError, match="NUM_GROUPS is 32 .*but the blocks of ResNet-18 have no groups"):
        _build(_small("FPN.ResNet18_conv5_body", "RESNETS.NUM_GROUPS", 32))


def test_dilated_res5_is_torchvisions_with_its_first_block_dilated_too() -> None:
    torch.manual_seed(0)
    reference = torchvision.models.resnet50(weights=None, replace_stride_with_dilation=[False, False, True]).eval()
    reference.layer4[0].conv2.dilation = reference.layer4[0].conv2.padding = (2, 2)  # as Detectron
    ours = ResNet(depth=50, settings=BlockSettings(norm=_frozen), res5_dilation=2)
    ours.load_state_dict(reference.state_dict(), strict=False)
    assert ours.strides == (4, 8, 16, 16)
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        stem = reference.maxpool(reference.relu(reference.bn1(reference.conv1(x))))
        last = reference.layer4(reference.layer3(reference.layer2(reference.layer1(stem))))
        torch.testing.assert_close(ours(x)["res5"], last, atol=1e-4, rtol=1e-4)


def test_c4_backbone_ends_at_res4() -> None:
    model = _build(_small("ResNet.ResNet50_conv4_body", "FAST_RCNN.ROI_BOX_HEAD", "ResNet.ResNet_roi_conv5_head"))
    assert model.backbone.strides == (4, 8, 16)
    assert not any(name.startswith("layer4") for name, _ in model.backbone.named_parameters())
    assert list(model.neck.parameters()) == []
    assert model.rpn.head.conv.weight.shape[:2] == (256, 256)
    assert model.roi_heads.box_predictor.cls_score.in_features == 16 * 8 * 4


@pytest.mark.parametrize(
    ("backbone", "options"),
    [
        ("ResNet.ResNet18_conv4_body", ("FAST_RCNN.ROI_BOX_HEAD", "ResNet.ResNet_roi_conv5_head")),
        ("ResNet.ResNet18_conv5_body", ("RESNETS.RES5_DILATION", 2)),
        ("P2only.ResNet18_conv5_body", ()),
        ("FPN.ResNet18_conv4_body", ("FPN.ROI_MAX_LEVEL", 4, "FPN.RPN_MAX_LEVEL", 5)),
        ("FPN.ResNet18_conv5_body", ("FPN.EXTRA_CONV_LEVELS", True, "FPN.RPN_MAX_LEVEL", 7)),
        ("FPN.ResNet18_conv5_body_fpt", ("FPN.EXTRA_CONV_LEVELS", True, "FPN.EXTRA_CONV_SOURCE", "P5")),
        ("FPN.ResNet18_conv5_body", ("RPN.OUT_DIM_AS_IN_DIM", False, "RPN.OUT_DIM", 24)),
    ],
)
def test_each_family_trains(backbone: str, options: tuple[object, ...]) -> None:
    _step(_build(_small(backbone, *options)))


def test_the_mask_head_may_share_the_res5_of_the_boxes() -> None:
    cfg = _small("ResNet.ResNet18_conv4_body", "FAST_RCNN.ROI_BOX_HEAD", "ResNet.ResNet_roi_conv5_head")
    cfg.FAST_RCNN.ROI_XFORM_RESOLUTION = cfg.MRCNN.RESOLUTION = 14
    cfg.MODEL.MASK_ON, cfg.MRCNN.ROI_MASK_HEAD = True, "mask_rcnn_heads.mask_rcnn_fcn_head_v0upshare"
    model = _build(cfg)
    assert not any("mask_branch" in name and "res5" in name for name in model.state_dict())
    target = {"boxes": torch.tensor([[8.0, 8.0, 60.0, 56.0]]), "labels": torch.tensor([1])}
    target["masks"] = torch.ones(1, 28, 28, dtype=torch.uint8)
    model([torch.rand(3, 64, 96) * 255], [target])["loss_mask"].backward()
    assert all(parameter.grad is not None for parameter in model.roi_heads.box_head.res5.parameters())


def test_a_mask_head_that_shares_needs_the_box_head() -> None:
    cfg = _small("ResNet.ResNet18_conv4_body")
    cfg.MODEL.MASK_ON, cfg.MRCNN.ROI_MASK_HEAD = True, "mask_rcnn_heads.mask_rcnn_fcn_head_v0upshare"
    with pytest.raises(UserError, match="shares the res5 of FAST_RCNN.ROI_BOX_HEAD"):
        _build(cfg)


@pytest.mark.parametrize("backbone", ["FPN.ResNet18_conv5_body", "ResNet.torchvision.mobilenet_v2"])
def test_a_conv5_head_needs_a_backbone_without_res5(backbone: str) -> None:
    with pytest.raises(UserError, match="need a backbone without res5, such as MODEL.CONV_BODY ResNet.ResNet50_conv4"):
        _build(_small(backbone, "FAST_RCNN.ROI_BOX_HEAD", "ResNet.ResNet_roi_conv5_head"))


def test_the_stride_of_a_single_map_is_compared() -> None:
    with pytest.raises(UserError, match="RPN.STRIDE is 16, but the map .* has stride 4: leave RPN.STRIDE out"):
        _build(_small("P2only.ResNet18_conv5_body", "RPN.STRIDE", 16))


@pytest.mark.parametrize("from_backbone", [True, False])
def test_extra_levels_are_torchvisions(from_backbone: bool) -> None:
    torch.manual_seed(0)
    reference = LastLevelP6P7(24 if from_backbone else 8, 8)
    ours = ExtraLevels(
        in_channels=24 if from_backbone else 8, out_channels=8, num_levels=2, from_backbone=from_backbone
    )
    names = {"p6": "0.conv", "p7": "1.conv"}
    ours.load_state_dict(
        {f"{names[key.split('.')[0]]}.{key.split('.')[1]}": value for key, value in reference.state_dict().items()}
    )
    maps, features = OrderedDict(res5=torch.randn(2, 8, 9, 6)), OrderedDict(res5=torch.randn(2, 24, 9, 6))
    expected, names_out = reference([maps["res5"]], [features["res5"]], ["res5"])
    result = ours(maps, features, sizes_hw=None, padded_hw=None)
    assert list(result) == names_out
    for level, value in zip(result.values(), expected, strict=True):
        torch.testing.assert_close(level, value)


def test_extra_levels_do_not_see_the_padding() -> None:
    torch.manual_seed(0)
    extra = ExtraLevels(in_channels=8, out_channels=8, num_levels=2, from_backbone=False)
    alone = torch.randn(1, 8, 5, 3)
    padded = torch.full((1, 8, 8, 8), 7.0)
    padded[..., :5, :3] = alone
    one = extra(OrderedDict(res5=alone), OrderedDict(), sizes_hw=None, padded_hw=None)
    two = extra(OrderedDict(res5=padded), OrderedDict(), sizes_hw=[(160, 96)], padded_hw=(256, 256))
    for level in ("p6", "p7"):
        h, w = one[level].shape[-2:]
        torch.testing.assert_close(two[level][..., :h, :w], one[level])


def test_pretrained_res5_goes_into_the_heads(tmp_path) -> None:
    cfg = _small("ResNet.ResNet18_conv4_body", "FAST_RCNN.ROI_BOX_HEAD", "ResNet.ResNet_roi_conv5_head")
    cfg.RESNETS.USE_GN, cfg.RESNETS.BASE_CHANNELS = False, 64
    cfg.MODEL.MASK_ON, cfg.MRCNN.ROI_MASK_HEAD = True, "mask_rcnn_heads.mask_rcnn_fcn_head_v0up"
    whole = torchvision.models.resnet18(weights=None).state_dict()
    file = tmp_path / "resnet18_caffe.pth"
    torch.save(whole, file)
    cfg.RESNETS.IMAGENET_PRETRAINED_WEIGHTS = str(file)
    model = _build(cfg)
    load_pretrained_backbone(model, cfg)
    for res5 in (model.roi_heads.box_head.res5, model.roi_heads.mask_branch.head.res5):
        torch.testing.assert_close(res5[1].conv2.weight, whole["layer4.1.conv2.weight"])
