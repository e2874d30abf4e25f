"""ResNet (He et al. 2016) and ResNeXt (Xie et al. 2017) as backbones; parameter names as in torchvision."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from fpt.layers.conv import apply_conv_norm, init_weight
from fpt.utils.errors import UserError

LEVELS = ("res2", "res3", "res4", "res5")
STRIDES = (4, 8, 16, 32)
STEM_CHANNELS = 64
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}

ResNorm = Callable[[int, bool], nn.Module]
"""Builds the normalisation for a number of channels; True: the last one of a residual branch."""


@dataclass(frozen=True, kw_only=True)
class BlockSettings:
    """What all blocks of a network share.

    Attributes:
        norm: builder of normalisation layers, called with the channels and whether the layer ends a residual branch.
        stride_in_1x1: a bottleneck strides in its first 1x1 convolution (caffe) or in its 3x3 (torchvision).
        groups: of the 3x3 convolution of a bottleneck (ResNeXt).
        width_per_group: channels of each group in the first stage of a network with a stem of 64 channels.
    """

    norm: ResNorm
    stride_in_1x1: bool = False
    groups: int = 1
    width_per_group: int = 64


def freeze(module: nn.Module) -> None:
    """Stop the training of a module's parameters and put it into evaluation mode."""
    module.requires_grad_(False)
    module.eval()


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (ResNet-18 and -34)."""

    expansion = 1

    def __init__(
        self, *, in_channels: int, channels: int, stride: int, settings: BlockSettings, dilation: int = 1
    ) -> None:
        super().__init__()
        norm = settings.norm
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)
        self.bn1 = norm(channels, False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = norm(channels, True)
        self.downsample = _shortcut(in_channels, channels, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> [N, channels, H / stride, W / stride]."""
        out = F.relu(apply_conv_norm(self.conv1, self.bn1, x), inplace=True)
        out = apply_conv_norm(self.conv2, self.bn2, out)
        return F.relu(out.add_(_apply_shortcut(self.downsample, x)), inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut (ResNet-50 and deeper, ResNeXt)."""

    expansion = 4

    def __init__(
        self, *, in_channels: int, channels: int, stride: int, settings: BlockSettings, dilation: int = 1
    ) -> None:
        super().__init__()
        norm, groups = settings.norm, settings.groups
        stride_1x1, stride_3x3 = (stride, 1) if settings.stride_in_1x1 else (1, stride)
        width, out_channels = channels * settings.width_per_group // STEM_CHANNELS * groups, channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, stride=stride_1x1, bias=False)
        self.bn1 = norm(width, False)
        self.conv2 = nn.Conv2d(
            width, width, 3, stride=stride_3x3, padding=dilation, dilation=dilation, groups=groups, bias=False
        )
        self.bn2 = norm(width, False)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = norm(out_channels, True)
        self.downsample = _shortcut(in_channels, out_channels, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> [N, 4 * channels, H / stride, W / stride]."""
        out = F.relu(apply_conv_norm(self.conv1, self.bn1, x), inplace=True)
        out = F.relu(apply_conv_norm(self.conv2, self.bn2, out), inplace=True)
        out = apply_conv_norm(self.conv3, self.bn3, out)
        return F.relu(out.add_(_apply_shortcut(self.downsample, x)), inplace=True)


def _shortcut(in_channels: int, out_channels: int, stride: int, norm: ResNorm) -> nn.Sequential:
    """The projection of a shortcut; an empty sequence where the shapes agree."""
    if stride == 1 and in_channels == out_channels:
        return nn.Sequential()
    conv = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
    return nn.Sequential(conv, norm(out_channels, False))


def _apply_shortcut(shortcut: nn.Sequential, x: Tensor) -> Tensor:
    if len(shortcut) == 0:
        return x
    conv, norm = shortcut
    return apply_conv_norm(conv, norm, x)  # type: ignore[arg-type]


def make_stage(
    *,
    depth: int,
    num_blocks: int,
    in_channels: int,
    channels: int,
    stride: int,
    settings: BlockSettings,
    dilation: int = 1,
    grid: Sequence[int] = (),
) -> nn.Sequential:
    """The blocks of one stage; the first one has the stride.

    Args:
        depth: of the network, which decides the kind of block.
        num_blocks: how many.
        in_channels: channels of the input.
        channels: of the 3x3 convolutions of a plain ResNet; the output has ``expansion`` times as many.
        stride: of the stage.
        settings: what all blocks share.
        dilation: of the 3x3 convolutions.
        grid: factors of the dilation of each block (multi-grid of Chen et al. 2017, DeepLab v3); none = 1.
    """
    block = block_of(depth)
    widths = [in_channels] + [channels * block.expansion] * (num_blocks - 1)
    strides = [stride] + [1] * (num_blocks - 1)
    factors = grid or [1] * num_blocks
    return nn.Sequential(
        *(
            block(in_channels=width, channels=channels, stride=step, settings=settings, dilation=dilation * factor)
            for width, step, factor in zip(widths, strides, factors, strict=True)
        )
    )


def make_deep_stem(base_channels: int, norm: ResNorm) -> nn.Sequential:
    """Three 3x3 convolutions, the first of stride 2, before the stem's normalisation (He et al. 2019)."""
    half = base_channels // 2
    return nn.Sequential(
        nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False),
        norm(half, False),
        nn.ReLU(inplace=True),
        nn.Conv2d(half, half, 3, padding=1, bias=False),
        norm(half, False),
        nn.ReLU(inplace=True),
        nn.Conv2d(half, base_channels, 3, padding=1, bias=False),
    )


