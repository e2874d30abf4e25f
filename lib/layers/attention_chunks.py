"""The mixture of softmaxes on a CPU: chunks of queries, computed again in backward.

No more than `_CHUNK_LOGITS` logits exist at a time (or `_MIN_ROWS` queries' worth): some queries of an image, or some
small images at once. The products work on a whole chunk, the element-wise passes on blocks of it that stay inside the
cache; they, not the products, would take most of the time otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_CHUNK_LOGITS = 1 << 22
_BLOCK_LOGITS = 1 << 19
_MIN_ROWS = 64
_MASKED = -1e30  # added to the logit of a padded key: its exponential is 0
_SAFE_LOGIT = (
    60.0  # up to here exponentials and their sums stay inside float32 without the row's largest logit taken off
)
_TINY_SUM = 1e-30  # of a row whose keys are all padded: no NaN arises
_SMALL_LOGIT = 0.01
_LARGE_LOGIT = 128.0  # float32 logits up to here, float64 ones above
_HUGE_LOGIT = 512.0  # a float64 softmax too
_HALF_TYPES = (torch.float16, torch.bfloat16)  # their own rounding is far larger than that of float32 logits


@dataclass(frozen=True, kw_only=True)
class MixtureSettings:
    """Settings of one call.

    Attributes:
        is_euclidean: similarity is minus the squared distance, not the dot product.
        scale: factor of the similarity.
    """

    is_euclidean: bool
    scale: float

    @property
    def slope(self) -> float:
        """Derivative of a logit by the product of its query and its key."""
        return 2 * self.scale if self.is_euclidean else self.scale


class MixtureOfSoftmaxes(torch.autograd.Function):
    """out_i = sum_n pi_n sum_j softmax_j(scale F(q_i,n, k_j,n)) v_j.

    query [B, Nq, Dk], key [B, Nk, Dk], value [B, Nk, Dv], shares pi [B, M], padding bool [B, Nk] or None
    -> [B, Nq, Dv].

    Logits and softmax are float32; float64 for float64 inputs, and where float32 would lose digits. The parts are mixed
    before the one product with v, which is made in the type of value, with float32 sums. The gradient of the shares is
    that of numbers with the sum 1, as a softmax makes them: up to a common constant.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        shares: Tensor,
        padding: Tensor | None,
        settings: MixtureSettings,
    ) -> Tensor:
        ctx.save_for_backward(query, key, value, shares, padding)
        ctx.settings = settings
        out = value.new_empty(query.shape[0], query.shape[1], value.shape[-1])
        for images in _groups(query, key, shares):
            group = _Group(images, query, key, shares, padding, settings)
            product_dtype = value.dtype if group.dtype == torch.float32 else group.dtype
            values = value[images].to(product_dtype)
            for rows in group.chunks():
                group.compute_logits(rows)
                mixed = group.mix().to(product_dtype)
                if product_dtype == out.dtype:
                    torch.bmm(mixed, values, out=out[images, rows])
                else:
                    out[images, rows] = mixed @ values
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, shares, padding = ctx.saved_tensors
        grad_query, grad_key, grad_value = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        grad_shares = torch.empty_like(shares)
        with torch.autocast(query.device.type, enabled=False):
            for images in _groups(query, key, shares):
                group = _Group(images, query, key, shares, padding, ctx.settings)
                # a shift of all values adds the same number to the gradients of all shares, which their softmax drops;
                # around zero, the small differences of these gradients keep their digits
                values = (value[images] - _mean(value[images], group.padding)).to(group.dtype)
                results = _backward_group(group, values, grads[0][images], grad_query[images])
                for grad, result in zip((grad_key, grad_value, grad_shares), results, strict=True):
                    grad[images] = result
        return grad_query, grad_key, grad_value, grad_shares, None, None


