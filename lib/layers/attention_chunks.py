"""The mixture of softmaxes on a CPU: chunks of queries, computed again in backward.

No more than `_CHUNK_LOGITS` logits exist at a time (or `_MIN_ROWS` queries' worth: products of fewer rows are slow):
some queries of an image, or some small images at once. The products work on a whole chunk, each part's logits side by
side, the element-wise passes on blocks of it that stay inside the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fpt.layers.autocast import without_autocast

_CHUNK_LOGITS = 1 << 22
_BLOCK_LOGITS = 1 << 19
_MIN_ROWS = 256
_MASKED = -1e30  # added to the logit of a padded key: its exponential is 0, and no NaN arises where all keys are padded
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
                mixed = group.mix(out=group.logits[0]).to(product_dtype)
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
        with without_autocast(query.device.type):
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
    """Gradients of key [b, Nk, Dk], value [b, Nk, Dv] and shares [b, M]; that of query goes into `grad_query`."""
    grad_keys = torch.zeros_like(group.keys.mT, dtype=group.dtype)
    grad_value = torch.zeros_like(value)
    grad_shares = torch.zeros_like(group.shares)
    linear = group.keys[..., : group.part_channels].to(group.dtype)
    one_a_pair = group.logits.new_empty(group.logits.shape[1:])  # mixed probabilities, then their gradient
    for rows in group.chunks():
        grad_rows = grad_out[:, rows].to(group.dtype)
        queries = group.compute_logits(rows).to(group.dtype)
        mixed = group.mix(out=one_a_pair[:, : grad_rows.shape[1]])
        grad_value.baddbmm_(mixed.mT, grad_rows)
        grad_shares += group.softmax_backward(torch.bmm(grad_rows, value.mT, out=mixed))
        logits = group.logits.flatten(0, 1)
        grad_operand = torch.bmm(logits, linear.flatten(0, 1)).unflatten(0, linear.shape[:2])
        grad_keys.view(-1, *grad_keys.shape[2:]).baddbmm_(queries.flatten(0, 1).mT, logits)
        grad_query[:, rows] = group.query_gradient(grad_operand)
    return group.key_gradient(grad_keys.mT), grad_value, grad_shares


class _Group:
    """Operands of b images, and memory for their largest chunk: fresh pages for each would cost more than the sums.

    F is a product of the operands: for the distance, with a common shift m that changes no distance but lets small
    numbers lose fewer digits, -|q - k|^2 = 2 q.k - |k|^2 - |q|^2: two more channels hold (-|k|^2 and the mask, 1) of
    the keys and (1, -|q|^2) of the queries. Queries of half types, whose own rounding is larger, are taken as they are:
    with 2 q.(k - m) - |k - m|^2 - 2 m.(k - m) their keys get the same shares, and they need no passes but one.

    Attributes:
        dtype: of the softmax.
        part_channels: channels d of a part.
        shares: pi [b, M].
        keys: [M, b, Nk, d], [M, b, Nk, d + 1] or [M, b, Nk, d + 2], times `slope`, in the type of the logits.
        logits: [M, b, c, Nk], the present chunk: logits, then probabilities, then gradients of the logits over pi.
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
        self.dtype, self.logit_dtype = _working_dtypes(self.query, key, self._num_parts, settings)
        self.shares = shares[images].to(self.dtype)
        self.part_channels = query.shape[-1] // self._num_parts
        self.is_half = query.dtype in _HALF_TYPES
        self.shift = _mean(key, padding).to(self.logit_dtype) if settings.is_euclidean else None
        self.keys = self._key_operand(key, padding)
        num_queries, num_keys = self.query.shape[1], key.shape[1]
        logits_of_row = max(1, self._num_parts * num_keys)
        self.rows_at_once = min(num_queries, max(_MIN_ROWS, _CHUNK_LOGITS // logits_of_row))
        self._rows_of_block = max(1, min(self.rows_at_once, _BLOCK_LOGITS // logits_of_row))
        self._images_of_block = max(1, _BLOCK_LOGITS // (logits_of_row * self.rows_at_once))
        chunk = (*self.keys.shape[:2], self.rows_at_once)
        self._queries = self.keys.new_ones(*chunk, self.keys.shape[-1])
        self.logits = self._logits = query.new_empty(*chunk, num_keys, dtype=self.dtype)
        self._product = self._logits.new_empty(min(chunk[1], self._images_of_block), self._rows_of_block, num_keys)
        self._exact_logits = None
        if self.logit_dtype != self.dtype:
            self._exact_logits = self.keys.new_empty(self._rows_of_block, num_keys)

    def chunks(self) -> Iterator[slice]:
        """The queries, in ranges; sets the size of `logits`."""
        for start in range(0, self.query.shape[1], self.rows_at_once):
            rows = slice(start, min(start + self.rows_at_once, self.query.shape[1]))
            self.logits = self._logits[:, :, : rows.stop - start]
            yield rows

    def _blocks(self) -> Iterator[tuple[slice, slice]]:
        """Images, and queries of the chunk, whose logits fit into the cache and lie side by side in each part."""
        num_images, num_rows = self.logits.shape[1:3]
        for first in range(0, num_images, self._images_of_block):
            for start in range(0, num_rows, self._rows_of_block):
                yield slice(first, first + self._images_of_block), slice(start, start + self._rows_of_block)

    def compute_logits(self, rows: slice) -> Tensor:
        """Logits of the chunk, from which `mix` makes probabilities; returns the queries' operand [M, b, c, d ..]."""
        queries = self._query_operand(rows)
        operands = queries.flatten(0, 1), self.keys.flatten(0, 1).mT
        if self._exact_logits is None:
            torch.bmm(*operands, out=self.logits.view(-1, *self.logits.shape[2:]))
            return queries
        for query, key, logits in zip(*operands, self.logits.view(-1, *self.logits.shape[2:]), strict=True):
            for start in range(0, len(logits), len(self._exact_logits)):
                block = slice(start, min(start + len(self._exact_logits), len(logits)))
                logits[block] = torch.mm(query[block], key, out=self._exact_logits[: block.stop - start])
        return queries

    def mix(self, out: Tensor) -> Tensor:
        """Softmax of the logits, in their place; puts sum_n pi_n P_n into `out` [b, c, Nk], `logits[0]` perhaps."""
        for block in self._blocks():
            mixed = out[block]
            for n, shares in enumerate(self._weights):
                probabilities = self.logits[n][block]
                torch.softmax(probabilities, dim=-1, out=probabilities)
                if n == 0:
                    torch.mul(probabilities, shares[block[0]], out=mixed)
                else:
                    mixed.addcmul_(probabilities, shares[block[0]])
        return out

    def softmax_backward(self, grad_mixed: Tensor) -> Tensor:
        """From probabilities P_n to the gradients of the logits without their factor pi_n, in their place.

        They are P_n (dW - D_n), D_n = sum_j P_n dW, with the gradient dW [b, c, Nk] of the mixed probabilities.
        Returns the gradient of the shares [b, M], sum_i D_n.
        """
        grad_shares = torch.zeros_like(self.shares)
        for block in self._blocks():
            grads = grad_mixed[block]
            for n, logits in enumerate(self.logits):
                product = torch.mul(logits[block], grads, out=self._product[: len(grads), : grads.shape[1]])
                row_sums = product.sum(dim=-1, keepdim=True)
                torch.addcmul(product, logits[block], row_sums, value=-1, out=logits[block])
                grad_shares[block[0], n] += row_sums.sum(dim=(1, 2))
        return grad_shares

    def _key_operand(self, key: Tensor, padding: Tensor | None) -> Tensor:
        """[b, Nk, Dk] -> [M, b, Nk, d ..], see the class."""
        keys = key.to(self.logit_dtype)
        keys = self._split(keys if self.shift is None else keys - self.shift)
        scaled = keys * self.settings.slope
        if self.shift is None and padding is None:
            return scaled.contiguous()
        bias = keys.new_zeros(keys.shape[:3])
        if self.shift is not None:
            bias = bias - self.settings.scale * keys.square().sum(-1)
            if self.is_half:
                bias = bias - (scaled * self._split(self.shift)).sum(-1)
        if padding is not None:
            bias = bias + padding.to(self.logit_dtype) * _MASKED
        ones = [] if self.shift is None or self.is_half else [torch.ones_like(keys[..., :1])]
        return torch.cat([scaled, bias[..., None], *ones], dim=-1)

    def _query_operand(self, rows: slice) -> Tensor:
        """Queries of the chunk [M, b, c, d ..], see the class; the channel of the keys' bias is one from the start."""
        query = self.query[:, rows]
        operand = self._queries[:, :, : query.shape[1]]
        linear = operand[..., : self.part_channels]
        if self.shift is None or self.is_half:
            linear.copy_(self._split(query))
            return operand
        torch.sub(self._split(query.to(self.logit_dtype)), self._split(self.shift), out=linear)
        operand[..., -1] = -self.settings.scale * linear.square().sum(-1)
        return operand

    def query_gradient(self, grad: Tensor) -> Tensor:
        """[M, b, c, d], of the operand and over pi -> [b, c, Dk], of the query."""
        return (grad * self._weights).movedim(0, 2).flatten(2)

    def key_gradient(self, grad: Tensor) -> Tensor:
        """[M, b, Nk, d ..], of the operand and over pi -> [b, Nk, Dk], of the key."""
        grad = grad * self._weights
        linear = grad[..., : self.part_channels] * self.settings.slope
        if self.shift is not None:
            slopes = self.keys[..., : self.part_channels]
            if self.is_half:
                slopes = slopes + self.settings.slope * self._split(self.shift)
            linear = linear - slopes * grad[..., self.part_channels, None]
        return linear.movedim(0, 2).flatten(2)

    @property
    def _weights(self) -> Tensor:
        return self.shares.t()[..., None, None]

    def _split(self, x: Tensor) -> Tensor:
        """[b, N, Dk] -> [M, b, N, d]."""
        return x.unflatten(-1, (self._num_parts, -1)).movedim(2, 0)


def _mean(x: Tensor, padding: Tensor | None) -> Tensor:
    """[b, Nk, D] -> [b, 1, D], over the keys that are not padded, float32 at least."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    if padding is None:
        return x.mean(dim=1, keepdim=True, dtype=dtype)
    kept = (~padding).to(dtype)[:, None]
    return (kept @ x.to(dtype)) / kept.sum(dim=-1, keepdim=True).clamp(min=1)


def _working_dtypes(
    query: Tensor, key: Tensor, num_parts: int, settings: MixtureSettings
) -> tuple[torch.dtype, torch.dtype]:
    """Types of softmax and of logits: float32, or float64 where float32 would lose digits that matter.

    Large logits show their rounding in the output. Where they are all small the softmaxes of the parts are so alike
    that the gradient of the shares, their difference, drowns in the rounding of the softmaxes.
    """
    if query.dtype in _HALF_TYPES or query.device.type == "mps":  # Apple's GPUs have no float64
        return torch.float32, torch.float32
    if query.dtype == torch.float64:
        return torch.float64, torch.float64
    squares = [x.detach().unflatten(-1, (num_parts, -1)).square().sum(-1).amax(dim=(1, 2)) for x in (query, key)]
    bounds = abs(settings.slope) * (squares[0] * squares[1]).sqrt()
    smallest, largest = float(bounds.min()), float(bounds.max())
    softmax_dtype = torch.float32 if smallest >= _SMALL_LOGIT and largest <= _HUGE_LOGIT else torch.float64
    return softmax_dtype, softmax_dtype if largest <= _LARGE_LOGIT else torch.float64
