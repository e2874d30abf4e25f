"""The paper's formula of attention, word for word, with a matrix of all queries by all keys: what others must equal."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def squared_distance(q: Tensor, k: Tensor) -> Tensor:
    """[Nq, d], [Nk, d] -> [Nq, Nk], from the differences of all pairs."""
    return (q[:, None] - k[None]).square().sum(-1)


def dense_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mixture: Tensor,
    *,
    similarity: str,
    scale: float | None = None,
    padding: Tensor | None = None,
    dtype: torch.dtype = torch.float64,
    squared_distance: Callable[[Tensor, Tensor], Tensor] = squared_distance,
) -> Tensor:
    """[B, Nq, Dk], [B, Nk, Dk], [B, Nk, Dv], [M, Dk] and padding bool [B, Nk] -> [B, Nq, Dv], all in `dtype`."""
    q, k, v, mixture = (x.to(dtype) for x in (q, k, v, mixture))
    parts = mixture.shape[0]
    scale = (q.shape[-1] / parts) ** -0.5 if scale is None else scale
    outputs = []
    for b in range(q.shape[0]):
        keep = slice(None) if padding is None else ~padding[b]
        kb, vb = k[b, keep], v[b, keep]
        pi = torch.softmax(mixture @ kb.mean(0), dim=0)
        weights = 0
        for n, (qn, kn) in enumerate(zip(q[b].chunk(parts, -1), kb.chunk(parts, -1), strict=True)):
            logits = qn @ kn.T if similarity == "dot" else -squared_distance(qn, kn)
            weights = weights + pi[n] * torch.softmax(scale * logits, dim=-1)
        outputs.append(weights @ vb)
    return torch.stack(outputs)
