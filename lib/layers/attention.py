"""Attention with a mixture of softmaxes, without a matrix of all queries by all keys.

Source: "Feature Pyramid Transformer", section 3.1 and 3.2. With q and k split into M parts along their channels,

    s^n_ij = F(q_i,n, k_j,n)        w_ij = sum_n pi_n softmax_j(s^n_ij)        out_i = sum_j w_ij v_j

and pi = softmax_n(w_n . mean_j k_j): one number a part and an image. F is the dot product or the negative squared
distance, times a scale (ours).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

Similarity = Literal["dot", "euclidean"]
SIMILARITIES = ("dot", "euclidean")

_MASKED = -1e30  # added to the logit of a padded key: its exponential is 0, and no NaN arises where all keys are padded
_MIN_ROWS = 64
_CHUNK_ELEMENTS = {"cpu": 1 << 18, "cuda": 1 << 25}  # logits computed at once: on a CPU they stay inside the cache


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
    num_parts = mixture.shape[0]
    factor = scale if scale is not None else (query.shape[-1] / num_parts) ** -0.5
    with torch.autocast(query.device.type, enabled=False):
        dtype = torch.promote_types(query.dtype, torch.float32)
        q, k, v = query.to(dtype), key.to(dtype), value.to(dtype)
        mean_key = _mean_key(k, key_padding_mask)
        shares = torch.softmax(mean_key @ mixture.to(dtype).t(), dim=-1)
        bias = k.new_zeros(k.shape[0], 1, k.shape[1])
        if similarity == "euclidean":
            # a common shift changes no distance, and small numbers lose fewer digits in 2 q.k - |k|^2
            shift = mean_key.detach()[:, None, :]
            q, k = (q - shift) * 2, k - shift
            bias = -factor * _split(k, num_parts).square().sum(-1)
        if key_padding_mask is not None:
            bias = bias + key_padding_mask[:, None, :].to(dtype) * _MASKED
        parts_q, parts_k = _split(q * factor, num_parts), _split(k, num_parts)
        parts_q = torch.cat([parts_q, torch.ones_like(parts_q[..., :1])], dim=-1)
        parts_k = torch.cat([parts_k, bias[..., None].expand(*parts_k.shape[:-1], 1)], dim=-1)
        out = _MixtureOfSoftmaxes.apply(parts_q, parts_k, v, shares)
    return out.to(value.dtype)


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
    with torch.autocast(query.device.type, enabled=False):
        dtype = torch.promote_types(query.dtype, torch.float32)
        q, k, v = query.to(dtype), key.to(dtype), value.to(dtype)
        shares = torch.softmax(k.flatten(2).mean(-1) @ mixture.to(dtype).t(), dim=-1)
        q = F.pad(q, (0, ratio_x * w - width, 0, ratio_y * h - height))
        margin = window // 2
        k, v = (F.pad(x, (margin, margin, margin, margin)) for x in (k, v))
        rows_at_once = max(1, _CHUNK_ELEMENTS["cpu"] * 16 // max(1, w * window**2 * (k.shape[1] + v.shape[1])))
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
            bands.append(checkpoint(_attend_windows, *args, use_reentrant=False, preserve_rng_state=False))
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
    """Mean of [B, Nk, D] over the positions that are not padded -> [B, D]."""
    if padding is None:
        return key.mean(dim=1)
    valid = (~padding).to(key.dtype)[..., None]
    return (key * valid).sum(dim=1) / valid.sum(dim=1).clamp(min=1)


def _split(x: Tensor, num_parts: int) -> Tensor:
    """[B, N, D] -> [B, M, N, D / M]."""
    return x.unflatten(-1, (num_parts, -1)).transpose(1, 2)


class _MixtureOfSoftmaxes(torch.autograd.Function):
    """out_i = sum_j sum_n pi_n softmax_j(q_i,n . k_j,n) v_j over chunks of queries that are computed again in backward.

    q [B, M, Nq, d], k [B, M, Nk, d], v [B, Nk, Dv], shares pi [B, M] -> [B, Nq, Dv]. The parts are mixed before the one
    product with v; in backward pi scales the small gradients of q and k instead of the large one of the logits.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, shares: Tensor) -> Tensor:
        q, k = q.contiguous(), k.contiguous()
        ctx.save_for_backward(q, k, v, shares)
        out = v.new_empty(q.shape[0], q.shape[2], v.shape[-1])
        buffer = _Buffer(q, k)
        for b, rows in _chunks(q, k):
            parts = buffer.softmax(q[b, :, rows], k[b])
            torch.mm(buffer.mix(parts, shares[b]), v[b], out=out[b, rows])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        q, k, v, shares = ctx.saved_tensors
        grad_out = grads[0].contiguous()
        with torch.autocast(q.device.type, enabled=False):
            return _mixture_backward(q, k, v, shares, grad_out)


