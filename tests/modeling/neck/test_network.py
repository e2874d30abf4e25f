"""The neck in the place of torchvision's FPN."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.resnet import resnet18
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool, LastLevelP6P7

from fpt.modeling.neck.fpn import FeaturePyramid
from fpt.modeling.neck.fpt import FeaturePyramidTransformer
from fpt.modeling.neck.network import FeaturePyramidTransformerNetwork

CHANNELS = [4, 6, 10]


def maps(batch=2):
    torch.manual_seed(0)
    sizes = [(17, 23), (9, 12), (5, 6)]
    return OrderedDict(
        (f"feat{i}", torch.randn(batch, c, *s)) for i, (c, s) in enumerate(zip(CHANNELS, sizes, strict=True))
    )


@pytest.mark.parametrize("extra", [None, LastLevelMaxPool(), LastLevelP6P7(8, 8), LastLevelP6P7(10, 8)])
def test_names_and_shapes_are_those_of_torchvisions_fpn(extra):
    x = maps()
    expected = FeaturePyramidNetwork(CHANNELS, 8, extra)(x)
    got = FeaturePyramidTransformerNetwork(CHANNELS, 8, extra)(x)
    assert list(got) == list(expected)
    assert [y.shape for y in got.values()] == [y.shape for y in expected.values()]


def test_is_the_laterals_and_the_transformer():
    neck = FeaturePyramidTransformerNetwork(CHANNELS, 8, norm_layer=None).eval()
    x = maps()
    convs = dict(zip(x, neck.pyramid.laterals, strict=True))
    laterals = OrderedDict((k, F.conv2d(v, convs[k].conv.weight, convs[k].conv.bias)) for k, v in x.items())
    expected = neck.transformer(laterals)
    for y, reference in zip(neck(x).values(), expected.values(), strict=True):
        assert torch.allclose(y, reference, atol=1e-6)


def test_other_pyramid_other_settings_and_the_images_sizes():
    pyramid = FeaturePyramid(in_channels=CHANNELS, out_channels=8)
    transformer = FeaturePyramidTransformer(in_channels=8, num_levels=3, interactions=("grounding",), max_keys=8)
    neck = FeaturePyramidTransformerNetwork(CHANNELS, 8, pyramid=pyramid, transformer=transformer).eval()
    x = maps(batch=1)
    larger = {"feat0": (34, 46), "feat1": (17, 23), "feat2": (9, 12)}
    padded = OrderedDict(
        (k, F.pad(v, (0, larger[k][1] - v.shape[-1], 0, larger[k][0] - v.shape[-2]), value=2.0)) for k, v in x.items()
    )
    alone, together = neck(x), neck(padded, sizes_hw=[(17, 23)], padded_hw=(34, 46))
    assert torch.allclose(together["feat0"][..., :17, :23], alone["feat0"], atol=1e-5)


def test_weights_load_strictly():
    neck, other = (FeaturePyramidTransformerNetwork(CHANNELS, 8, LastLevelP6P7(10, 8)).eval() for _ in range(2))
    neck.load_state_dict(other.state_dict(), strict=True)
    for y, expected in zip(neck(maps()).values(), other(maps()).values(), strict=True):
        assert torch.equal(y, expected)


def backbone(extra, layers=(1, 2, 3, 4)):
    channels = [64 * 2 ** (i - 1) for i in layers]
    names = {f"layer{i}": str(number) for number, i in enumerate(layers)}
    built = BackboneWithFPN(resnet18(weights=None), names, channels, 16, extra)
    built.fpn = FeaturePyramidTransformerNetwork(channels, 16, extra)
    return built


def detector(kind):
    torch.manual_seed(0)
    sizes = {"min_size": 64, "max_size": 96}
    if kind == "retina":
        anchors = AnchorGenerator(((16,),) * 5, ((1.0,),) * 5)
        return RetinaNet(backbone(LastLevelP6P7(16, 16), (2, 3, 4)), 3, anchor_generator=anchors, **sizes)
    return FasterRCNN(backbone(LastLevelMaxPool()), 3, **sizes)


@pytest.mark.parametrize("kind", ["faster", "retina"])
def test_torchvisions_detectors_train_and_detect(kind):
    model = detector(kind)
    images = [torch.rand(3, 70, 90), torch.rand(3, 64, 50)]
    targets = [{"boxes": torch.tensor([[5.0, 5, 40, 45]]), "labels": torch.tensor([1])} for _ in images]
    losses = model(images, targets)
    sum(losses.values()).backward()
    gradients = [p.grad for p in model.backbone.fpn.parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)
    found = model.eval()(images)
    assert {"boxes", "labels", "scores"} <= set(found[0])
    copy = detector(kind).eval()
    copy.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(copy(images)[0]["scores"], found[0]["scores"])


def test_wrong_parts_are_named():
    with pytest.raises(TypeError, match="extra_blocks is a Conv2d"):
        FeaturePyramidTransformerNetwork(CHANNELS, 8, nn.Conv2d(8, 8, 1))
    with pytest.raises(ValueError, match="num_levels is 1"):
        FeaturePyramidTransformerNetwork([4], 8)
    transformer = FeaturePyramidTransformer(in_channels=8, num_levels=2)
    with pytest.raises(
        ValueError, match=r"transformer of 2 levels from 8 to 8 channels do not make a neck from \(4, 6"
    ):
        FeaturePyramidTransformerNetwork(CHANNELS, 8, transformer=transformer)
    neck, x = FeaturePyramidTransformerNetwork(CHANNELS, 8), maps()
    with pytest.raises(ValueError, match=r"level 'feat1' is \(2, 4, 17, 23\), must be \[2, 6, height, width\]"):
        neck(x | {"feat1": x["feat0"]})
    with pytest.raises(ValueError, match=r"2 levels \(feat0, feat1\), this neck was built for 3"):
        neck(OrderedDict(list(x.items())[:2]))
