"""The weights with which one query looks at the keys: a row of the matrix that attention never builds."""

from __future__ import annotations

import torch
from torch import Tensor

from fpt.layers.attention import SIMILARITIES, Similarity


def mixture_weights(
    query: Tensor,
    key: Tensor,
    mixture: Tensor,
    *,
    mean_key: Tensor,
    similarity: Similarity = "dot",
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Softmax of each part for one query, and the share of each part.

    Args:
        query: [Dk].
        key: [Nk, Dk], the keys that it meets.
        mixture: [M, Dk], the learned w_n.
        mean_key: [Dk], the mean of all keys of the map.
        similarity: "dot" or "euclidean", as in `mixture_attention`.
        scale: factor of the similarity; None = 1 / sqrt(Dk / M).

    Returns:
        Probabilities P_n [M, Nk] and shares pi [M]; the row of the matrix is sum_n pi_n P_n.

    Raises:
        ValueError: an unknown similarity.
    """
    if similarity not in SIMILARITIES:
        raise ValueError(f"similarity is {similarity!r}, must be one of {SIMILARITIES}")
    num_parts = mixture.shape[0]
    factor = scale if scale is not None else (query.shape[-1] / num_parts) ** -0.5
    parts_q, parts_k = (x.double().unflatten(-1, (num_parts, -1)) for x in (query, key))
    if similarity == "dot":
        logits = (parts_q * parts_k).sum(-1)
    else:
        logits = -(parts_q - parts_k).square().sum(-1)
    shares = torch.softmax(mixture.double() @ mean_key.double(), dim=0)
    return torch.softmax(factor * logits, dim=0).t().float(), shares.float()
