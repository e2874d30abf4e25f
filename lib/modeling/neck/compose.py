"""The whole neck: base pyramid, transformer, and the levels on top of them; or a single map of the backbone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from fpt.layers.conv import init_weight
from fpt.modeling.neck.area import level_area
from fpt.modeling.neck.conv_norm import ConvNorm


class CoarsestMap(nn.Module):
    """The coarsest map of a backbone as it is, in the place of a pyramid (C4, C5).

    Args:
        channels: of that map.
        stride: of that map.
    """

    def __init__(self, *, channels: int, stride: int) -> None:
        super().__init__()
        self.out_channels = channels
        self.strides = (stride,)

    def forward(
        self,
        features: OrderedDict[str, Tensor],
        *,
        sizes_hw: Sequence[tuple[int, int]] | None = None,
        padded_hw: tuple[int, int] | None = None,
    ) -> OrderedDict[str, Tensor]:
        """Maps by name, finest first -> the last of them, zero outside the images."""
        name, x = next(reversed(features.items()))
        return OrderedDict([(name, level_area(x, sizes_hw, padded_hw).clear(x))])


class ExtraLevels(nn.ModuleList):
    """Levels above a pyramid: 3x3 convolutions of stride 2, each but the first on the ReLU of the one before (P6, P7).

    Source: Lin et al. 2017 (RetinaNet), section 4.

    Args:
        in_channels: channels of the map that the first one sees.
        out_channels: channels of each level.
        num_levels: how many.
        from_backbone: the first one sees the backbone's coarsest map (C5), not the pyramid's (P5).
    """

    def __init__(self, *, in_channels: int, out_channels: int, num_levels: int, from_backbone: bool) -> None:
        widths = [in_channels] + [out_channels] * (num_levels - 1)
        super().__init__(ConvNorm(width, out_channels, stride=2) for width in widths)
        self.from_backbone = from_backbone
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init_weight(module, method="XavierFill")

    def forward(
        self,
        maps: OrderedDict[str, Tensor],
        features: OrderedDict[str, Tensor],
        *,
        sizes_hw: Sequence[tuple[int, int]] | None,
        padded_hw: tuple[int, int] | None,
    ) -> OrderedDict[str, Tensor]:
        """The maps of the pyramid, and after them ``p6``, ``p7`` and so on."""
        x = next(reversed((features if self.from_backbone else maps).values()))
        area = level_area(x, sizes_hw, padded_hw)
        x = area.clear(x)
        extended = OrderedDict(maps)
        for index, conv in enumerate(self):
            x, area = F.relu(x) if index else x, area.halved(x)
            x = extended[f"p{6 + index}"] = conv(x, area)
        return extended


class PyramidNeck(nn.Module):
    """Base pyramid, then the Feature Pyramid Transformer if there is one, then the levels on top.

    Args:
        pyramid: maps of the backbone by name and the sizes of the images -> maps of one width, same names and sizes.
        transformer: FPT on them, or None.
        has_p6: add ``p6``, the stride-2 max-pool of the coarsest level.
        extra_levels: convolutions that make the levels on top instead, or None.
        strides: pixels a cell of the pyramid's maps, finest first, where somebody asks the neck for its ``strides``.
        num_skipped: finest maps of the backbone that the pyramid does not see.
    """

    def __init__(
        self,
        *,
        pyramid: nn.Module,
        transformer: nn.Module | None = None,
        has_p6: bool = True,
        extra_levels: ExtraLevels | None = None,
        strides: Sequence[int] = (),
        num_skipped: int = 0,
    ) -> None:
        super().__init__()
        self.num_skipped = num_skipped
        self.pyramid = pyramid
        self.transformer = transformer
        self.has_p6 = has_p6
        self.extra_levels = extra_levels
        num_extra = int(has_p6) if extra_levels is None else len(extra_levels)
        self.strides = (*strides, *(strides[-1] * 2**number for number in range(1, num_extra + 1))) if strides else ()
        self.out_channels: int = (transformer or pyramid).out_channels  # type: ignore[assignment]
        self.context_channels: tuple[int, ...] = getattr(pyramid, "context_channels", ())

    def context(self, features: OrderedDict[str, Tensor]) -> list[Tensor]:
        """Maps of ``context_channels`` beside the levels, which a head of semantic segmentation reads, too."""
        return self.pyramid.context(features) if self.context_channels else []  # type: ignore[operator]

    def base_maps(
        self,
        features: OrderedDict[str, Tensor],
        *,
        sizes_hw: Sequence[tuple[int, int]] | None = None,
        padded_hw: tuple[int, int] | None = None,
    ) -> OrderedDict[str, Tensor]:
        """Maps of the backbone, finest first -> those of the base pyramid, which the transformer sees."""
        seen = OrderedDict(list(features.items())[self.num_skipped :])
        return self.pyramid(seen, sizes_hw=sizes_hw, padded_hw=padded_hw)

    def forward(
        self,
        features: OrderedDict[str, Tensor],
        *,
        sizes_hw: Sequence[tuple[int, int]] | None = None,
        padded_hw: tuple[int, int] | None = None,
    ) -> OrderedDict[str, Tensor]:
        """Maps of the backbone, finest first -> maps [N, out_channels, H_l, W_l] by the same names, then ``p6`` ...

        With sizes_hw, what comes out inside an image is what it gives alone, up to 1e-5 of the map's largest value in
        float32 (not BatchNorm in training, DropBlock, or GroupNorm of a single cell), and zero outside it. The
        backbone's own maps must not differ: its convolutions see the padding beyond the image's edge.

        Args:
            sizes_hw: of each image without padding; None where there is none.
            padded_hw: of the batch.
        """
        maps = self.base_maps(features, sizes_hw=sizes_hw, padded_hw=padded_hw)
        if self.transformer is not None:
            maps = self.transformer(maps, sizes_hw=sizes_hw, padded_hw=padded_hw)
        if self.extra_levels is not None:
            return self.extra_levels(maps, features, sizes_hw=sizes_hw, padded_hw=padded_hw)
        if self.has_p6:
            coarsest = next(reversed(maps.values()))
            maps = OrderedDict([*maps.items(), ("p6", F.max_pool2d(coarsest, 1, stride=2))])
        return maps