def _groups(query: Tensor, key: Tensor, shares: Tensor) -> Iterator[slice]:
    """Images that fit into one chunk together, at least one."""
    logits_of_image = query.shape[1] * key.shape[1] * shares.shape[1]
    images_at_once = max(1, _CHUNK_LOGITS // max(1, logits_of_image))
    for start in range(0, len(query), images_at_once):
        yield slice(start, min(start + images_at_once, len(query)))


def _backward_group(
    group: _Group, value: Tensor, grad_out: Tensor, grad_query: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of key [b, Nk, Dk], value [b, Nk, Dv] and shares [b, M]; that of query goes into `grad_query`.

    The products are made in bfloat16 where the gradient is; their sums over chunks are float32.
    """
    is_half = grad_out.dtype == torch.bfloat16 and group.dtype == torch.float32
    dtype = torch.bfloat16 if is_half else group.dtype
    grad_keys = torch.zeros_like(group.keys, dtype=group.dtype)
    grad_value = torch.zeros_like(value, dtype=group.dtype)
    grad_shares = torch.zeros_like(group.shares)
    linear, value = group.keys[..., : group.part_channels].to(dtype), value.to(dtype)
    for rows in group.chunks():
        grad_rows = grad_out[:, rows].to(dtype)
        queries = group.compute_logits(rows).to(group.dtype)
        grad_value += torch.bmm(group.mix().to(dtype).mT, grad_rows)
        grad_shares += group.softmax_backward(torch.bmm(grad_rows, value.mT).to(group.dtype))
        grad_logits, queries = group.logits.to(dtype), (queries * group.inverse_sums).to(dtype)
        grad_operand = torch.matmul(grad_logits, linear).to(group.dtype) * group.inverse_sums
        grad_query[:, rows] = group.query_gradient(grad_operand)
        grad_keys += torch.matmul(queries.mT, grad_logits).mT
    return group.key_gradient(grad_keys), grad_value, grad_shares


class _Group:
    """Operands of b images, and memory for their largest chunk: fresh pages for each would cost more than the sums.

    F is a product of the operands: for the distance, with a common shift that changes no distance but lets small
    numbers lose fewer digits, -|q - k|^2 = 2 q.k - |k|^2 - |q|^2: two more channels hold (-|k|^2 and the mask, 1) of
    the keys and (1, -|q|^2) of the queries.

    Attributes:
        dtype: of the softmax.
        part_channels: channels d of a part.
        shares: pi [b, M].
        keys: [b, M, Nk, d], [b, M, Nk, d + 1] or [b, M, Nk, d + 2], in the type of the logits.
        logits: [b, M, c, Nk], the present chunk: logits, then their exponentials E, then gradients of the logits, over
            pi and the inverse sums.
        inverse_sums: 1 / sum_j E [b, M, c, 1] of the present chunk.
        mixed: mixed probabilities [b, c, Nk] of the present chunk.
    """

    def __init__(
        self,
        images: slice,
        query: Tensor,
        key: Tensor,
        shares: Tensor,
        padding: Tensor | None,
        settings: MixtureSettings,
    ) -> None:
        self.settings = settings
        self.query, key = query[images], key[images]
        self.padding = padding = None if padding is None else padding[images]
        self._num_parts = shares.shape[1]
        self.dtype, self.logit_dtype, self._is_safe = _working_types(self.query, key, self._num_parts, settings)
        self.shares = shares[images].to(self.dtype)
        self.part_channels = query.shape[-1] // self._num_parts
        self.shift = _mean(key, padding).to(self.logit_dtype) if settings.is_euclidean else None
        self.keys = self._key_operand(key, padding)
        num_images, num_queries = self.query.shape[:2]
        logits_of_row = max(1, self._num_parts * key.shape[1])
        self.rows_at_once = min(num_queries, max(_MIN_ROWS, _CHUNK_LOGITS // logits_of_row))
        self.rows_of_block = max(1, min(self.rows_at_once, _BLOCK_LOGITS // logits_of_row))
        self.images_of_block = max(1, _BLOCK_LOGITS // (logits_of_row * self.rows_at_once))
        num_parts, num_keys = self._num_parts, key.shape[1]
        self._logits = self._empty(num_images, num_parts, self.rows_at_once, num_keys)
        self._inverse_sums = self._empty(num_images, num_parts, self.rows_at_once, 1)
        self._mixed = self._empty(num_images, self.rows_at_once, num_keys)
        self.logits, self.inverse_sums, self.mixed = self._logits, self._inverse_sums, self._mixed
        self._product = self._empty(min(num_images, self.images_of_block), num_parts, self.rows_of_block, num_keys)
        self._exact_logits = None if self.logit_dtype == self.dtype else self._product[0].double()

    def _empty(self, *shape: int) -> Tensor:
        return self.query.new_empty(shape, dtype=self.dtype)

    def chunks(self) -> Iterator[slice]:
        """The queries, in ranges; sets the size of `logits`, `inverse_sums` and `mixed`."""
        for start in range(0, self.query.shape[1], self.rows_at_once):
            rows = slice(start, min(start + self.rows_at_once, self.query.shape[1]))
            number = rows.stop - start
            self.logits, self.inverse_sums = self._logits[:, :, :number], self._inverse_sums[:, :, :number]
            self.mixed = self._mixed[:, :number]
            yield rows

    def _blocks(self) -> Iterator[tuple[slice, slice]]:
        """Images, and queries of the chunk, whose logits fit into the cache."""
        num_images, num_rows = self.mixed.shape[:2]
        for first in range(0, num_images, self.images_of_block):
            for start in range(0, num_rows, self.rows_of_block):
                yield slice(first, first + self.images_of_block), slice(start, start + self.rows_of_block)

    def compute_logits(self, rows: slice) -> Tensor:
        """Logits of the chunk, from which `mix` makes probabilities; returns the queries' operand [b, M, c, d ..]."""
        queries = self._query_operand(self.query[:, rows].to(self.logit_dtype))
        for b, logits in enumerate(self.logits):
            keys = self.keys[b].mT
            if self._exact_logits is None:
                torch.bmm(queries[b], keys, out=logits)
                continue
            for start in range(0, logits.shape[1], self.rows_of_block):
                block = slice(start, min(start + self.rows_of_block, logits.shape[1]))
                exact = self._exact_logits[:, : block.stop - block.start]
                torch.bmm(queries[b, :, block], keys, out=exact)
                logits[:, block].copy_(exact)
        return queries

    def mix(self) -> Tensor:
        """Exponentials of the logits, in their place, and their sums; returns sum_n pi_n P_n [b, c, Nk], in `mixed`.

        The sums are divided by in the mixing, and not in a pass of its own.
        """
        for images, rows in self._blocks():
            parts, inverse_sums = self.logits[images, :, rows], self.inverse_sums[images, :, rows]
            if not self._is_safe:
                parts -= parts.amax(dim=-1, keepdim=True)
            parts.exp_()
            torch.sum(parts, dim=-1, keepdim=True, out=inverse_sums).clamp_(min=_TINY_SUM).reciprocal_()
            weights, mixed = inverse_sums * self.shares[images, :, None, None], self.mixed[images, rows]
            torch.mul(parts[:, 0], weights[:, 0], out=mixed)
            for n in range(1, self._num_parts):
                mixed.addcmul_(parts[:, n], weights[:, n])
        return self.mixed

    def softmax_backward(self, grad_mixed: Tensor) -> Tensor:
        """From exponentials E_n to the gradients of the logits, over pi_n and the inverse sums, in their place.

        They are E_n (dW - D_n), D_n = sum_j P_n dW, with the gradient dW [b, c, Nk] of the mixed probabilities.
        Returns the gradient of the shares [b, M], sum_i D_n.
        """
        grad_shares = torch.zeros_like(self.shares)
        for images, rows in self._blocks():
            parts = self.logits[images, :, rows]
            product = self._product[: parts.shape[0], :, : parts.shape[2]]
            torch.mul(parts, grad_mixed[images, None, rows], out=product)
            row_sums = product.sum(dim=-1, keepdim=True).mul_(self.inverse_sums[images, :, rows])
            torch.addcmul(product, parts, row_sums, value=-1, out=parts)
            grad_shares[images] += row_sums.sum(dim=(2, 3))
        return grad_shares

    def _key_operand(self, key: Tensor, padding: Tensor | None) -> Tensor:
        """[b, Nk, Dk] -> [b, M, Nk, d ..], see the class."""
        keys = key.to(self.logit_dtype)
        keys = self._split(keys if self.shift is None else keys - self.shift)
        if self.shift is None and padding is None:
            return keys.contiguous()
        bias = keys.new_zeros(keys.shape[:3])
        if self.shift is not None:
            bias = bias - self.settings.scale * keys.square().sum(-1)
        if padding is not None:
            bias = bias + padding[:, None].to(self.logit_dtype) * _MASKED
        ones = torch.ones_like(keys[..., :1])
        return torch.cat([keys, bias[..., None]] if self.shift is None else [keys, bias[..., None], ones], dim=-1)

    def _query_operand(self, queries: Tensor) -> Tensor:
        """[b, c, Dk] -> [b, M, c, d ..], see the class."""
        queries = self._split(queries if self.shift is None else queries - self.shift)
        scaled = queries * self.settings.slope
        ones = torch.ones_like(queries[..., :1])
        if self.shift is not None:
            bias = -self.settings.scale * queries.square().sum(-1, keepdim=True)
            return torch.cat([scaled, ones, bias], dim=-1)
        return scaled.contiguous() if self.keys.shape[-1] == self.part_channels else torch.cat([scaled, ones], dim=-1)

    def query_gradient(self, grad: Tensor) -> Tensor:
        """[b, M, c, d], of the operand and over pi -> [b, c, Dk], of the query."""
        return (grad * self._weights).transpose(1, 2).flatten(2) * self.settings.slope

    def key_gradient(self, grad: Tensor) -> Tensor:
        """[b, M, Nk, d ..], of the operand and over pi -> [b, Nk, Dk], of the key."""
        grad = grad * self._weights
        linear = grad[..., : self.part_channels]
        if self.shift is not None:
            of_bias = grad[..., self.part_channels, None]
            linear = linear - self.settings.slope * self.keys[..., : self.part_channels] * of_bias
        return linear.transpose(1, 2).flatten(2)

    @property
    def _weights(self) -> Tensor:
        return self.shares[..., None, None]

    def _split(self, x: Tensor) -> Tensor:
        """[b, N, Dk] -> [b, M, N, d]."""
        return x.unflatten(-1, (self._num_parts, -1)).transpose(1, 2)


def _mean(x: Tensor, padding: Tensor | None) -> Tensor:
    """[b, Nk, D] -> [b, 1, D], over the keys that are not padded, float32 at least."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    if padding is None:
        return x.mean(dim=1, keepdim=True, dtype=dtype)
    kept = (~padding).to(dtype)[:, None]
    return (kept @ x.to(dtype)) / kept.sum(dim=-1, keepdim=True).clamp(min=1)


def _working_types(
    query: Tensor, key: Tensor, num_parts: int, settings: MixtureSettings
) -> tuple[torch.dtype, torch.dtype, bool]:
    """Types of softmax and of logits, and whether the exponentials of all logits are safe as they are.

    float32, or float64 where float32 would lose digits that matter. Large logits show their rounding in the output.
    Where they are all small the softmaxes of the parts are so alike that the gradient of the shares, their difference,
    drowns in the rounding of the softmaxes.
    """
    dtype = torch.promote_types(query.dtype, torch.float32)
    squares = [
        x.detach().to(dtype).unflatten(-1, (num_parts, -1)).square().sum(-1).amax(dim=(1, 2)) for x in (query, key)
    ]
    lengths = [square.sqrt() for square in squares]
    products = abs(settings.slope) * lengths[0] * lengths[1]
    farthest = abs(settings.scale) * (lengths[0] + lengths[1]).square() if settings.is_euclidean else products
    is_safe = float(farthest.max()) <= _SAFE_LOGIT
    if query.dtype in _HALF_TYPES or query.device.type == "mps":  # Apple's GPUs have no float64
        return torch.float32, torch.float32, is_safe
    if query.dtype == torch.float64:
        return torch.float64, torch.float64, is_safe
    smallest, largest = float(products.min()), float(products.max())
    softmax_dtype = torch.float32 if smallest >= _SMALL_LOGIT and largest <= _HUGE_LOGIT else torch.float64
    return softmax_dtype, softmax_dtype if largest <= _LARGE_LOGIT else torch.float64, is_safe
