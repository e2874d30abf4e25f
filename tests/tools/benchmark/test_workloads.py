"""The measured workloads compute what they say."""

from __future__ import annotations

import pytest
import torch

from dense import dense_attention_in_necks, dense_mixture_attention
from fpt.layers.attention import mixture_attention
from fpt.modeling.neck import self_transformer
from measure import measure
from workloads import WORKLOADS, Neck, backbone_maps

CPU = torch.device("cpu")


@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
@pytest.mark.parametrize("is_padded", [False, True])
def test_both_ways_of_attention_agree(similarity, is_padded):
    generator = torch.Generator().manual_seed(0)
    q, k, v, w = (torch.randn(s, generator=generator) for s in [(2, 30, 16), (2, 20, 16), (2, 20, 12), (4, 16)])
    padding = torch.arange(20) >= torch.tensor([[15], [20]]) if is_padded else None
    ours, dense = (
        attend(q, k, v, w, similarity=similarity, key_padding_mask=padding)
        for attend in (mixture_attention, dense_mixture_attention)
    )
    assert torch.allclose(ours, dense, atol=1e-5)


def test_dense_attention_replaces_that_of_the_neck_for_a_while():
    torch.manual_seed(0)
    neck = Neck(max_keys=0).eval()
    maps = backbone_maps((64, 96), CPU)
    with torch.no_grad():
        ours = neck(maps)
        with dense_attention_in_necks():
            assert self_transformer.mixture_attention is dense_mixture_attention
            dense = neck(maps)
    assert self_transformer.mixture_attention is mixture_attention
    for name in ours:
        assert torch.allclose(ours[name], dense[name], atol=1e-4)


@pytest.mark.parametrize(("workload", "case"), [(w, c) for w, (_, cases) in WORKLOADS.items() for c in cases])
@pytest.mark.parametrize("phase", ["forward", "training"])
def test_every_case_runs(workload, case, phase):
    cost = measure(WORKLOADS[workload][0](case, (33, 47), phase, CPU), CPU)
    assert cost.seconds is not None
    assert cost.seconds > 0


def test_peak_is_what_the_function_takes():
    small, large = (measure(lambda n=n: torch.ones(n, 2**20).sum(), CPU).peak_bytes / 2**20 for n in (8, 64))
    assert 200 < large - small < 260


def test_out_of_memory_is_a_result_and_other_errors_are_not():
    def fail(error):
        raise error

    assert measure(lambda: fail(RuntimeError("can't allocate memory")), CPU).seconds is None
    with pytest.raises(RuntimeError, match="shapes"):
        measure(lambda: fail(RuntimeError("shapes do not fit")), CPU)
