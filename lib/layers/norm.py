"""Normalisation layers: frozen affine BatchNorm, GroupNorm, and the functions that build and swap them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

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


def group_norm(num_channels: int, *, num_groups: int = 32, eps: float = 1e-5) -> nn.GroupNorm:
    """GroupNorm; where the channels do not divide, the largest divisor below ``num_groups`` is taken."""
    return nn.GroupNorm(num_groups_for(num_channels, num_groups), num_channels, eps=eps)


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
