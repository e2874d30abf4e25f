"""Blocks of the heads and their initialisation."""

import pytest
import torch
from torch import nn

from fpt.layers.conv import apply_conv_norm, conv_block, init_weight, linear_block
from fpt.layers.norm import FrozenBatchNorm2d, group_norm


@pytest.mark.parametrize(
    ("method", "std"),
    [("GaussianFill", 0.02), ("MSRAFill", (2 / (64 * 9)) ** 0.5), ("XavierFill", (1 / (64 * 9)) ** 0.5)],
)
def test_standard_deviation_of_each_initialisation(method: str, std: float) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 64, 3)
    init_weight(conv, method=method, std=0.02)
    assert conv.weight.std().item() == pytest.approx(std, rel=0.05)
    assert conv.bias is not None
    assert not conv.bias.any()


def test_unknown_initialisation_is_named() -> None:
    with pytest.raises(ValueError, match="'Zeros'; legal are GaussianFill, MSRAFill"):
        init_weight(nn.Linear(2, 2), method="Zeros")


@pytest.mark.parametrize("norm", [None, group_norm])
@pytest.mark.parametrize("count", [0, 2])
def test_blocks_keep_sizes_and_take_no_rois(norm, count: int) -> None:
    x = torch.randn(count, 6, 5, 5)
    out = conv_block(6, 8, norm=norm, dilation=2)(x)
    assert out.shape == (count, 8, 5, 5)
    flat = linear_block(8 * 25, 4, norm=norm)(out.flatten(1))
    assert flat.shape == (count, 4)
    assert (flat >= 0).all()


@pytest.mark.parametrize("kind", ["frozen", "group"])
def test_folding_changes_neither_values_nor_gradients(kind: str) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False).to(memory_format=torch.channels_last)
    norm: nn.Module = group_norm(6)
    if kind == "frozen":
        norm = FrozenBatchNorm2d(6)
        for tensor in norm.buffers():
            nn.init.uniform_(tensor, 0.5, 2)
    x = torch.randn(2, 4, 9, 9).to(memory_format=torch.channels_last)
    results = []
    for out in (apply_conv_norm(conv, norm, x), norm(conv(x))):
        (grad,) = torch.autograd.grad(out.square().sum(), conv.weight)
        results.append((out, grad))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        half = apply_conv_norm(conv, norm, x)
    torch.testing.assert_close(half.float(), results[0][0], atol=0.2, rtol=0.1)
