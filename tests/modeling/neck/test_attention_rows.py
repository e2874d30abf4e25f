"""A row of attention times the values is what the transformer gives at that position."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from fpt.modeling.neck.area import WHOLE
from fpt.modeling.neck.attention_rows import attention_rows, rendering_weights
from fpt.modeling.neck.fpt import FeaturePyramidTransformer
from fpt.modeling.neck.pyramid_keys import key_tokens
from fpt.modeling.neck.query_grid import query_grid

CHANNELS = 16


def make(**options):
    torch.manual_seed(0)
    transformer = FeaturePyramidTransformer(in_channels=CHANNELS, num_levels=3, dropblock_keep_prob=1.0, **options)
    generator = torch.Generator().manual_seed(1)
    sizes = [(9, 13), (5, 7), (3, 4)]
    maps = [torch.randn(1, CHANNELS, h, w, generator=generator) for h, w in sizes]
    return transformer.eval(), OrderedDict(zip(("fine", "middle", "coarse"), maps, strict=True))


@pytest.mark.parametrize(("max_keys", "side"), [(0, 1), (20, 1), (20, 2)])
def test_rows_reproduce_self_and_grounding_transformers(max_keys, side):
    transformer, features = make(max_keys=max_keys, query_strides=(side, 1, 1))
    found = attention_rows(transformer, features, level="fine", position=(4, 11))
    assert [(row.kind, row.level) for row in found] == [("ST", "fine"), ("GT", "middle"), ("GT", "coarse")]
    modules = [transformer.self_transformer(0), *(transformer.grounding_transformer(0, i) for i in (1, 2))]
    for row, module in zip(found, modules, strict=True):
        keys = key_tokens(features[row.level], None, max_keys)
        with torch.no_grad():
            asking = query_grid(features["fine"], WHOLE, side).means(features["fine"])
            expected = module(asking, keys, WHOLE).finish()[0, :, 4 // side, 11 // side]
            values = module.value(keys.tokens[0])
        assert isinstance(module.norm, nn.Identity)
        assert row.weights.numel() == len(values)
        assert torch.allclose(row.weights.flatten() @ values, expected, atol=1e-5)
        assert row.parts.sum(dim=(1, 2)).tolist() == pytest.approx([1.0] * len(row.parts), abs=1e-5)
        assert row.shares.sum().item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("position", [(4, 6), (0, 12), (8, 0)])
def test_rows_reproduce_local_grounding_transformers(position):
    transformer, features = make(local_window=3, interactions=("grounding",))
    for row, coarse in zip(attention_rows(transformer, features, level="fine", position=position), (1, 2), strict=True):
        module = transformer.grounding_transformer(0, coarse)
        with torch.no_grad():
            expected = module(features["fine"], features[row.level], WHOLE, WHOLE).finish()[
                0, :, position[0], position[1]
            ]
            values = module.transform.value(features[row.level][0].permute(1, 2, 0))
        assert row.kind == "LGT"
        assert torch.allclose(torch.einsum("hw,hwc->c", row.weights, values), expected, atol=1e-5)


def test_rendering_weights_are_the_means_of_the_finer_levels():
    _, features = make()
    weights = rendering_weights(features, level="coarse")
    assert list(weights) == ["fine", "middle"]
    assert torch.allclose(weights["fine"], features["fine"].mean(dim=(0, 2, 3)))


def test_only_the_interactions_that_exist():
    transformer, features = make(interactions=("rendering",))
    assert attention_rows(transformer, features, level="middle", position=(0, 0)) == []


def test_wrong_input_is_named():
    transformer, features = make()
    with pytest.raises(ValueError, match="level 'p9'"):
        attention_rows(transformer, features, level="p9", position=(0, 0))
    with pytest.raises(ValueError, match=r"position \(9, 0\) is outside of level fine, 9 x 13"):
        attention_rows(transformer, features, level="fine", position=(9, 0))
    two = OrderedDict((name, torch.cat([x, x])) for name, x in features.items())
    with pytest.raises(ValueError, match="of one image"):
        attention_rows(transformer, two, level="fine", position=(0, 0))
