"""The mixture of softmaxes as its formula reads, with every matrix in memory: what the product is measured against."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from fpt.layers.attention import Similarity
from fpt.modeling.neck import query_attention


def dense_mixture_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mixture: Tensor,
    *,
    similarity: Similarity = "dot",
    scale: float | None = None,
    key_padding_mask: Tensor | None = None,
) -> Tensor:
    """As `fpt.layers.attention.mixture_attention`, part by part, with matrices of all queries by all keys.

    The distance is |q|^2 - 2 q.k + |k|^2: differences of all pairs would need another 32 times the memory.
    """
    num_parts = mixture.shape[0]
    factor = scale if scale is not None else (query.shape[-1] / num_parts) ** -0.5
    kept = torch.ones(key.shape[:2], dtype=key.dtype, device=key.device)
    if key_padding_mask is not None:
        kept = (~key_padding_mask).to(key.dtype)
    mean_key = (key * kept[..., None]).sum(dim=1) / kept.sum(dim=1, keepdim=True)
    shares = torch.softmax(mean_key @ mixture.t(), dim=-1)
    weights = torch.zeros((), dtype=query.dtype, device=query.device)
    for n, (q, k) in enumerate(zip(query.chunk(num_parts, -1), key.chunk(num_parts, -1), strict=True)):
        logits = q @ k.mT
        if similarity == "euclidean":
            logits = 2 * logits - q.square().sum(-1, keepdim=True) - k.square().sum(-1)[:, None]
        logits = factor * logits
        if key_padding_mask is not None:
            logits = logits.masked_fill(key_padding_mask[:, None], float("-inf"))
        weights = weights + shares[:, n, None, None] * torch.softmax(logits, dim=-1)
    return weights @ value


@contextmanager
def dense_attention_in_necks() -> Iterator[None]:
    """Within it, self- and grounding transformers compute the dense formula."""
    original = query_attention.mixture_attention
    query_attention.mixture_attention = dense_mixture_attention
    try:
        yield
    finally:
        query_attention.mixture_attention = original
