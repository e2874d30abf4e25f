"""Box and mask heads."""

import pytest
import torch
from torch import nn

from fpt.layers.norm import group_norm
from fpt.modeling.roi_heads.box_head import BoxPredictor, ConvBoxHead, MLPBoxHead
from fpt.modeling.roi_heads.mask_head import FullyConnectedMask, MaskHead
from fpt.modeling.roi_heads.pooler import MaxFusion


def _untouched(module: nn.Module) -> list[str]:
    return [name for name, p in module.named_parameters() if p.grad is None]


def _box_head(kind: str, num_inputs: int, norm) -> nn.Module:
    if kind == "mlp":
        return MLPBoxHead(in_channels=4, resolution=3, hidden_channels=8, num_inputs=num_inputs, norm=norm)
    return ConvBoxHead(
        in_channels=4, resolution=3, conv_channels=6, num_convs=3, hidden_channels=8, num_inputs=num_inputs, norm=norm
    )


@pytest.mark.parametrize("norm", [None, group_norm])
@pytest.mark.parametrize("num_inputs", [1, 4])
@pytest.mark.parametrize("kind", ["mlp", "conv"])
@pytest.mark.parametrize("count", [0, 5])
def test_box_heads(kind: str, num_inputs: int, norm, count: int) -> None:
    torch.manual_seed(0)
    head = _box_head(kind, num_inputs, norm)
    out = head([torch.randn(count, 4, 3, 3) for _ in range(num_inputs)])
    assert out.shape == (count, head.out_channels) == (count, 8)
    out.sum().backward()
    assert _untouched(head) == []


def test_fusion_is_the_maximum_over_levels() -> None:
    fusion = MaxFusion(num_inputs=3, layer=nn.Identity)
    inputs = [torch.tensor([1.0, 5.0]), torch.tensor([2.0, 0.0]), torch.tensor([0.0, 3.0])]
    assert fusion(inputs).tolist() == [2.0, 5.0]
    assert MaxFusion(num_inputs=1, layer=nn.Identity)(inputs[:1]) is inputs[0]
    with pytest.raises(ValueError, match="zip"):
        fusion(inputs[:2])


@pytest.mark.parametrize(("is_class_agnostic", "num_boxes"), [(False, 5), (True, 1)])
def test_box_predictor(is_class_agnostic: bool, num_boxes: int) -> None:
    predictor = BoxPredictor(in_channels=8, num_classes=5, is_class_agnostic=is_class_agnostic)
    logits, offsets = predictor(torch.randn(3, 8))
    assert logits.shape == (3, 5)
    assert offsets.shape == (3, num_boxes, 4)


@pytest.mark.parametrize(("num_masks", "std"), [(81, (2 / 81) ** 0.5), (1, 0.001)])
def test_one_mask_for_all_classes_starts_small(num_masks: int, std: float) -> None:
    torch.manual_seed(0)
    head = MaskHead(in_channels=4, channels=256, num_convs=2, num_masks=num_masks, init="MSRAFill")
    assert head.predictor.weight.std().item() == pytest.approx(std, rel=0.15)


def _mask_head(num_inputs: int, norm, has_branch: bool) -> MaskHead:
    branch = FullyConnectedMask(channels=8, resolution=4, norm=norm, init="MSRAFill") if has_branch else None
    return MaskHead(
        in_channels=4,
        channels=8,
        num_convs=4,
        num_masks=3,
        num_inputs=num_inputs,
        norm=norm,
        init="MSRAFill",
        fully_connected=branch,
    )


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize(
    ("num_inputs", "norm", "has_branch"), [(1, None, False), (4, group_norm, False), (4, group_norm, True)]
)
def test_mask_heads(num_inputs: int, norm, has_branch: bool, count: int) -> None:
    torch.manual_seed(0)
    head = _mask_head(num_inputs, norm, has_branch)
    out = head([torch.randn(count, 4, 4, 4) for _ in range(num_inputs)])
    assert out.shape == (count, 3, 8, 8)
    out.square().sum().backward()
    assert _untouched(head) == []


def test_fully_connected_branch_adds_one_mask_to_all_classes() -> None:
    torch.manual_seed(0)
    head = _mask_head(1, None, True)
    x = [torch.randn(2, 4, 4, 4)]
    whole, branch = head(x), head.fully_connected
    head.fully_connected = None
    difference = whole - head(x)
    torch.testing.assert_close(difference, difference[:, :1].expand(-1, 3, -1, -1), atol=1e-5, rtol=1e-5)
    third = head.convs[1](head.convs[0](head.conv1(x)))
    torch.testing.assert_close(difference[:, :1], branch(third), atol=1e-5, rtol=1e-5)


def test_branch_needs_three_convolutions() -> None:
    branch = FullyConnectedMask(channels=8, resolution=4, norm=None, init="MSRAFill")
    with pytest.raises(ValueError, match="num_convs is 2"):
        MaskHead(in_channels=4, channels=8, num_convs=2, num_masks=1, fully_connected=branch)
