"""An independent formula of attention, in float64, and operands for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor


@pytest.fixture
def dense() -> Callable[..., Tensor]:
    """See `dense_attention`."""
    return dense_attention


@pytest.fixture
def operands() -> Callable[..., tuple[Tensor, ...]]:
    """See `make_operands`."""
    return make_operands


def dense_attention(q, k, v, mixture, *, similarity, scale=None, padding=None, dtype=torch.float64) -> Tensor:
    """The paper's formula, word for word, with a matrix of all queries by all keys."""
    q, k, v, mixture = (x.to(dtype) for x in (q, k, v, mixture))
    parts = mixture.shape[0]
    scale = (q.shape[-1] / parts) ** -0.5 if scale is None else scale
    out = torch.zeros(q.shape[0], q.shape[1], v.shape[2], dtype=dtype)
    for b in range(q.shape[0]):
        keep = torch.ones(k.shape[1], dtype=torch.bool) if padding is None else ~padding[b]
        kb, vb = k[b, keep], v[b, keep]
        pi = torch.softmax(mixture @ kb.mean(0), dim=0)
        weights = 0
        for n, (qn, kn) in enumerate(zip(q[b].chunk(parts, -1), kb.chunk(parts, -1), strict=True)):
            logits = qn @ kn.T if similarity == "dot" else -(qn[:, None] - kn[None]).square().sum(-1)
            weights = weights + pi[n] * torch.softmax(scale * logits, dim=-1)
        out[b] = weights @ vb
    return out


def make_operands(nq, nk, dk, dv, parts, *, batch=2, size=1.0, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, nq, dk), (batch, nk, dk), (batch, nk, dv), (parts, dk)]
    q, k, v, w = (torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes)
    return q * size, k * size, v, w