def _mixture_backward(
    q: Tensor, k: Tensor, v: Tensor, shares: Tensor, grad_out: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v and the shares."""
    grad_q, grad_k, grad_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
    grad_shares = torch.zeros_like(shares)
    buffer = _Buffer(q, k)
    for b, rows in _chunks(q, k):
        grad_rows = grad_out[b, rows]
        parts = buffer.softmax(q[b, :, rows], k[b])
        grad_v[b].addmm_(buffer.mix(parts, shares[b]).t(), grad_rows)
        # of the logits of part n, without its factor pi_n: P_n (dW - sum_j P_n dW), dW the gradient of the weights
        grad_logits = buffer.product(parts, buffer.grad_weights(grad_rows, v[b]))
        row_sums = grad_logits.sum(dim=-1, keepdim=True)
        grad_shares[b] += row_sums.sum(dim=(1, 2))
        grad_logits.addcmul_(parts, row_sums, value=-1)
        grad_q[b, :, rows] = torch.bmm(grad_logits, k[b])
        grad_k[b].baddbmm_(grad_logits.mT, q[b, :, rows])
    weights = shares[:, :, None, None]
    return grad_q.mul_(weights), grad_k.mul_(weights), grad_v, grad_shares


class _Buffer:
    """Memory for the largest chunk, taken once: fresh pages for each chunk would cost more than the arithmetic."""

    def __init__(self, q: Tensor, k: Tensor) -> None:
        num_rows = min(_rows_at_once(q, k), q.shape[2])
        self.logits = q.new_empty(q.shape[1], num_rows, k.shape[2])
        self.parts = torch.empty_like(self.logits)
        self.mixed = q.new_empty(num_rows, k.shape[2])

    def softmax(self, q: Tensor, k: Tensor) -> Tensor:
        """[M, c, d] and [M, Nk, d] -> [M, c, Nk], in `parts`."""
        shape = (q.shape[0], q.shape[1], k.shape[1])
        return torch.softmax(torch.bmm(q, k.mT, out=_view(self.logits, shape)), dim=-1, out=_view(self.parts, shape))

    def product(self, parts: Tensor, other: Tensor) -> Tensor:
        """[M, c, Nk] times [c, Nk] -> [M, c, Nk], in `logits`."""
        return torch.mul(parts, other, out=_view(self.logits, parts.shape))

    def mix(self, parts: Tensor, shares: Tensor) -> Tensor:
        """sum_n shares_n parts_n: [M, c, Nk] and [M] -> [c, Nk], in `mixed`."""
        mixed = torch.mul(parts[0], shares[0], out=self.mixed[: parts.shape[1]])
        for part, share in zip(parts[1:], shares[1:], strict=True):
            mixed.addcmul_(part, share)
        return mixed

    def grad_weights(self, grad_rows: Tensor, v: Tensor) -> Tensor:
        """Gradient of the mixed weights: [c, Dv] and [Nk, Dv] -> [c, Nk], in `mixed`."""
        return torch.mm(grad_rows, v.t(), out=self.mixed[: len(grad_rows)])


def _view(buffer: Tensor, shape: Sequence[int]) -> Tensor:
    """The beginning of a buffer as a contiguous tensor of `shape`: the last chunk is smaller than the others."""
    return buffer.view(-1)[: math.prod(shape)].view(shape)


def _rows_at_once(q: Tensor, k: Tensor) -> int:
    """Queries of a chunk: its logits number about _CHUNK_ELEMENTS."""
    budget = _CHUNK_ELEMENTS.get(q.device.type, _CHUNK_ELEMENTS["cuda"])
    return max(_MIN_ROWS, budget // max(1, q.shape[1] * k.shape[2]))


def _chunks(q: Tensor, k: Tensor) -> list[tuple[int, slice]]:
    """Image and range of queries of each chunk."""
    num_images, _, num_queries, _ = q.shape
    step = _rows_at_once(q, k)
    starts = range(0, num_queries, step)
    return [(b, slice(start, min(start + step, num_queries))) for b in range(num_images) for start in starts]


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
