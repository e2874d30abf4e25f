"""Normalisation layers: frozen affine BatchNorm, GroupNorm, and the functions that build and swap them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_BAND_NUMBERS = 1 << 17  # of a map, at a time: half a mebibyte in float32
_LARGE_MAP = 1 << 19  # numbers of one image, from which bands are faster than PyTorch's own gradient

NormBuilder = Callable[[int], nn.Module]
"""Builds a normalisation layer for a number of channels."""


class FrozenBatchNorm2d(nn.Module):
    """BatchNorm with fixed statistics and affine parameters: ``x * scale + bias`` for each channel.

    The four buffers carry torchvision's names, so weights of a trained BatchNorm load directly.

    Args:
        num_channels: channels of the input.
        eps: added to the variance.
        scale: value that ``weight`` starts from, until trained statistics are loaded.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_channels: int, *, eps: float = 1e-5, scale: float = 1.0) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.full((num_channels,), scale))
        self.register_buffer("bias", torch.zeros(num_channels))
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_var", torch.ones(num_channels))

    def fold(self) -> tuple[Tensor, Tensor]:
        """Scale and bias, float32 [C] each, that the layer amounts to."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape, dtype and memory format."""
        scale, bias = self.fold()
        shape = (1, -1, 1, 1)
        return torch.addcmul(bias.to(x.dtype).view(shape), x, scale.to(x.dtype).view(shape))

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, eps={self.eps}"


def num_groups_for(num_channels: int, num_groups: int) -> int:
    """The largest divisor of the channels that is at most ``num_groups`` and leaves two channels per group.

    A group of one channel has no variance where the map is one cell, and loses what is constant over a map.
    """
    groups = min(num_groups, max(1, num_channels // 2))
    while num_channels % groups:
        groups -= 1
    return groups


class GroupNorm(nn.GroupNorm):
    """GroupNorm with a faster gradient of large maps in half types and channels_last on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape."""
        is_slow = (
            input.device.type == "cpu"
            and input.dtype in (torch.float16, torch.bfloat16)
            and input.requires_grad
            and torch.is_grad_enabled()
            and not torch.compiler.is_compiling()
            and input.ndim == 4
            and input[:1].numel() >= _LARGE_MAP
            and input.is_contiguous(memory_format=torch.channels_last)
        )
        if not is_slow:
            return super().forward(input)
        out: Tensor = _HalfGroupNorm.apply(input, self.weight, self.bias, self.num_groups, self.eps)
        return out


class _HalfGroupNorm(torch.autograd.Function):
    """GroupNorm of x [N, C, H, W] in a half type and channels_last, weight and bias [C].

    With m and r, mean and inverse standard deviation of a group of D numbers, and the gradient g of the output:

        dx = r w g - r^2 s2 (x - m) - r s1      s1 = sum(w g) / D      s2 = r sum(w g (x - m)) / D

    Backward works on float32 copies of bands of the map that stay inside the cache.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, num_groups: int, eps: float) -> Tensor:
        number, channels, height, width = x.shape
        out, mean, inverse_std = torch.native_group_norm(
            x, weight, bias, number, channels, height * width, num_groups, eps
        )
        ctx.save_for_backward(x, weight, mean, inverse_std)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, means, inverse_stds = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        grad_x, of_weight, of_bias = torch.empty_like(x), torch.zeros_like(weight), torch.zeros_like(weight)
        num_groups, num_channels = means.shape[1], x.shape[1]
        for i in range(len(x)):
            cells, of_out, of_cells = (each[i].permute(1, 2, 0).flatten(0, 1) for each in (x, grad, grad_x))
            mean, r = (each[i].float().repeat_interleave(num_channels // num_groups) for each in (means, inverse_stds))
            sums, products = torch.zeros_like(mean), torch.zeros_like(mean)
            for g, band in _bands(of_out, cells):
                g, ones = g.float(), mean.new_ones(len(g))
                sums += ones @ g
                products += ones @ (g * (band - mean))
            of_bias += sums
            of_weight += products * r
            count = len(cells) * num_channels // num_groups
            s1, s2 = (_by_group(weight * each, num_groups) / count for each in (sums, products * r))
            constant = r * (r * s2 * mean - s1)
            for g, band, out in _bands(of_out, cells, of_cells):
                of_band = torch.addcmul(constant, band.float(), -r * r * s2)
                out.copy_(of_band.addcmul_(g.float(), r * weight))
        return grad_x, of_weight, of_bias, None, None


def _bands(*maps: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Some cells at a time of maps [cells, C]."""
    return zip(*(each.split(max(1, _BAND_NUMBERS // each.shape[1])) for each in maps), strict=True)


def _by_group(x: Tensor, num_groups: int) -> Tensor:
    """[C] -> [C]: each number becomes the sum of its group."""
    return x.unflatten(0, (num_groups, -1)).sum(1).repeat_interleave(len(x) // num_groups)


def group_norm(num_channels: int, *, num_groups: int = 32, eps: float = 1e-5) -> nn.GroupNorm:
    """GroupNorm; where the channels do not divide, the largest divisor below ``num_groups`` is taken."""
    return GroupNorm(num_groups_for(num_channels, num_groups), num_channels, eps=eps)


def replace_batch_norm(module: nn.Module, builder: NormBuilder | None) -> None:
    """Put ``builder(channels)`` in the place of every BatchNorm2d below ``module``; its name stays.

    Without a builder: frozen affine BatchNorm with the same epsilon, ready for the same weights.
    """
    for name, child in module.named_children():
        if not isinstance(child, nn.BatchNorm2d):
            replace_batch_norm(child, builder)
        elif builder is None:
            setattr(module, name, FrozenBatchNorm2d(child.num_features, eps=child.eps))
        else:
            setattr(module, name, builder(child.num_features))
