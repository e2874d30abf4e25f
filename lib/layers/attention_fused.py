"""The mixture of softmaxes on torch's fused attention kernels: one call of scaled_dot_product_attention a part.

This is the way on a GPU, on the meta device, and where a graph is traced (torch.compile, torch.export). A fused kernel
takes queries, keys and values of one head size, a multiple of 8 up to 256, with contiguous channels; everything else
that the logits need (-|k|^2, the mask) becomes channels of the operands. torch's math fallback, which builds the matrix
of all queries by all keys, is excluded: a call that no fused kernel accepts is an error.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.nn.attention import SDPBackend, sdpa_kernel

from fpt.layers.attention_chunks import MixtureSettings

MAX_HEAD_SIZE = 256

_BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION]
_MULTIPLE = 8
_HALF_TYPES = (torch.float16, torch.bfloat16)
_BIAS_FACTOR = 64.0  # in half types the bias is divided between query and key, so that neither overflows
_MASK_OF_QUERY, _MASK_OF_KEY = 128.0, -32768.0
_MIN_SLOPE = 1e-3


def is_fusable(query: Tensor, value: Tensor, num_parts: int, settings: MixtureSettings) -> bool:
    """Whether fused kernels accept these operands; float64 and very large heads are for the chunks."""
    is_type_known = query.dtype in (torch.float32, *_HALF_TYPES)
    return is_type_known and _head_size(query, value, num_parts) <= MAX_HEAD_SIZE and abs(settings.slope) >= _MIN_SLOPE


def fused_mixture_attention(
    query: Tensor, key: Tensor, value: Tensor, shares: Tensor, padding: Tensor | None, settings: MixtureSettings
) -> Tensor:
    """As MixtureOfSoftmaxes of attention_chunks: [B, Nq, Dk], [B, Nk, Dk], [B, Nk, Dv], [B, M] -> [B, Nq, Dv].

    All in the type of value; the kernels keep logits and softmax in float32.
    """
    num_parts = shares.shape[1]
    size = _head_size(query, value, num_parts)
    query, key = query.to(value.dtype), key.to(value.dtype)
    if settings.is_euclidean and value.dtype not in _HALF_TYPES:
        shift = key.detach().mean(dim=1, keepdim=True)  # changes no distance; small numbers lose fewer digits
        query, key = query - shift, key - shift
    queries, keys = (x.unflatten(-1, (num_parts, -1)).transpose(1, 2) for x in (query, key))
    queries, keys = _with_bias(queries, keys, padding, is_euclidean=settings.is_euclidean)
    queries, keys = (F.pad(x, (0, size - x.shape[-1])) for x in (queries, keys))
    values = F.pad(value, (0, size - value.shape[-1])).contiguous()[:, None]
    out = torch.zeros_like(query[..., :1])
    for n in range(num_parts):
        with _fused_kernels():
            part = F.scaled_dot_product_attention(
                queries[:, n : n + 1], keys[:, n : n + 1], values, scale=settings.slope
            )
        out = out + shares[:, n, None, None].to(part.dtype) * part[:, 0]
    return out[..., : value.shape[-1]]


def _fused_kernels() -> AbstractContextManager[None]:
    """No math fallback where kernels run; a traced graph decides for itself."""
    return nullcontext() if torch.compiler.is_compiling() else sdpa_kernel(_BACKENDS)


def _with_bias(queries: Tensor, keys: Tensor, padding: Tensor | None, *, is_euclidean: bool) -> tuple[Tensor, Tensor]:
    """Channels of [B, M, N, d] operands that add -|k|^2 / 2, and the mask, to their product.

    A half type holds |k|^2 / 2 as a sum of three numbers: one alone would lose digits that decide between near keys.
    """
    query_channels, key_channels = [queries], [keys]
    dtype = keys.dtype
    if is_euclidean:
        is_half = dtype in _HALF_TYPES
        factor = _BIAS_FACTOR if is_half else 1.0
        rest = keys.float().square().sum(-1, keepdim=True) * (-0.5 / factor)
        for _ in range(3 if is_half else 1):
            rounded = rest.to(dtype)
            key_channels.append(rounded)
            query_channels.append(torch.full_like(queries[..., :1], factor))
            rest = rest - rounded.detach().float()
    if padding is not None:
        masked = padding[:, None, :, None].to(dtype) * _MASK_OF_KEY
        key_channels.append(masked.expand(-1, keys.shape[1], -1, -1))
        query_channels.append(torch.full_like(queries[..., :1], _MASK_OF_QUERY))
    return torch.cat(query_channels, dim=-1), torch.cat(key_channels, dim=-1)


def _head_size(query: Tensor, value: Tensor, num_parts: int) -> int:
    """Channels of a head: a part of q and k with up to 4 channels of bias, or of v if those are more."""
    size = max(query.shape[-1] // num_parts + 4, value.shape[-1])
    return -(-size // _MULTIPLE) * _MULTIPLE
