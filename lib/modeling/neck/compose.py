"""The whole neck: base pyramid, transformer, and the level that the RPN alone looks at."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class PyramidNeck(nn.Module):
    """Base pyramid, then the Feature Pyramid Transformer if there is one, then P6.

    Args:
        pyramid: maps of the backbone by name and the sizes of the images -> maps of one width, same names and sizes.
        transformer: FPT on them, or None.
        has_p6: add ``p6``, the stride-2 max-pool of the coarsest level.
        strides: pixels a cell of the pyramid's maps, finest first, where somebody asks the neck for its ``strides``.
    """

    def __init__(
        self,
        *,
        pyramid: nn.Module,
        transformer: nn.Module | None = None,
        has_p6: bool = True,
        strides: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.transformer = transformer
        self.has_p6 = has_p6
        self.strides = (*strides, 2 * strides[-1]) if strides and has_p6 else tuple(strides)
        self.out_channels: int = (transformer or pyramid).out_channels  # type: ignore[assignment]

    def forward(
        self,
        features: OrderedDict[str, Tensor],
        *,
        sizes_hw: Sequence[tuple[int, int]] | None = None,
        padded_hw: tuple[int, int] | None = None,
    ) -> OrderedDict[str, Tensor]:
        """Maps of the backbone, finest first -> maps [N, out_channels, H_l, W_l] by the same names, and ``p6``.

        With sizes_hw, what comes out inside an image is what it gives alone, up to 1e-5 of the map's largest value in
        float32 (not BatchNorm in training, DropBlock, or GroupNorm of a single cell), and zero outside it. The
        backbone's own maps must not differ: its convolutions see the padding beyond the image's edge.

        Args:
            sizes_hw: of each image without padding; None where there is none.
            padded_hw: of the batch.
        """
        maps = self.pyramid(features, sizes_hw=sizes_hw, padded_hw=padded_hw)
        if self.transformer is not None:
            maps = self.transformer(maps, sizes_hw=sizes_hw, padded_hw=padded_hw)
        if self.has_p6:
            coarsest = next(reversed(maps.values()))
            maps = OrderedDict([*maps.items(), ("p6", F.max_pool2d(coarsest, 1, stride=2))])
        return maps
