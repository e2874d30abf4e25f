"""Base pyramids whose levels have one resolution, that of the backbone's last map: UFP, PPM and ASPP."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from fpt.modeling.neck.area import WHOLE, NormFactory, Sizes
from fpt.modeling.neck.conv_norm import ConvNorm


class UniformPyramid(nn.Module):
    """What the three share: maps of the backbone by name -> levels of one size, the most local one first.

    Images of a batch must have one size.

    Attributes:
        in_channels: of the backbone's last map.
        out_channels: of each level.
        strides: the same for each level.
        context_channels: channels of the maps beside the levels that a head reads, too.
    """

    def __init__(self, *, in_channels: int, out_channels: int, stride: int, num_levels: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.strides = (stride,) * num_levels
        self.context_channels: tuple[int, ...] = ()

    def forward(
        self,
        features: OrderedDict[str, Tensor],
        sizes_hw: Sizes | None = None,
        padded_hw: tuple[int, int] | None = None,
    ) -> OrderedDict[str, Tensor]:
        """{name: [B, C_l, H_l, W_l]} -> {"level0": [B, out_channels, H, W], ...}, H and W those of the last map.

        Raises:
            ValueError: the images are padded, which means of all cells would see.
        """
        if sizes_hw is not None and any(tuple(size) != tuple(padded_hw or ()) for size in sizes_hw):
            raise ValueError(f"{type(self).__name__} takes images of one size, got {list(sizes_hw)}")
        levels = self.levels(next(reversed(features.values())))
        return OrderedDict((f"level{index}", level) for index, level in enumerate(levels))

    def levels(self, x: Tensor) -> list[Tensor]:
        """The last map [B, in_channels, H, W] -> levels [B, out_channels, H, W]."""
        raise NotImplementedError

    def context(self, features: OrderedDict[str, Tensor]) -> list[Tensor]:
        """Maps [B, C, H, W] of ``context_channels`` that a head reads beside the levels."""
        del features
        return []

    def initialise(self) -> None:
        """Kaiming-uniform convolutions and zero biases."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class GlobalConvolution(nn.Module):
    """A kernel of k x k as the sum of two pairs without a non-linearity between: k x 1, 1 x k and 1 x k, k x 1.

    Source: Peng et al. 2017 (Large Kernel Matters), section 3.1. k = 1 is a 1x1 convolution.

    Args:
        channels: of input and output.
        kernel: k, odd.
        norm: makes the normalisation of the sum, or None.
    """

    def __init__(self, *, channels: int, kernel: int, norm: NormFactory | None = None) -> None:
        super().__init__()
        self.columns_first, self.rows_first = nn.Sequential(), nn.Sequential()
        has_bias = norm is None
        if kernel == 1:
            self.columns_first.append(nn.Conv2d(channels, channels, 1, bias=has_bias))
        else:
            tall, wide = ((kernel, 1), (kernel // 2, 0)), ((1, kernel), (0, kernel // 2))
            for pair, shapes in ((self.columns_first, (tall, wide)), (self.rows_first, (wide, tall))):
                for size, padding in shapes:
                    pair.append(nn.Conv2d(channels, channels, size, padding=padding, bias=has_bias))
        self.norm = norm(channels) if norm is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        out = self.columns_first(x)
        if len(self.rows_first):
            out = out + self.rows_first(x)
        return WHOLE.normalise(self.norm, out)


class UnscathedPyramid(UniformPyramid):
    """UFP, "unscathed feature pyramid" of "Feature Pyramid Transformer", section 4.2: one global convolution a level.

    The 1x1 reduction before them, with a ReLU, is ours.

    Args:
        in_channels: of the backbone's last map.
        out_channels: of each level.
        stride: of that map.
        kernels: side of each level's kernel, odd, the smallest first.
        norm: makes the normalisation after each convolution, or None.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        stride: int,
        kernels: Sequence[int] = (1, 7, 15, 31),
        norm: NormFactory | None = None,
    ) -> None:
        super().__init__(in_channels=in_channels, out_channels=out_channels, stride=stride, num_levels=len(kernels))
        self.reduction = ConvNorm(in_channels, out_channels, kernel=1, norm=norm)
        self.convs = nn.ModuleList(
            GlobalConvolution(channels=out_channels, kernel=kernel, norm=norm) for kernel in kernels
        )
        self.initialise()

    def levels(self, x: Tensor) -> list[Tensor]:
        reduced = F.relu(self.reduction(x, WHOLE))
        return [conv(reduced) for conv in self.convs]


class PoolingPyramid(UniformPyramid):
    """PPM of Zhao et al. 2017 (PSPNet): averages over b x b parts of the map, a 1x1 convolution each, brought back.

    Each level has a quarter of the channels (of as many parts as there are levels); a head reads the map itself, too.

    Args:
        in_channels: of the backbone's last map.
        stride: of that map.
        bins: parts a side of each level.
        norm: makes the normalisation after each convolution, or None.
    """

    def __init__(
        self, *, in_channels: int, stride: int, bins: Sequence[int] = (1, 2, 3, 6), norm: NormFactory | None = None
    ) -> None:
        width = in_channels // len(bins)
        super().__init__(in_channels=in_channels, out_channels=width, stride=stride, num_levels=len(bins))
        self.bins = tuple(sorted(bins, reverse=True))
        self.convs = nn.ModuleList(ConvNorm(in_channels, width, kernel=1, norm=norm) for _ in self.bins)
        self.context_channels = (in_channels,)
        self.initialise()

    def levels(self, x: Tensor) -> list[Tensor]:
        size = x.shape[-2:]
        return [
            F.interpolate(
                F.relu(conv(F.adaptive_avg_pool2d(x, side), WHOLE)), size=size, mode="bilinear", align_corners=False
            )
            for side, conv in zip(self.bins, self.convs, strict=True)
        ]

    def context(self, features: OrderedDict[str, Tensor]) -> list[Tensor]:
        return [next(reversed(features.values()))]


class AtrousPyramid(UniformPyramid):
    """ASPP of Chen et al. 2017 (DeepLab v3): a 1x1 convolution, and dilated 3x3 ones; a head reads a global mean, too.

    Args:
        in_channels: of the backbone's last map.
        out_channels: of each level, and of the global mean.
        stride: of that map.
        rates: dilations of the 3x3 convolutions, rising.
        norm: makes the normalisation after each convolution, or None.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        stride: int,
        rates: Sequence[int] = (12, 24, 36),
        norm: NormFactory | None = None,
    ) -> None:
        super().__init__(in_channels=in_channels, out_channels=out_channels, stride=stride, num_levels=1 + len(rates))
        self.convs = nn.ModuleList([ConvNorm(in_channels, out_channels, kernel=1, norm=norm)])
        self.convs.extend(ConvNorm(in_channels, out_channels, dilation=rate, norm=norm) for rate in rates)
        self.pooled = ConvNorm(in_channels, out_channels, kernel=1, norm=norm)
        self.context_channels = (out_channels,)
        self.initialise()

    def levels(self, x: Tensor) -> list[Tensor]:
        return [F.relu(conv(x, WHOLE)) for conv in self.convs]

    def context(self, features: OrderedDict[str, Tensor]) -> list[Tensor]:
        x = next(reversed(features.values()))
        pooled = F.relu(self.pooled(x.mean(dim=(2, 3), keepdim=True), WHOLE))
        return [pooled.expand(-1, -1, *x.shape[-2:])]
