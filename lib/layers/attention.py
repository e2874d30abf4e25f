"""Attention with a mixture of softmaxes, without a matrix of all queries by all keys.

Source: "Feature Pyramid Transformer", section 3.1 and 3.2. With q and k split into M parts along their channels,

    s^n_ij = F(q_i,n, k_j,n)        w_ij = sum_n pi_n softmax_j(s^n_ij)        out_i = sum_j w_ij v_j

and pi = softmax_n(w_n . mean_j k_j): one number a part and an image. F is the dot product or the negative squared
distance, times a scale (ours).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

from fpt.layers.attention_chunks import MixtureOfSoftmaxes, MixtureSettings
from fpt.layers.attention_fused import fused_mixture_attention, is_fusable
from fpt.layers.attention_shifts import attend_by_shifts
from fpt.layers.autocast import without_autocast

Similarity = Literal["dot", "euclidean"]
SIMILARITIES = ("dot", "euclidean")

_BAND_ELEMENTS = 1 << 22  # numbers that a band of LGT works on


def mixture_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mixture: Tensor,
    *,
    similarity: Similarity = "dot",
    scale: float | None = None,
    key_padding_mask: Tensor | None = None,
) -> Tensor:
    """Attention of every query to every key, in memory that grows with Nq + Nk.

    Args:
        query: [B, Nq, Dk].
        key: [B, Nk, Dk].
        value: [B, Nk, Dv].
        mixture: [M, Dk], the learned w_n; M divides Dk.
        similarity: F: "dot" product, or "euclidean" = minus the squared distance.
        scale: factor of F; None = 1 / sqrt(Dk / M).
        key_padding_mask: bool [B, Nk], True = padded: takes no part in the softmax, nor in the mean of the keys.

    Returns:
        [B, Nq, Dv] in the type of value. Logits and softmax are computed in float32 at least.

    Raises:
        ValueError: shapes that do not fit, or an unknown similarity.
    """
    _check(query, key, value, mixture, similarity)
    if key_padding_mask is not None and key_padding_mask.shape != key.shape[:2]:
        raise ValueError(f"key_padding_mask is {tuple(key_padding_mask.shape)}, must be {tuple(key.shape[:2])}")
    if query.shape[0] * query.shape[1] * value.shape[2] == 0:
        return value.new_zeros(query.shape[0], query.shape[1], value.shape[2]) + query.sum() * 0
    num_parts = mixture.shape[0]
    settings = MixtureSettings(
        is_euclidean=similarity == "euclidean",
        scale=scale if scale is not None else (query.shape[-1] / num_parts) ** -0.5,
    )
    with without_autocast(query.device.type):
        shares = mixture_shares(key, mixture, key_padding_mask)
        is_plain = query.device.type == "cpu" and not torch.compiler.is_compiling()
        if is_plain or not is_fusable(query, value, num_parts, settings):
            return MixtureOfSoftmaxes.apply(query, key, value, shares, key_padding_mask, settings)
        return fused_mixture_attention(query, key, value, shares, key_padding_mask, settings)


def mixture_shares(key: Tensor, mixture: Tensor, padding: Tensor | None = None) -> Tensor:
    """pi, the share of each part: keys [B, Nk, Dk], w [M, Dk] and padding bool [B, Nk] -> [B, M], float32 at least."""
    mean_key = _mean_key(key, padding)
    return torch.softmax(mean_key @ mixture.to(mean_key.dtype).t(), dim=-1)


def local_mixture_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mixture: Tensor,
    *,
    window: int,
    similarity: Similarity = "euclidean",
    scale: float | None = None,
) -> Tensor:
    """Attention of each position of a fine map to a square window of a coarse map (locality-constrained GT).

    Query (y, x) meets the window centred on the coarse cell (y // r, x // r), r = ceil(H / h) on each axis. Keys and
    values outside the coarse map are zeros and keep their share of the softmax.

    Args:
        query: [B, Dk, H, W], the fine map.
        key: [B, Dk, h, w], the coarse map.
        value: [B, Dv, h, w].
        mixture: [M, Dk].
        window: side of the window in coarse cells, odd.
        similarity: as in `mixture_attention`.
        scale: as in `mixture_attention`.

    Returns:
        [B, Dv, H, W] in the type of value.

    Raises:
        ValueError: an even window, or sizes of which the coarse one is no ceil-division of the fine one.
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window is {window}, must be odd and positive")
    _check(query.flatten(2).mT, key.flatten(2).mT, value.flatten(2).mT, mixture, similarity)
    (height, width), (h, w) = query.shape[-2:], key.shape[-2:]
    ratio_y, ratio_x = -(-height // h), -(-width // w)
    if -(-height // ratio_y) != h or -(-width // ratio_x) != w:
        raise ValueError(f"a coarse map of {h} x {w} is no ceil-division of a fine map of {height} x {width}")
    factor = scale if scale is not None else (query.shape[1] / mixture.shape[0]) ** -0.5
    with without_autocast(query.device.type):
        dtype = torch.promote_types(query.dtype, torch.float32)
        q, k, v = query.to(dtype), key.to(dtype), value.to(dtype)
        shares = torch.softmax(k.flatten(2).mean(-1) @ mixture.to(dtype).t(), dim=-1)
        q = F.pad(q, (0, ratio_x * w - width, 0, ratio_y * h - height))
        margin = window // 2
        k, v = (F.pad(x, (margin, margin, margin, margin)) for x in (k, v))
        is_same_size = ratio_y == ratio_x == 1
        attend, copies = (attend_by_shifts, 4) if is_same_size else (_attend_windows, window**2)
        rows_at_once = max(1, _BAND_ELEMENTS // max(1, w * copies * (k.shape[1] + v.shape[1])))
        bands = []
        for top in range(0, h, rows_at_once):
            bottom = min(h, top + rows_at_once)
            args = (
                q[:, :, top * ratio_y : bottom * ratio_y],
                k[:, :, top : bottom + 2 * margin],
                v[:, :, top : bottom + 2 * margin],
                shares,
                window,
                similarity,
                factor,
            )
            bands.append(checkpoint(attend, *args, use_reentrant=False, preserve_rng_state=False))
        out = (
            torch.cat(bands, dim=2)[:, :, :height, :width] if bands else v.new_zeros(len(q), v.shape[1], height, width)
        )
    return out.to(value.dtype)


def _check(query: Tensor, key: Tensor, value: Tensor, mixture: Tensor, similarity: str) -> None:
    """Reject shapes [B, N, D] that do not fit, and unknown similarities."""
    if similarity not in SIMILARITIES:
        raise ValueError(f"similarity is {similarity!r}, must be one of {SIMILARITIES}")
    if query.ndim != 3 or key.ndim != 3 or value.ndim != 3 or mixture.ndim != 2:
        raise ValueError(
            f"query, key and value must be [B, N, D] and mixture [M, D], not {[x.ndim for x in (query, key, value)]} "
            f"and {mixture.ndim} axes"
        )
    if query.shape[-1] != key.shape[-1] or mixture.shape[-1] != key.shape[-1]:
        raise ValueError(
            f"query, key and mixture have {query.shape[-1]}, {key.shape[-1]} and {mixture.shape[-1]} channels, "
            "must have the same"
        )
    if key.shape[:2] != value.shape[:2] or query.shape[0] != key.shape[0]:
        raise ValueError(
            f"query {tuple(query.shape)}, key {tuple(key.shape)} and value {tuple(value.shape)} "
            "differ in batch or length"
        )
    if key.shape[-1] % mixture.shape[0]:
        raise ValueError(f"{key.shape[-1]} channels cannot be split into {mixture.shape[0]} parts")
    if key.shape[1] == 0 and query.shape[1] > 0 and query.shape[0] > 0:
        raise ValueError("there are queries but no keys")


def _mean_key(key: Tensor, padding: Tensor | None) -> Tensor:
    """Mean of [B, Nk, D] over the positions that are not padded -> [B, D], float32 at least."""
    dtype = torch.promote_types(key.dtype, torch.float32)
    if padding is None:
        return key.mean(dim=1, dtype=dtype)
    kept = (~padding).to(dtype)[:, None]
    return (kept @ key.to(dtype))[:, 0] / kept.sum(dim=-1).clamp(min=1)


def _attend_windows(
    q: Tensor, k: Tensor, v: Tensor, shares: Tensor, window: int, similarity: Similarity, factor: float
) -> Tensor:
    """A band of `local_mixture_attention`: q [B, Dk, r h, r w], k and v with a margin of window // 2 on every side."""
    batch, _, height, width = q.shape
    h, w = k.shape[-2] - window + 1, k.shape[-1] - window + 1
    num_parts, cells = shares.shape[-1], batch * h * w
    q = q.reshape(batch, num_parts, -1, h, height // h, w, width // w)
    q = q.permute(0, 3, 5, 1, 4, 6, 2).reshape(cells * num_parts, -1, q.shape[2])
    k_windows = F.unfold(k, window).reshape(batch, num_parts, -1, window**2, h * w)
    k_windows = k_windows.permute(0, 4, 1, 2, 3).reshape(cells * num_parts, -1, window**2)
    v_windows = F.unfold(v, window).reshape(batch, v.shape[1], window**2, h * w)
    v_windows = v_windows.permute(0, 3, 2, 1).reshape(cells, window**2, v.shape[1])
    if similarity == "euclidean":
        bias = -factor * k_windows.square().sum(1, keepdim=True)
        logits = torch.baddbmm(bias, q, k_windows, alpha=2 * factor)
    else:
        logits = torch.bmm(q, k_windows) * factor
    parts = torch.softmax(logits, dim=-1).reshape(batch, h * w, num_parts, -1, window**2)
    weights = (parts * shares[:, None, :, None, None]).sum(2).reshape(cells, -1, window**2)
    out = torch.bmm(weights, v_windows).reshape(batch, h, w, height // h, width // w, -1)
    return out.permute(0, 5, 1, 3, 2, 4).reshape(batch, -1, height, width)