def block_of(depth: int) -> type[BasicBlock | Bottleneck]:
    """The kind of block of a network of this depth."""
    return BasicBlock if depth < 50 else Bottleneck


def init_residual(module: nn.Module) -> None:
    """Start every convolution below a module as residual networks do (He et al. 2015)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            init_weight(layer, method="MSRAFill")


class ResNet(nn.Module):
    """Backbone of four stages, or of the first three (C4).

    Args:
        depth: 18, 34, 50, 101 or 152.
        settings: what all blocks share.
        freeze_at: 0 trains all, 1 freezes the stem, 2 res2 as well, up to 5; frozen parts stay in evaluation mode.
        base_channels: channels of the stem; 64 in all published networks.
        num_blocks: blocks of the four stages, where they are not those of ``depth``.
        num_stages: 4, or 3 without res5.
        res4_dilation: dilation of res4; above 1 it keeps the stride of res3.
        res5_dilation: dilation of res5; above 1 it keeps the stride of res4.
        multi_grid: factors of the dilation of res5's blocks; none = 1.
        deep_stem: three 3x3 convolutions in the place of the 7x7.

    Raises:
        UserError: multi_grid has another number of factors than res5 has blocks.
    """

    def __init__(
        self,
        *,
        depth: int,
        settings: BlockSettings,
        freeze_at: int = 2,
        base_channels: int = STEM_CHANNELS,
        num_blocks: Sequence[int] | None = None,
        num_stages: int = 4,
        res4_dilation: int = 1,
        res5_dilation: int = 1,
        multi_grid: Sequence[int] = (),
        deep_stem: bool = False,
    ) -> None:
        super().__init__()
        counts = num_blocks or BLOCKS[depth]
        if multi_grid and len(multi_grid) != counts[3]:
            raise UserError(f"RESNETS.MULTI_GRID is {tuple(multi_grid)!r}, but res5 has {counts[3]} blocks: one each")
        self.freeze_at = freeze_at
        plain = nn.Conv2d(3, base_channels, 7, stride=2, padding=3, bias=False)
        self.conv1 = make_deep_stem(base_channels, settings.norm) if deep_stem else plain
        self.bn1 = settings.norm(base_channels, False)
        expansion = block_of(depth).expansion
        dilations = (1, 1, res4_dilation, res5_dilation)
        steps = (1, *(2 if dilation == 1 else 1 for dilation in dilations[1:]))
        self.strides = tuple(STRIDES[0] * math.prod(steps[: index + 1]) for index in range(num_stages))
        self.out_channels = tuple(base_channels * 2**index * expansion for index in range(num_stages))
        for index, count in enumerate(counts[:num_stages]):
            stage = make_stage(
                depth=depth,
                num_blocks=count,
                in_channels=self.out_channels[index - 1] if index else base_channels,
                channels=base_channels * 2**index,
                stride=steps[index],
                settings=settings,
                dilation=dilations[index],
                grid=multi_grid if index == 3 else (),
            )
            self.add_module(f"layer{index + 1}", stage)
        init_residual(self)
        for module in self._frozen():
            freeze(module)
        self._depth, self._base_channels, self._settings = depth, base_channels, settings
        self._res5_blocks = counts[3]

    @property
    def res5_channels(self) -> int:
        """Channels that res5 makes, here or in the heads."""
        return self._base_channels * 8 * block_of(self._depth).expansion

    def make_res5(self, *, stride: int, dilation: int = 1) -> nn.Sequential:
        """A res5 for heads on RoI features: its blocks, with new weights."""
        stage = make_stage(
            depth=self._depth,
            num_blocks=self._res5_blocks,
            in_channels=self.res5_channels // 2,
            channels=self._base_channels * 8,
            stride=stride,
            settings=self._settings,
            dilation=dilation,
        )
        init_residual(stage)
        return stage

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Images [N, 3, H, W] -> maps ``res2`` .. ``res5`` (``res4`` without the last stage) of ``strides``."""
        if isinstance(self.conv1, nn.Conv2d):
            x = apply_conv_norm(self.conv1, self.bn1, x)
        else:
            x = self.bn1(self.conv1(x))
        x = F.relu(x, inplace=True)
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        maps: OrderedDict[str, Tensor] = OrderedDict()
        for level, stage in zip(LEVELS, self._stages(), strict=False):
            x = stage(x)
            maps[level] = x
        return maps

    def train(self, mode: bool = True) -> ResNet:
        """As nn.Module's, but frozen parts stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen():
            module.eval()
        return self

    def _stages(self) -> list[nn.Module]:
        return [self.get_submodule(f"layer{index + 1}") for index in range(len(self.strides))]

    def _frozen(self) -> list[nn.Module]:
        parts = [nn.ModuleList([self.conv1, self.bn1]), *self._stages()]
        return parts[: self.freeze_at]
