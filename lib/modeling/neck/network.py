"""The Feature Pyramid Transformer in the place of torchvision's FPN."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from fpt.layers.norm import group_norm
from fpt.modeling.neck.area import WHOLE, NormFactory, Sizes, level_area
from fpt.modeling.neck.compose import PyramidNeck
from fpt.modeling.neck.fpn import FeaturePyramid
from fpt.modeling.neck.fpt import FeaturePyramidTransformer


class FeaturePyramidTransformerNetwork(PyramidNeck):
    """Drop-in for ``torchvision.ops.FeaturePyramidNetwork``: its arguments (by position too), inputs and outputs.

    1x1 convolutions bring the levels to one width (BFP, the base pyramid of the paper's detection experiments), then
    every level takes in all others. In any model of torchvision that holds an FPN:

        model.backbone.fpn = FeaturePyramidTransformerNetwork([256, 512, 1024, 2048], 256, LastLevelMaxPool())

    Args:
        in_channels_list: channels of each level, finest first; two levels at least, each half as large as the one
            before it.
        out_channels: channels of every output.
        extra_blocks: levels on top of the others, such as torchvision's LastLevelMaxPool or LastLevelP6P7.
        norm_layer: makes the normalisation from a number of channels, or None. Unlike torchvision's default this one is
            GroupNorm: sums of attention without a normalisation train badly.
        pyramid: another base pyramid from in_channels_list to out_channels, such as a FeaturePyramid with its
            top-down path; None = BFP.
        transformer: a FeaturePyramidTransformer of out_channels with other settings; None = its defaults.

    Raises:
        ValueError: fewer than two levels, or parts that do not fit together.
        TypeError: extra_blocks that are no ExtraFPNBlock, or a norm_layer that is no callable.
    """

    def __init__(
        self,
        in_channels_list: Sequence[int],
        out_channels: int,
        extra_blocks: ExtraFPNBlock | None = None,
        norm_layer: NormFactory | None = group_norm,
        *,
        pyramid: FeaturePyramid | None = None,
        transformer: FeaturePyramidTransformer | None = None,
    ) -> None:
        if extra_blocks is not None and not isinstance(extra_blocks, ExtraFPNBlock):
            raise TypeError(f"extra_blocks is a {type(extra_blocks).__name__}, must be an ExtraFPNBlock of torchvision")
        channels = tuple(in_channels_list)
        if pyramid is None:
            pyramid = FeaturePyramid(in_channels=channels, out_channels=out_channels, top_down=False, norm=norm_layer)
        if transformer is None:
            transformer = FeaturePyramidTransformer(in_channels=out_channels, num_levels=len(channels), norm=norm_layer)
        widths = pyramid.in_channels, pyramid.out_channels, transformer.in_channels, transformer.out_channels
        if widths != (channels, out_channels, out_channels, out_channels) or transformer.num_levels != len(channels):
            raise ValueError(
                f"a pyramid from {pyramid.in_channels} to {pyramid.out_channels} channels and a transformer of "
                f"{transformer.num_levels} levels from {transformer.in_channels} to {transformer.out_channels} "
                f"channels do not make a neck from {channels} to {out_channels}"
            )
        super().__init__(pyramid=pyramid, transformer=transformer, has_p6=False)
        self.extra_blocks = extra_blocks

    def forward(
        self,
        features: OrderedDict[str, Tensor],
        *,
        sizes_hw: Sizes | None = None,
        padded_hw: tuple[int, int] | None = None,
    ) -> OrderedDict[str, Tensor]:
        """{name: [B, C_l, H_l, W_l]}, finest first -> {same name: [B, out_channels, H_l, W_l]}, then the extra levels.

        Args:
            features: maps of a backbone.
            sizes_hw: height and width in pixels of each image's own area (top left); None = no padding, as
                torchvision's detectors call it.
            padded_hw: height and width in pixels of the padded batch; needed with sizes_hw.
        """
        maps = super().forward(features, sizes_hw=sizes_hw, padded_hw=padded_hw)
        if self.extra_blocks is None:
            return maps
        names, levels = list(maps), list(features.values())
        results, all_names = self.extra_blocks(list(maps.values()), levels, list(names))
        sources = [*maps.values(), *levels]
        areas = [level_area(x, sizes_hw, padded_hw) for x in sources]
        if any(area.valid_hw is not None for area in areas):
            crops = zip(*(area.crops(x) for area, x in zip(areas, sources, strict=True)), strict=True)
            alone = [self._extra_maps([x[None] for x in image], names) for image in crops]
            for level, whole in enumerate(results[len(names) :]):
                results[len(names) + level] = WHOLE.place([extra[level][0] for extra in alone], whole)
        return OrderedDict(zip(all_names, results, strict=True))

    def _extra_maps(self, sources: list[Tensor], names: list[str]) -> list[Tensor]:
        """The extra levels of one image, from its own parts of the maps and of the backbone's."""
        results, _ = self.extra_blocks(sources[: len(names)], sources[len(names) :], list(names))  # type: ignore[misc]
        return list(results[len(names) :])
