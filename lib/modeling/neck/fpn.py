"""Base pyramids: BFP (laterals alone), FPN (with a top-down path), BPA (with a bottom-up path after it)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fpt.layers.conv import init_weight
from fpt.modeling.neck.area import NormFactory, Sizes, level_area
from fpt.modeling.neck.conv_norm import ConvNorm
from fpt.modeling.neck.pyramid_checks import check_maps, check_norm


class FeaturePyramid(nn.Module):
    """Maps of a backbone -> maps of `out_channels` channels and the same sizes, finest first.

    Sources: FPN (Lin et al., 2017), PANet (Liu et al., 2018) for the bottom-up path; BFP is the base pyramid of the
    detection experiments of "Feature Pyramid Transformer", section 4.1.

    Args:
        in_channels: channels of the backbone's maps, finest first.
        out_channels: channels of each output.
        top_down: add the upsampled coarser level to each level (FPN, BPA); False = 1x1 laterals alone (BFP).
        bottom_up: add PANet's path from the finest to the coarsest level (BPA).
        norm: makes the normalisation after each convolution, or None.
        zero_init_lateral: start the laterals below the top at zero.
        finest_only: the finest map is the only output (P2only), and has the only 3x3 convolution.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        out_channels: int,
        top_down: bool = True,
        bottom_up: bool = False,
        norm: NormFactory | None = None,
        zero_init_lateral: bool = False,
        finest_only: bool = False,
    ) -> None:
        super().__init__()
        if bottom_up and not top_down:
            raise ValueError("the bottom-up path stands on the top-down path: top_down must be True")
        check_norm(norm)
        self.in_channels = tuple(in_channels)
        self.out_channels = out_channels
        self.finest_only = finest_only
        self.laterals = nn.ModuleList(ConvNorm(c, out_channels, kernel=1, norm=norm) for c in in_channels)
        self.outputs, self.reductions, self.merges = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        if top_down:
            self.outputs.extend(
                ConvNorm(out_channels, out_channels, norm=norm)
                for _ in (in_channels[:1] if finest_only else in_channels)
            )
        if bottom_up:
            steps = range(len(in_channels) - 1)
            self.reductions.extend(ConvNorm(out_channels, out_channels, stride=2, norm=norm) for _ in steps)
            self.merges.extend(ConvNorm(out_channels, out_channels, norm=norm) for _ in steps)
        self._initialise(zero_init_lateral)

    def forward(
        self,
        features: OrderedDict[str, Tensor],
        sizes_hw: Sizes | None = None,
        padded_hw: tuple[int, int] | None = None,
    ) -> OrderedDict[str, Tensor]:
        """{name: [B, C_l, H_l, W_l]}, finest first -> {same name: [B, out_channels, H_l, W_l]}.

        Args:
            features: maps of the backbone.
            sizes_hw: height and width in pixels of each image's own area; None = no padding. Cells outside it are
                zeroed.
            padded_hw: height and width in pixels of the padded batch; needed with sizes_hw.

        Raises:
            ValueError: maps of other channels or number than the pyramid was built for; sizes_hw that do not fit.
        """
        check_maps(features, self.in_channels)
        areas = [level_area(x, sizes_hw, padded_hw) for x in features.values()]
        maps = [
            lateral(area.clear(x), area)
            for lateral, x, area in zip(self.laterals, features.values(), areas, strict=True)
        ]
        if self.outputs:
            for i in reversed(range(len(maps) - 1)):
                upsampled = F.interpolate(maps[i + 1], size=maps[i].shape[-2:], mode="nearest")
                maps[i] = maps[i] + areas[i].clear(upsampled)
            maps = [conv(x, area) for conv, x, area in zip(self.outputs, maps, areas, strict=False)]
        for i, (reduction, merge) in enumerate(zip(self.reductions, self.merges, strict=True)):
            reduced = F.relu(reduction(maps[i], areas[i + 1]))
            maps[i + 1] = F.relu(merge(reduced + maps[i + 1], areas[i + 1]))
        return OrderedDict(zip(features, maps, strict=False))

    def _initialise(self, zero_init_lateral: bool) -> None:
        """Convolutions as in Detectron: Caffe2's Xavier (uniform over +-sqrt(3 / fan in)), zero biases."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init_weight(module, method="XavierFill")
        if zero_init_lateral:
            for lateral in list(self.laterals)[:-1]:
                nn.init.zeros_(lateral.get_parameter("conv.weight"))
