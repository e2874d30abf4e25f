"""ResNet (He et al. 2016) as a backbone: maps of strides 4, 8, 16 and 32; parameter names as in torchvision."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from fpt.layers.conv import apply_conv_norm, init_weight

LEVELS = ("res2", "res3", "res4", "res5")
STRIDES = (4, 8, 16, 32)
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}

ResNorm = Callable[[int, bool], nn.Module]
"""Builds the normalisation for a number of channels; True: the last one of a residual branch."""


def freeze(module: nn.Module) -> None:
    """Stop the training of a module's parameters and put it into evaluation mode."""
    module.requires_grad_(False)
    module.eval()


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (ResNet-18 and -34)."""

    expansion = 1

    def __init__(self, *, in_channels: int, channels: int, stride: int, stride_in_1x1: bool, norm: ResNorm) -> None:
        super().__init__()
        del stride_in_1x1  # there is no 1x1 convolution to stride in
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = norm(channels, False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = norm(channels, True)
        self.downsample = _shortcut(in_channels, channels, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> [N, channels, H / stride, W / stride]."""
        out = F.relu(apply_conv_norm(self.conv1, self.bn1, x), inplace=True)
        out = apply_conv_norm(self.conv2, self.bn2, out)
        return F.relu(out.add_(_apply_shortcut(self.downsample, x)), inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut (ResNet-50 and deeper)."""

    expansion = 4

    def __init__(self, *, in_channels: int, channels: int, stride: int, stride_in_1x1: bool, norm: ResNorm) -> None:
        super().__init__()
        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, channels, 1, stride=stride_1x1, bias=False)
        self.bn1 = norm(channels, False)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride_3x3, padding=1, bias=False)
        self.bn2 = norm(channels, False)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
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


class ResNet(nn.Module):
    """Backbone of four stages.

    Args:
        depth: 18, 34, 50, 101 or 152.
        norm: builder of normalisation layers, called with the channels and whether the layer ends a residual branch.
        stride_in_1x1: a bottleneck strides in its first 1x1 convolution (caffe) or in its 3x3 (torchvision).
        freeze_at: 0 trains all, 1 freezes the stem, 2 res2 as well, up to 5; frozen parts stay in evaluation mode.
        base_channels: channels of the stem; 64 in all published networks.
        num_blocks: blocks of the four stages, where they are not those of ``depth``.
    """

    def __init__(
        self,
        *,
        depth: int,
        norm: ResNorm,
        stride_in_1x1: bool = False,
        freeze_at: int = 2,
        base_channels: int = 64,
        num_blocks: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        block = BasicBlock if depth < 50 else Bottleneck
        self.freeze_at = freeze_at
        self.conv1 = nn.Conv2d(3, base_channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = norm(base_channels, False)
        channels_in, channels_out = base_channels, []
        for index, count in enumerate(num_blocks or BLOCKS[depth]):
            layers = []
            for position in range(count):
                stride = 2 if index > 0 and position == 0 else 1
                channels = base_channels * 2**index
                layers.append(
                    block(
                        in_channels=channels_in,
                        channels=channels,
                        stride=stride,
                        stride_in_1x1=stride_in_1x1,
                        norm=norm,
                    )
                )
                channels_in = channels * block.expansion
            self.add_module(f"layer{index + 1}", nn.Sequential(*layers))
            channels_out.append(channels_in)
        self.out_channels = tuple(channels_out)
        self.strides = STRIDES
        self._init_weights()
        for module in self._frozen():
            freeze(module)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Images [N, 3, H, W] -> maps ``res2`` .. ``res5`` of strides 4, 8, 16, 32."""
        x = F.relu(apply_conv_norm(self.conv1, self.bn1, x), inplace=True)
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        maps: OrderedDict[str, Tensor] = OrderedDict()
        for level, stage in zip(LEVELS, self._stages(), strict=True):
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
        return [self.get_submodule(f"layer{index + 1}") for index in range(len(LEVELS))]

    def _frozen(self) -> list[nn.Module]:
        parts = [nn.ModuleList([self.conv1, self.bn1]), *self._stages()]
        return parts[: self.freeze_at]

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init_weight(module, method="MSRAFill")
