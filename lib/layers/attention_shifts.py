"""Attention to windows of a map of the same size: one pass over the map for each place of the window."""

from __future__ import annotations

import torch
from torch import Tensor


def attend_by_shifts(
    query: Tensor, key: Tensor, value: Tensor, shares: Tensor, window: int, similarity: str, factor: float
) -> Tensor:
    """A mixture of softmaxes over the window around each position.

    A window of 25 cells costs 25 products of whole maps, all of them small; windows that are copied out and multiplied
    as matrices take 20 times as long in training.

    Args:
        query: [B, Dk, H, W].
        key: [B, Dk, H + 2 m, W + 2 m] with a margin of m = window // 2 on every side.
        value: [B, Dv, H + 2 m, W + 2 m].
        shares: [B, M], of the parts.
        window: side of the window, odd.
        similarity: "euclidean", minus the squared distance, or "dot".
        factor: of the logits.

    Returns:
        [B, Dv, H, W].
    """
    batch, _, height, width = query.shape
    num_parts, is_euclidean = shares.shape[1], similarity == "euclidean"
    q = (query * (2 * factor if is_euclidean else factor)).permute(0, 2, 3, 1).unflatten(3, (num_parts, -1))
    k, v = (x.permute(0, 2, 3, 1).contiguous() for x in (key, value))
    k = k.unflatten(3, (num_parts, -1))
    bias = factor * k.square().sum(-1) if is_euclidean else None
    places = [(slice(None), slice(y, y + height), slice(x, x + width)) for y in range(window) for x in range(window)]
    logits = []
    for place in places:
        product = (q * k[place]).sum(-1)
        logits.append(product if bias is None else product - bias[place])
    weights = (torch.stack(logits).softmax(dim=0) * shares.view(batch, 1, 1, num_parts)).sum(-1, keepdim=True)
    out = weights[0] * v[places[0]]
    for weight, place in zip(weights[1:], places[1:], strict=True):
        out = torch.addcmul(out, weight, v[place])
    return out.permute(0, 3, 1, 2)
