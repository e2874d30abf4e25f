"""Pyramids of one resolution: sizes, parameters, and the transformer on them against the paper's formulas."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpt.modeling.neck.fpt import FeaturePyramidTransformer
from fpt.modeling.neck.uniform import AtrousPyramid, GlobalConvolution, PoolingPyramid, UnscathedPyramid

PYRAMIDS = {
    "UFP": lambda: UnscathedPyramid(in_channels=32, out_channels=8, stride=8),
    "PPM": lambda: PoolingPyramid(in_channels=32, stride=8),
    "ASPP": lambda: AtrousPyramid(in_channels=32, out_channels=8, stride=8),
}


@pytest.mark.parametrize("name", PYRAMIDS)
@pytest.mark.parametrize("size", [(769, 769), (321, 257), (33, 65), (8, 8)])
def test_levels_have_the_size_of_the_last_map(name: str, size: tuple[int, int]) -> None:
    pyramid = PYRAMIDS[name]()
    h, w = (-(-side // 8) for side in size)
    features = OrderedDict(res4=torch.rand(1, 16, h, w), res5=torch.rand(1, 32, h, w))
    levels = pyramid(features)
    assert [level.shape for level in levels.values()] == [(1, 8, h, w)] * 4
    context = pyramid.context(features)
    assert [item.shape for item in context] == [(1, channels, h, w) for channels in pyramid.context_channels]
    assert pyramid.strides == (8,) * 4


def test_numbers_of_parameters() -> None:
    """Of a map of 2,048 channels: as the works that they come from, without normalisation."""
    sizes = {
        "UFP": UnscathedPyramid(in_channels=2048, out_channels=256, stride=8),
        "PPM": PoolingPyramid(in_channels=2048, stride=8),
        "ASPP": AtrousPyramid(in_channels=2048, out_channels=256, stride=8),
    }
    counts = {
        name: sum(parameter.numel() for key, parameter in pyramid.named_parameters() if not key.endswith("bias"))
        for name, pyramid in sizes.items()
    }
    assert counts == {
        "UFP": 2048 * 256 + 256**2 * (1 + 4 * (7 + 15 + 31)),
        "PPM": 4 * 2048 * 512,
        "ASPP": 2048 * 256 * (1 + 3 * 9 + 1),
    }
    assert counts == {"UFP": 14_483_456, "PPM": 4_194_304, "ASPP": 15_204_352}


def test_a_global_convolution_is_the_sum_of_two_separable_kernels() -> None:
    torch.manual_seed(0)
    conv = GlobalConvolution(channels=2, kernel=7).double()
    x = torch.rand(1, 2, 9, 12, dtype=torch.float64)
    with torch.no_grad():
        for pair in (conv.columns_first, conv.rows_first):
            pair[0].bias.zero_()
        (a, b), (c, d) = conv.columns_first, conv.rows_first
        kernel = torch.einsum("omj,mni->onij", b.weight[:, :, 0], a.weight[..., 0])
        kernel = kernel + torch.einsum("omi,mnj->onij", d.weight[..., 0], c.weight[:, :, 0])
        expected = F.conv2d(x, kernel, b.bias + d.bias, padding=3)
    inside = (..., slice(3, -3), slice(3, -3))  # at the border the zeros come between the two convolutions
    torch.testing.assert_close(conv(x)[inside], expected[inside])


def test_padded_images_are_refused() -> None:
    features = OrderedDict(res5=torch.rand(2, 32, 4, 4))
    with pytest.raises(ValueError, match="one size"):
        PYRAMIDS["UFP"]()(features, sizes_hw=[(32, 32), (32, 20)], padded_hw=(32, 32))


def test_the_transformer_on_levels_of_one_size_equals_the_papers_formulas() -> None:
    torch.manual_seed(0)
    neck = FeaturePyramidTransformer(
        in_channels=8,
        num_levels=4,
        key_channels=8,
        local_window=5,
        max_keys=0,
        level_strides=(1, 1, 1),
        fusion="concat",
        start="paper",
        shares_downsampling=False,
        dropblock_keep_prob=1.0,
    )
    maps = OrderedDict((f"level{index}", torch.randn(1, 8, 9, 7)) for index in range(4))
    found = neck(maps)
    expected = _whole(neck.double(), [x.double() for x in maps.values()])
    for y, right in zip(found.values(), expected, strict=True):
        assert (y - right).abs().max() <= 1e-5 * right.abs().max()


def _whole(neck: nn.Module, x: list[Tensor]) -> list[Tensor]:
    """ST, LGT with a window of 5 from every later level and RT from every earlier one, fused, in float64."""
    outputs = []
    for level in range(4):
        parts = [x[level], _attend(neck.selfs[str(level)], x[level], x[level], window=0)]
        for coarse in range(level + 1, 4):
            transform = neck.groundings[f"{level}_from_{coarse}"].transform
            parts.append(_attend(transform, x[level], x[coarse], window=5))
        for fine in range(level):
            rendering = neck.renderings[f"{level}_from_{fine}"]
            (down,) = rendering.downsamples
            weighted = rendering.attended.conv(x[level] * x[fine].mean((2, 3), keepdim=True))
            parts.append(rendering.refine.conv(weighted + down.conv(x[fine])))
        outputs.append(neck.fusions[level].conv(torch.cat(parts, 1)))
    return outputs


def _attend(transform: nn.Module, fine: Tensor, coarse: Tensor, *, window: int) -> Tensor:
    """Mixture of softmaxes: over all cells with the dot product, or over a window with minus the squared distance."""
    (height, width), channels = fine.shape[-2:], fine.shape[1]
    query = transform.query(fine[0].flatten(1).T)
    tokens = coarse[0].flatten(1).T
    key, value = transform.key(tokens), transform.value(tokens)
    mixture = transform.mixture
    shares = torch.softmax(mixture @ key.mean(0), 0)
    margin = window // 2
    grid = [F.pad(item.T.reshape(1, -1, height, width), (margin,) * 4) for item in (key, value)]
    out = torch.zeros(height * width, channels, dtype=fine.dtype)
    for cell in range(height * width):
        y, x = divmod(cell, width)
        k, v = key, value
        if window:
            k, v = (item[0, :, y : y + window, x : x + window].flatten(1).T for item in grid)
        num_parts = len(mixture)
        weights = 0
        for part, (q_part, k_part) in enumerate(zip(query[cell].chunk(num_parts), k.chunk(num_parts, 1), strict=True)):
            logits = -(q_part - k_part).square().sum(1) if window else k_part @ q_part
            weights = weights + shares[part] * torch.softmax(logits * (key.shape[1] / num_parts) ** -0.5, 0)
        out[cell] = weights @ v
    return out.T.reshape(1, channels, height, width)
