"""Normalisation layers: frozen affine BatchNorm, GroupNorm, and the functions that build and swap them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_PART_NUMBERS = 1 << 22  # of a map, at a time: 16 MiB in float32
_LARGE_MAP = 1 << 19  # numbers of one image, from which float32 copies are faster than a gradient in half types

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

    Backward is PyTorch's on float32 copies, of some groups at a time: that of half types is slower.
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
        (number, channels, height, width), num_groups = x.shape, means.shape[1]
        grad_x, of_weight, of_bias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
        at_once = max(1, _PART_NUMBERS * num_groups // x.numel())
        for first in range(0, num_groups, at_once):
            groups = slice(first, min(first + at_once, num_groups))
            part = slice(*(edge * channels // num_groups for edge in (groups.start, groups.stop)))
            grad_x[:, part], of_weight[part], of_bias[part] = torch.ops.aten.native_group_norm_backward(
                *(_float_copy(each[:, part]) for each in (grads[0], x)),
                *(each[:, groups].float().contiguous() for each in (means, inverse_stds)),
                weight[part],
                number,
                part.stop - part.start,
                height * width,
                groups.stop - groups.start,
                [True, True, True],
            )
        return grad_x, of_weight, of_bias, None, None


def _float_copy(x: Tensor) -> Tensor:
    return x.to(torch.float32, memory_format=torch.channels_last)


def group_norm(num_channels: int, *, num_groups: int = 32, eps: float = 1e-5) -> nn.GroupNorm:
    """GroupNorm; where the channels do not divide, the largest divisor below ``num_groups`` is taken."""
    return GroupNorm(num_groups_for(num_channels, num_groups), num_channels, eps=eps)


def frozen_batch_norms(model: nn.Module) -> list[nn.Module]:
    """The BatchNorms none of whose parameters is trained, which have some: their statistics should rest, too."""
    found = []
    for module in model.modules():
        own = list(module.parameters(recurse=False)) if isinstance(module, nn.modules.batchnorm._NormBase) else []
        if own and not any(parameter.requires_grad for parameter in own):
            found.append(module)
    return found


def replace_batch_norm(module: nn.Module, builder: NormBuilder | None) -> None:
    """Put ``builder(channels)`` in the place of every BatchNorm2d below ``module``; its name stays.

    Without a builder: frozen affine BatchNorm, ready for the same weights. A BatchNorm keeps epsilon and momentum.
    """
    for name, child in module.named_children():
        if not isinstance(child, nn.BatchNorm2d):
            replace_batch_norm(child, builder)
        elif builder is None:
            setattr(module, name, FrozenBatchNorm2d(child.num_features, eps=child.eps))
        else:
            norm = builder(child.num_features)
            if isinstance(norm, nn.BatchNorm2d):  # its weights were trained with these
                norm.eps, norm.momentum = child.eps, child.momentum
            setattr(module, name, norm)
