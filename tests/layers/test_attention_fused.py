"""Attention on torch's fused kernels: the CPU has one, with the same conditions on the operands as a GPU's."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from fpt.layers.attention import mixture_attention
from fpt.layers.attention_chunks import MixtureSettings
from fpt.layers.attention_fused import fused_mixture_attention, is_fusable


def fused(q, k, v, w, *, similarity, padding=None):
    parts = w.shape[0]
    settings = MixtureSettings(is_euclidean=similarity == "euclidean", scale=(q.shape[-1] / parts) ** -0.5)
    keep = torch.ones(k.shape[:2]) if padding is None else (~padding).float()
    mean = (k.float() * keep[..., None]).sum(1) / keep.sum(1, keepdim=True)
    assert is_fusable(q, v, parts, settings)
    return fused_mixture_attention(q, k, v, torch.softmax(mean @ w.T, -1), padding, settings)


@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
@pytest.mark.parametrize("is_padded", [False, True])
@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)], ids=str
)
@pytest.mark.parametrize(("dk", "dv", "parts"), [(16, 12, 2), (64, 40, 4), (8, 64, 1)])
def test_equals_the_dense_formula(operands, dense, similarity, is_padded, dtype, bound, dk, dv, parts):
    q, k, v, w = operands(50, 70, dk, dv, parts)
    q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    padding = torch.arange(70) >= torch.tensor([[50], [70]]) if is_padded else None
    expected = dense(q, k, v, w, similarity=similarity, padding=padding)
    out = fused(q, k, v, w, similarity=similarity, padding=padding)
    assert out.dtype == dtype
    assert (out.double() - expected).abs().max() <= bound * expected.abs().max()


@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
def test_gradients_equal_the_dense_formula(operands, dense, similarity):
    args = [x.requires_grad_() for x in operands(60, 40, 16, 12, 4)]
    direction = torch.randn(2, 60, 12, generator=torch.Generator().manual_seed(1))
    grads = torch.autograd.grad((fused(*args, similarity=similarity) * direction).sum(), args)
    expected = torch.autograd.grad((dense(*args, similarity=similarity) * direction).sum(), args)
    for grad, reference in zip(grads, expected, strict=True):
        assert (grad - reference).abs().max() <= 1e-4 * reference.abs().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_far_keys_overflow_nowhere_in_half_precision(operands, dense, dtype):
    q, k, v, w = operands(30, 40, 32, 8, 4, size=50.0)
    q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    expected = dense(q, k, v, w, similarity="euclidean")
    out = fused(q, k, v, w, similarity="euclidean")
    # logits of 1e5 in float32 sums: near ties may fall to the other side, but few
    assert out.isfinite().all()
    assert ((out.double() - expected).abs() > 0.05).double().mean() < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_only_the_fused_kernel_runs(operands, dtype):
    q, k, v, w = operands(50, 40, 16, 12, 2)
    args = [x.to(dtype).requires_grad_() for x in (q, k, v)]
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        fused(*args, w, similarity="euclidean").float().sum().backward()
    names = {event.name for event in trace.events()}
    assert "aten::_scaled_dot_product_flash_attention_for_cpu" in names
    assert "aten::_scaled_dot_product_flash_attention_for_cpu_backward" in names
    assert not [name for name in names if "attention_math" in name]


def test_operands_fit_the_kernels_of_a_gpu(operands, monkeypatch):
    seen = []
    original = torch.nn.functional.scaled_dot_product_attention

    def note(query, key, value, **options):
        seen.append((query, key, value, options))
        return original(query, key, value, **options)

    monkeypatch.setattr("torch.nn.functional.scaled_dot_product_attention", note)
    q, k, v, w = operands(50, 40, 60, 30, 2)
    padding = torch.arange(40) >= torch.tensor([[30], [40]])
    fused(q, k, v, w, similarity="euclidean", padding=padding)
    assert len(seen) == 2
    for query, key, value, options in seen:
        sizes = {x.shape[-1] for x in (query, key, value)}
        assert len(sizes) == 1
        assert sizes.pop() % 8 == 0
        assert all(x.stride(-1) == 1 for x in (query, key, value))
        assert value.is_contiguous()
        assert set(options) == {"scale"}


def test_what_no_kernel_takes_goes_to_the_chunks(operands):
    q, k, v, w = operands(5, 4, 16, 12, 2)
    settings = MixtureSettings(is_euclidean=False, scale=1.0)
    assert is_fusable(q, v, 2, settings)
    assert not is_fusable(q.double(), v.double(), 2, settings)
    assert not is_fusable(q, torch.zeros(2, 4, 300), 2, settings)


def test_the_meta_device_takes_the_fused_way(operands):
    assert mixture_attention(*(x.to("meta") for x in operands(50, 40, 16, 12, 2))).shape == (2, 50, 12)


@pytest.mark.skipif(
    tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 8),
    reason="older versions cannot trace a look at autocast; docs/neck.md says so",
)
def test_a_traced_graph_takes_the_fused_way(operands):
    q, k, v, w = operands(50, 40, 16, 12, 2)
    program = torch.export.export(Attention(), (q, k, v, w))
    targets = [str(node.target) for node in program.graph.nodes]
    assert sum("scaled_dot_product" in name for name in targets) == 2
    expected = mixture_attention(q, k, v, w, similarity="euclidean")
    assert torch.allclose(program.module()(q, k, v, w), expected, atol=1e-5)


class Attention(nn.Module):
    def forward(self, q, k, v, w):
        return mixture_attention(q, k, v, w, similarity="euclidean")
