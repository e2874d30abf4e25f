"""The Feature Pyramid Transformer against the paper's formulas, and what a pyramid may look like."""

from __future__ import annotations

import re
from collections import OrderedDict
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from fpt.modeling.neck.area import WHOLE
from fpt.modeling.neck.conv_norm import Pending
from fpt.modeling.neck.fpt import FeaturePyramidTransformer
from fpt.modeling.neck.fusion import Parts
from fpt.modeling.neck.pyramid_keys import key_tokens, pooled_size
from fpt.modeling.neck.query_grid import QueryGrid, query_grid

group_norm = partial(nn.GroupNorm, 4)


def pyramid(height, width, *, levels=3, channels=8, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    maps = OrderedDict()
    for i in range(levels):
        h, w = -(-height // 2**i), -(-width // 2**i)
        maps[f"p{i + 2}"] = torch.randn(batch, channels, h, w, generator=generator)
    return maps


def build(**settings):
    torch.manual_seed(0)
    defaults = {"in_channels": 8, "num_levels": 3, "key_channels": 8, "norm": group_norm, "dropblock_keep_prob": 1.0}
    paper = {"start": "paper", "fusion": "concat", "query_strides": (1,) * settings.get("num_levels", 3)}
    return FeaturePyramidTransformer(**(defaults | paper | {"shares_downsampling": False} | settings))


def trained(neck):
    """The fusions as if they had learned something."""
    generator = torch.Generator().manual_seed(1)
    for p in neck.fusions.parameters():
        p.data += 0.2 * torch.randn(p.shape, generator=generator)
    return neck


def attend(q, k, v, mixture, *, euclidean):
    """Section 2 of the paper's mixture of softmaxes for one image, dense."""
    parts = mixture.shape[0]
    pi = torch.softmax(mixture @ k.mean(0), 0)
    weights = 0
    for n, (qn, kn) in enumerate(zip(q.chunk(parts, 1), k.chunk(parts, 1), strict=True)):
        logits = -(qn[:, None] - kn[None]).square().sum(-1) if euclidean else qn @ kn.T
        weights = weights + pi[n] * torch.softmax(logits * (q.shape[1] / parts) ** -0.5, 1)
    return weights @ v


def reference(neck, maps):
    """Section 3 of the paper, written out for one image without padding or norm, in float64."""
    x = [m.double() for m in maps.values()]
    outputs = []
    for level in range(len(x)):
        parts = [x[level]]
        sources = [(level, neck.selfs[str(level)], False)]
        sources += [(c, neck.groundings[f"{level}_from_{c}"], True) for c in range(level + 1, len(x))]
        for source, transformer, euclidean in sources:
            q = transformer.query(x[level][0].flatten(1).T)
            tokens = x[source][0].flatten(1).T
            out = attend(
                q, transformer.key(tokens), transformer.value(tokens), transformer.mixture, euclidean=euclidean
            )
            parts.append(out.T.reshape(x[level].shape))
        for fine in range(level):
            rt = neck.renderings[f"{level}_from_{fine}"]
            weighted = x[level] * x[fine].mean((2, 3), keepdim=True)
            down = x[fine]
            for step in rt.downsamples:
                down = step.conv(down)
            parts.append(rt.refine.conv(rt.attended.conv(weighted) + down))
        outputs.append(neck.fusions[level].conv(torch.cat(parts, 1)))
    return outputs


@pytest.mark.parametrize("size", [(16, 24), (13, 9)])
def test_equals_the_papers_formulas(size):
    neck = build(norm=None, max_keys=0)
    maps = pyramid(*size, batch=1)
    out = neck(maps)
    expected = reference(neck.double(), maps)
    for y, reference_y, x in zip(out.values(), expected, maps.values(), strict=True):
        assert y.shape == x.shape
        assert (y - reference_y).abs().max() <= 1e-4 * reference_y.abs().max()


@pytest.mark.parametrize("interactions", [(), ("self",), ("grounding",), ("rendering",), ("self", "rendering")])
def test_subsets_and_gradients_reach_every_parameter(interactions):
    neck = build(interactions=interactions)
    out = neck(pyramid(16, 20))
    sum((y * torch.randn_like(y)).sum() for y in out.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in neck.parameters())
    assert bool(neck.selfs) == ("self" in interactions)


@pytest.mark.parametrize("fusion", ["concat", "bottleneck", "coarse", "separable"])
@pytest.mark.parametrize("norm", [None, group_norm])
def test_starts_as_the_identity_and_learns_from_there(norm, fusion):
    neck = build(start="identity", fusion=fusion, norm=norm, dropblock_keep_prob=0.9)
    maps = pyramid(16, 20)
    out = neck(maps)
    assert all(torch.equal(y, x) for y, x in zip(out.values(), maps.values(), strict=True))
    sum((y * torch.randn_like(y)).sum() for y in out.values()).backward()
    first = [p.grad for name, p in neck.fusions.named_parameters() if not re.search("refine|depthwise", name)]
    assert len(first) == 3
    assert all((grad != 0).all() for grad in first)
    neck.zero_grad()
    sum((y * torch.randn_like(y)).sum() for y in trained(neck)(maps).values()).backward()
    assert [name for name, p in neck.named_parameters() if p.grad is None or p.grad.abs().sum() == 0] == []


@pytest.mark.parametrize("fusion", ["concat", "bottleneck"])
def test_the_identity_adds_what_the_paper_puts_in_the_place_of_a_map(fusion):
    neck, published = trained(build(start="identity", fusion=fusion)), build(start="paper", fusion=fusion)
    for level in published.fusions:
        layer = level if fusion == "concat" else level.refine
        layer.norm = nn.Identity()
    missing, unexpected = published.load_state_dict(neck.state_dict(), strict=False)
    assert (missing, unexpected) == ([], [])
    maps = pyramid(13, 20)
    for x, y, replaced in zip(maps.values(), neck(maps).values(), published(maps).values(), strict=True):
        assert torch.allclose(y, x + replaced, atol=1e-5)


def test_a_bottleneck_is_a_concatenation_whose_3x3_has_a_low_rank():
    neck, published = build(fusion="bottleneck", norm=None), build(norm=None)
    published.load_state_dict(neck.state_dict(), strict=False)
    for small, whole in zip(neck.fusions, published.fusions, strict=True):
        whole.conv.weight.data = torch.einsum(
            "oihw,ic->ochw", small.refine.conv.weight, small.reduction.weight[..., 0, 0]
        )
        whole.conv.bias.data = small.refine.conv.bias.data
    maps = pyramid(13, 20)
    for y, expected in zip(neck(maps).values(), published(maps).values(), strict=True):
        assert torch.allclose(y, expected, atol=1e-4)


@pytest.mark.parametrize("fusion", ["concat", "bottleneck"])
def test_queries_of_squares_are_those_of_their_mean_brought_back(fusion):
    neck = build(query_strides=(2, 1, 1), interactions=("self", "grounding"), fusion=fusion, max_keys=0)
    maps = pyramid(13, 20)
    fine = maps["p2"]
    means = F.avg_pool2d(F.pad(fine, (0, 0, 0, 1)), 2)
    means[..., -1, :] *= 2  # its squares have one row
    askers = [(neck.selfs["0"], "p2"), (neck.groundings["0_from_1"], "p3"), (neck.groundings["0_from_2"], "p4")]
    attended = [module(means, key_tokens(maps[name], None, 0), WHOLE).finish() for module, name in askers]
    back = [F.interpolate(x, size=(14, 20), mode="bilinear")[:, :, :13] for x in attended]
    parts = Parts(fine, means, [Pending(x, nn.Identity(), WHOLE) for x in back], [])
    expected = neck.fusions[0](parts, QueryGrid(1, WHOLE, WHOLE)).finish()
    assert torch.allclose(neck(maps)["p2"], expected, atol=1e-5)


def test_a_coarse_fusion_is_a_bottleneck_where_each_cell_asks():
    coarse = trained(build(fusion="coarse", start="identity"))
    bottleneck = build(fusion="bottleneck", start="identity")
    bottleneck.load_state_dict({name.replace("mixing", "reduction"): x for name, x in coarse.state_dict().items()})
    maps = pyramid(13, 20)
    for y, expected in zip(coarse(maps).values(), bottleneck(maps).values(), strict=True):
        assert torch.allclose(y, expected, atol=1e-5)


def test_a_separable_fusion_is_a_coarse_one_whose_3x3_mixes_no_channels():
    separable = trained(build(fusion="separable", start="identity", query_strides=(2, 1, 1)))
    coarse = build(fusion="coarse", start="identity", query_strides=(2, 1, 1))
    coarse.load_state_dict(separable.state_dict(), strict=False)
    for one, other in zip(separable.fusions, coarse.fusions, strict=True):
        other.refine.conv.weight.data = torch.eye(8)[..., None, None] * one.depthwise.conv.weight.data
    maps = pyramid(13, 20)
    for y, expected in zip(separable(maps).values(), coarse(maps).values(), strict=True):
        assert torch.allclose(y, expected, atol=1e-5)


def test_a_coarse_fusion_adds_what_is_made_on_the_grid_of_the_queries():
    neck = trained(build(fusion="coarse", start="identity", query_strides=(1, 2, 1)))
    maps = pyramid(16, 24)
    x, grid = maps["p3"], query_grid(maps["p3"], WHOLE, 2)
    means = F.avg_pool2d(x, 2)
    keys = [key_tokens(maps[name], None, 0) for name in ("p3", "p4")]
    rendered = neck.renderings["1_from_0"](x, maps["p2"], maps["p2"].mean((2, 3), keepdim=True), [WHOLE]).finish()
    parts = [
        means,
        neck.selfs["1"](means, keys[0], WHOLE).finish(),
        neck.groundings["1_from_2"](means, keys[1], WHOLE).finish(),
        F.avg_pool2d(rendered, 2),
    ]
    fusion = neck.fusions[1]
    change = fusion.refine(fusion.mixing(torch.cat(parts, dim=1)), WHOLE)
    expected = x + F.interpolate(change, scale_factor=2, mode="bilinear")
    assert grid.bring_back(change, x.shape[-2:]).shape == x.shape
    assert torch.allclose(neck(maps)["p3"], expected, atol=1e-5)


@pytest.mark.parametrize("fusion", ["coarse", "separable"])
def test_a_fusion_on_the_grid_keeps_the_levels_own_map(fusion):
    with pytest.raises(ValueError, match=f"fusion='{fusion}' is only for start='identity'"):
        build(fusion=fusion, start="paper")


@pytest.mark.parametrize("strides", [(2, 2), (1, 2), (1, 1)])
def test_shared_downsamplings_are_own_ones_with_the_same_weights(strides):
    shared, own = (build(shares_downsampling=x, level_strides=strides) for x in (True, False))
    assert len(shared.downsampling.stages) == {(2, 2): 3, (1, 2): 3, (1, 1): 2}[strides]
    missing, unexpected = own.load_state_dict(shared.state_dict(), strict=False)
    assert all(".downsamples." in name for name in missing)
    assert all(name.startswith("downsampling.") for name in unexpected)
    for coarse, fine in ((1, 0), (2, 0), (2, 1)):
        steps = strides[fine:coarse].count(2)
        chain = [shared.downsampling.stages[f"{fine}_by_{2**step}"] for step in range(min(1, steps), steps + 1)]
        for mine, theirs in zip(own.renderings[f"{coarse}_from_{fine}"].downsamples, chain, strict=True):
            mine.load_state_dict(theirs.state_dict())
    sizes = [(16, 24)]
    for stride in strides:
        sizes.append((sizes[-1][0] // stride, sizes[-1][1] // stride))
    maps = OrderedDict((str(i), torch.randn(2, 8, *size)) for i, size in enumerate(sizes))
    for y, expected in zip(shared(maps).values(), own(maps).values(), strict=True):
        assert torch.allclose(y, expected, atol=1e-5)


def test_squares_of_one_value_ask_what_their_cells_ask():
    maps = OrderedDict((name, torch.ones_like(x)) for name, x in pyramid(12, 20).items())
    coarse, exact = build(query_strides=(4, 2, 1), norm=None), build(norm=None)
    for y, expected in zip(coarse(maps).values(), exact(maps).values(), strict=True):
        assert torch.allclose(y, expected, atol=1e-5)


def test_unknown_fusions_and_query_strides_are_named():
    with pytest.raises(ValueError, match="fusion is 'sum', must be one of"):
        build(fusion="sum")
    with pytest.raises(ValueError, match=r"query_strides is \(2, 0, 1\), must be 3 positive numbers"):
        build(query_strides=(2, 0, 1))
    assert build(query_strides=None).query_strides == (2, 1, 1)
    assert build(query_strides=None, local_window=3).query_strides == (1, 1, 1)
    assert build(query_strides=None, level_strides=(1, 2)).query_strides == (1, 1, 1)
    with pytest.raises(ValueError, match=r"query_strides is \(2, 1, 1\), but a local window of 3 cells asks for each"):
        build(query_strides=(2, 1, 1), local_window=3)


def test_other_channels_cannot_start_as_the_identity():
    with pytest.raises(ValueError, match="from 8 to 16 channels cannot start as the identity"):
        build(start="identity", out_channels=16)
    with pytest.raises(ValueError, match="start is 'zero', must be one of"):
        build(start="zero")


def test_all_parameters_of_the_whole_get_gradients():
    neck = build(dropblock_keep_prob=0.9)
    out = neck(pyramid(33, 47, batch=1))
    sum((y * torch.randn_like(y)).sum() for y in out.values()).backward()
    dead = [name for name, p in neck.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert dead == []


def test_local_grounding_and_levels_of_one_size():
    neck = build(local_window=3, level_strides=(1, 1))
    maps = OrderedDict((name, torch.randn(1, 8, 9, 7)) for name in ("a", "b", "c"))
    out = neck(maps)
    assert [tuple(y.shape) for y in out.values()] == [(1, 8, 9, 7)] * 3
    uneven = build(local_window=5)(pyramid(13, 10))
    assert tuple(uneven["p2"].shape) == (2, 8, 13, 10)
    with pytest.raises(ValueError, match="needs a coarse map of 7 x 7 .* for a fine one of 13 x 13, got 6 x 6"):
        build(local_window=5)(OrderedDict((str(n), torch.randn(1, 8, n, n)) for n in (13, 6, 3)))


def test_averages_before_and_after_the_linear_maps_are_the_same():
    neck, x = build(), pyramid(16, 24)["p2"]
    key = neck.selfs["0"].key
    before = key(key_tokens(x, None, 24).tokens)
    after = key_tokens(key(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), None, 24).tokens
    assert before.shape[1] == 24
    assert torch.allclose(before, after, atol=1e-5)


def test_a_local_window_is_centred_on_the_cell_of_its_level_at_any_size():
    """With a window of one cell, position (y, x) gets the value of cell (y // 4, x // 4) of the level two above."""
    neck = build(local_window=1, interactions=("grounding",), norm=None)
    grounding = neck.groundings["0_from_2"]
    fine, coarse = torch.randn(1, 8, 9, 6), torch.randn(1, 8, 3, 2)
    out = grounding(fine, coarse, WHOLE, WHOLE).finish()
    values = grounding.transform.value(coarse.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    rows, columns = torch.arange(9) // 4, torch.arange(6) // 4
    assert torch.allclose(out, values[:, :, rows][..., columns], atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_keys": 0},
        {"max_keys": 12},
        {"local_window": 3},
        {"start": "identity"},
        {"query_strides": (2, 2, 1)},
        {"query_strides": (4, 2, 1), "fusion": "bottleneck"},
        {"shares_downsampling": True},
        {"query_strides": (2, 2, 1), "fusion": "coarse", "start": "identity", "shares_downsampling": True},
    ],
)
def test_an_image_in_a_padded_batch_gives_what_it_gives_alone(settings):
    neck = trained(build(**settings)).eval()
    small, large = pyramid(8, 12, batch=1, seed=1), pyramid(16, 24, batch=1, seed=2)
    batch = OrderedDict()
    for name in small:
        height, width = large[name].shape[-2:]
        padding = (0, width - small[name].shape[-1], 0, height - small[name].shape[-2])
        batch[name] = torch.cat([F.pad(small[name], padding, value=7.0), large[name]])
    together = neck(batch, sizes_hw=[(32, 48), (64, 96)], padded_hw=(64, 96))
    alone, other = neck(small), neck(large)
    for name, y in alone.items():
        h, w = y.shape[-2:]
        assert torch.allclose(together[name][:1, :, :h, :w], y, rtol=1e-4, atol=1e-5)
        assert together[name][:1, :, h:].abs().sum() == 0
        assert torch.allclose(together[name][1:], other[name], rtol=1e-4, atol=1e-5)


def test_pooled_keys_keep_the_aspect_ratio_and_the_limit():
    assert pooled_size(200, 272, 0) == (200, 272)
    assert pooled_size(10, 12, 400) == (10, 12)
    for height, width, limit in [
        (200, 272, 1024),
        (60, 80, 400),
        (1, 900, 100),
        (900, 1, 100),
        (5, 5, 1),
        (7, 300, 64),
    ]:
        rows, columns = pooled_size(height, width, limit)
        assert 1 <= rows <= height
        assert 1 <= columns <= width
        assert 0.5 * limit <= rows * columns <= limit
    rows, columns = pooled_size(200, 272, 1024)
    assert columns / rows == pytest.approx(1.36, abs=0.1)


def test_tokens_of_a_padded_map_are_those_of_the_image_alone():
    x = torch.randn(2, 3, 8, 8)
    keys = key_tokens(x, [(4, 6), (8, 8)], max_keys=16)
    assert keys.padding is not None
    first = keys.tokens[0, ~keys.padding[0]]
    assert torch.allclose(first, key_tokens(x[:1, :, :4, :6], None, 16).tokens[0])
    assert keys.padding[1].sum() == 0


def test_channels_last_stays_and_half_precision_runs():
    neck = build().to(memory_format=torch.channels_last)
    maps = OrderedDict((k, v.to(memory_format=torch.channels_last)) for k, v in pyramid(16, 16).items())
    assert all(y.is_contiguous(memory_format=torch.channels_last) for y in neck(maps).values())
    full = neck.eval()(maps)
    with torch.autocast("cpu", torch.bfloat16):
        half = neck(maps)
    for name, y in full.items():
        assert (half[name].float() - y).abs().mean() < 0.05 * y.abs().mean()


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="unknown interactions \\['render'\\]"):
        build(interactions=("render",))
    with pytest.raises(ValueError, match="num_levels is 1"):
        build(num_levels=1)
    with pytest.raises(ValueError, match="level_strides is \\(4, 2\\)"):
        build(level_strides=(4, 2))
    with pytest.raises(ValueError, match="2 levels \\(p2, p3\\), this neck was built for 3"):
        build()(pyramid(8, 8, levels=2))
    with pytest.raises(ValueError, match=r"level 'p2' is \(2, 4, 8, 8\), must be \[2, 8, height, width\]"):
        build()(pyramid(8, 8, channels=4))
    with pytest.raises(ValueError, match="unknown interactions 'self'"):
        build(interactions="self")
    with pytest.raises(TypeError, match="norm is 'GN', must be None or a callable"):
        build(norm="GN")
    with pytest.raises(ValueError, match="9 key channels cannot be split into 2 mixtures"):
        build(key_channels=9)
    with pytest.raises(ValueError, match="do not describe a batch of 2"):
        build()(pyramid(8, 8), sizes_hw=[(4, 4)], padded_hw=(8, 8))


def test_sizes_that_are_no_pyramid_are_named():
    maps = OrderedDict((name, torch.randn(1, 8, size, size)) for name, size in (("a", 16), ("b", 4), ("c", 2)))
    with pytest.raises(
        ValueError, match="level 'b' is 4 x 4, but 'a' below it is 16 x 16: must be about 2 times smaller"
    ):
        build()(maps)
    with pytest.raises(ValueError, match="finest level first"):
        build()(OrderedDict(reversed(pyramid(16, 16).items())))
    with pytest.raises(ValueError, match="about 1 times smaller"):
        build(level_strides=(1, 1))(pyramid(16, 16))


@pytest.mark.parametrize("sizes", [(33, 17, 9), (33, 16, 8), (33, 16, 7), (2, 1, 1)])
def test_halves_may_be_rounded_up_or_down_or_lose_a_border(sizes):
    maps = OrderedDict((str(size) + str(i), torch.randn(1, 8, size, size + 1)) for i, size in enumerate(sizes))
    assert [y.shape for y in build()(maps).values()] == [x.shape for x in maps.values()]


@pytest.mark.parametrize("channels", [1, 5, 6, 7])
def test_any_channels(channels):
    neck = build(in_channels=channels, key_channels=None, norm=None)
    out = neck(pyramid(8, 8, channels=channels))
    assert out["p2"].shape == (2, channels, 8, 8)
    assert neck.selfs["0"].key.out_features % 4 == 0


@pytest.mark.parametrize("levels", [2, 5, 6])
@pytest.mark.parametrize("size", [(33, 47), (101, 37)])
def test_any_number_of_levels_and_batch_of_one_in_training(levels, size):
    neck = build(num_levels=levels)
    maps = pyramid(*size, levels=levels, batch=1)
    out = neck(maps)
    assert [y.shape for y in out.values()] == [x.shape for x in maps.values()]
    sum(y.sum() for y in out.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in neck.parameters())


@pytest.mark.parametrize("norm", [None, group_norm, nn.BatchNorm2d])
def test_one_image_of_one_cell_trains_or_says_why_not(norm):
    neck = build(norm=norm, num_levels=4)
    if norm is nn.BatchNorm2d:
        with pytest.raises(ValueError, match="BatchNorm2d in training got one image of 1 x 1 cells.*GroupNorm"):
            neck(pyramid(8, 8, levels=4, batch=1))
        neck.eval()
    assert neck(pyramid(8, 8, levels=4, batch=1))["p5"].shape == (1, 8, 1, 1)


def test_runs_on_the_meta_device():
    neck = FeaturePyramidTransformer(in_channels=64, num_levels=3).to("meta")
    maps = OrderedDict((f"p{i}", torch.empty(1, 64, 32 >> i, 40 >> i, device="meta")) for i in range(3))
    out = neck(maps)
    assert [x.shape for x in out.values()] == [x.shape for x in maps.values()]


def test_a_strict_round_trip_of_the_weights():
    neck, other = build().eval(), build(norm=group_norm).eval()
    for p in other.parameters():
        nn.init.uniform_(p, -0.3, 0.3)
    neck.load_state_dict(other.state_dict(), strict=True)
    maps = pyramid(9, 7)
    for y, expected in zip(neck(maps).values(), other(maps).values(), strict=True):
        assert torch.equal(y, expected)
