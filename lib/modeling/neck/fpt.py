"""The Feature Pyramid Transformer: every level of a pyramid takes in all others, in the same sizes."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial

from torch import Tensor, nn

from fpt.layers.dropblock import DropBlock
from fpt.modeling.neck.area import NormFactory, Sizes, level_area
from fpt.modeling.neck.conv_norm import Pending, made_again
from fpt.modeling.neck.fusion import CoarseFusion, Parts, make_fusion
from fpt.modeling.neck.grounding_transformer import GroundingTransformer, LocalGroundingTransformer
from fpt.modeling.neck.pyramid_checks import (
    INTERACTIONS,
    check_levels,
    check_maps,
    check_norm,
    check_query_strides,
    check_sizes,
    check_start,
)
from fpt.modeling.neck.pyramid_keys import KeyTokens, key_tokens
from fpt.modeling.neck.query_grid import QueryGrid, query_grid
from fpt.modeling.neck.rendering_transformer import RenderingTransformer, SharedDownsampling
from fpt.modeling.neck.self_transformer import SelfTransformer


class FeaturePyramidTransformer(nn.Module):
    """FPT of "Feature Pyramid Transformer" (ECCV 2020), section 3, on a pyramid whose levels have the same channels.

    All transformers read the original pyramid. Level l gets ST(l), GT from every coarser level, RT from every finer
    level and its own map; a fusion of these makes the output. DropBlock works on its results.

    Args:
        in_channels: channels of each input map.
        num_levels: levels of the pyramid, at least 2.
        out_channels: channels of each output; None = in_channels.
        key_channels: channels of q and k in ST and GT; None = half of in_channels, as in non-local networks (ours),
            rounded up to what the mixtures can share.
        interactions: any subset of "self", "grounding", "rendering".
        num_mixtures_self: parts of the mixture of softmaxes in ST.
        num_mixtures_grounding: parts in GT.
        local_window: side of LGT's window (odd); 0 = GT, the whole coarse map.
        max_keys: maps with more positions are averaged down to at most this many keys; 0 = exact (ours).
        level_strides: size ratio of each level to the one below it (2, or 1 for levels of one size); None = all 2.
        fusion: "concat" = one 3x3 convolution over all parts, as published; "bottleneck" (ours) = a 1x1 over all parts,
            then a 3x3, for a third of the products; "coarse" (ours) = a bottleneck on the grid of query_strides,
            brought back bilinearly, which needs the start "identity"; "separable" (ours) = the same with a 3x3 that
            takes each channel by itself.
        query_strides: of each level, cells a side that ask ST and GT as one, their mean; what they get is brought back
            bilinearly (ours). None = 2 on a finest level that is twice as large as the next, 1 elsewhere; all 1 =
            exact, and as it must be with a local window.
        shares_downsampling: RT to all coarser levels reads one chain of stride-2 convolutions of a fine map (ours);
            else each RT has its own, as published.
        start: "paper" = the fusion's output alone, as published; "identity" (ours) = each input map plus the output of
            a fusion that starts at zero, without a normalisation, so that an untrained neck changes nothing.
        norm: makes the normalisation of the transformers' outputs, and of the fusion with the start "paper", or None.
        dropblock_size: side of DropBlock's blocks in cells.
        dropblock_keep_prob: share that DropBlock keeps; 1 = off.

    Raises:
        ValueError: an unknown interaction, fusion or start, fewer than two levels, level_strides that do not fit, a
            start from the identity to other channels, or another start with a coarse fusion.
        TypeError: a norm that is no callable.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_levels: int,
        out_channels: int | None = None,
        key_channels: int | None = None,
        interactions: Sequence[str] = INTERACTIONS,
        num_mixtures_self: int = 2,
        num_mixtures_grounding: int = 4,
        local_window: int = 0,
        max_keys: int = 256,
        level_strides: Sequence[int] | None = None,
        fusion: str = "separable",
        query_strides: Sequence[int] | None = None,
        shares_downsampling: bool = True,
        start: str = "identity",
        norm: NormFactory | None = None,
        dropblock_size: int = 5,
        dropblock_keep_prob: float = 0.9,
    ) -> None:
        super().__init__()
        self.level_strides = check_levels(num_levels, level_strides, interactions)
        check_norm(norm)
        self.in_channels, self.num_levels = in_channels, num_levels
        self.max_keys, self.local_window = max_keys, local_window
        self.query_strides = check_query_strides(self.level_strides, query_strides, local_window)
        self.out_channels = out_channels or in_channels
        key_channels = key_channels or _half(in_channels, math.lcm(num_mixtures_self, num_mixtures_grounding))
        levels = range(num_levels)
        pairs = [(fine, coarse) for fine in levels for coarse in levels if fine < coarse]

        make_self = partial(_make_self, in_channels, key_channels, num_mixtures_self, norm)
        make_grounding = partial(_make_grounding, in_channels, key_channels, num_mixtures_grounding, local_window, norm)
        make_rendering = partial(_make_rendering, in_channels, norm)
        use = {name: name in interactions for name in INTERACTIONS}
        steps = {(fine, coarse): self.level_strides[fine:coarse].count(2) for fine, coarse in pairs}
        self.selfs = nn.ModuleDict({str(level): make_self() for level in levels if use["self"]})
        grounded, rendered = (pairs if use[name] else [] for name in ("grounding", "rendering"))
        self.groundings = nn.ModuleDict({_pair(*pair): make_grounding(steps[pair]) for pair in grounded})
        chains = dict.fromkeys(pairs) if shares_downsampling else steps
        self.renderings = nn.ModuleDict({_pair(*pair[::-1]): make_rendering(chains[pair]) for pair in rendered})
        share = partial(SharedDownsampling, channels=in_channels, level_strides=self.level_strides, norm=norm)
        self.downsampling = share() if shares_downsampling and use["rendering"] else None
        check_start(start, fusion, in_channels, self.out_channels)
        self.is_residual = start == "identity"
        make = partial(make_fusion, fusion, in_channels, self.out_channels, norm=norm, is_added=self.is_residual)
        self.fusions = nn.ModuleList(make(num_parts=number) for number in _num_parts(num_levels, use))
        self.dropblock = DropBlock(block_size=dropblock_size, keep_prob=dropblock_keep_prob)
        self._initialise()

    def forward(
        self,
        features: OrderedDict[str, Tensor],
        sizes_hw: Sizes | None = None,
        padded_hw: tuple[int, int] | None = None,
    ) -> OrderedDict[str, Tensor]:
        """{name: [B, C, H_l, W_l]}, finest first -> {same name: [B, out_channels, H_l, W_l]}.

        Args:
            features: the pyramid.
            sizes_hw: height and width in pixels of each image's own area; None = no padding. Cells outside it are
                zeroed and take no part as keys, in the means, in GroupNorm or in the pooling.
            padded_hw: height and width in pixels of the padded batch; needed with sizes_hw.

        Raises:
            ValueError: maps of other channels, number or sizes than the neck was built for; sizes_hw that do not fit.
        """
        check_maps(features, [self.in_channels] * self.num_levels)
        check_sizes(features, self.level_strides)
        areas = [level_area(x, sizes_hw, padded_hw) for x in features.values()]
        maps = [area.clear(x) for x, area in zip(features.values(), areas, strict=True)]
        keys = [key_tokens(x, area.valid_hw, self.max_keys) for x, area in zip(maps, areas, strict=True)]
        grids = [query_grid(x, area, side) for x, area, side in zip(maps, areas, self.query_strides, strict=True)]
        asking = [grid.means(x) for grid, x in zip(grids, maps, strict=True)]
        means = [grid.mean_of_all(*level) for grid, *level in zip(grids, maps, asking, strict=True)]
        downsampled = {} if self.downsampling is None else self.downsampling(maps, areas)
        pyramid = (maps, asking, keys, means, grids, downsampled)
        kept = [self.dropblock.mask(x) for x in maps]
        outputs: list[Tensor] = []
        for level in reversed(range(self.num_levels)):  # backward then begins with the finest: most memory is free soon
            fused = self.fusions[level](self._interact(level, *pyramid), grids[level])
            outputs.insert(0, self._output(level, maps[level], fused, grids[level], kept[level]))
        return OrderedDict(zip(features, outputs, strict=True))

    def self_transformer(self, level: int) -> SelfTransformer:
        """ST of a level, 0 = the finest."""
        module = self.selfs[str(level)]
        assert isinstance(module, SelfTransformer)
        return module

    def grounding_transformer(self, fine: int, coarse: int) -> GroundingTransformer | LocalGroundingTransformer:
        """GT or LGT that brings a coarse level to a fine one."""
        module = self.groundings[_pair(fine, coarse)]
        assert isinstance(module, (GroundingTransformer, LocalGroundingTransformer))
        return module

    def rendering_transformer(self, coarse: int, fine: int) -> RenderingTransformer:
        """RT that brings a fine level to a coarse one."""
        module = self.renderings[_pair(coarse, fine)]
        assert isinstance(module, RenderingTransformer)
        return module

    def _interact(
        self,
        level: int,
        maps: list[Tensor],
        asking: list[Tensor],
        keys: list[KeyTokens],
        means: list[Tensor],
        grids: list[QueryGrid],
        downsampled: dict[tuple[int, int], Pending],
    ) -> Parts:
        """What the fusion of a level reads: its own map, then ST, GT from the coarser and RT from the finer levels."""
        here, asks, grid = maps[level], asking[level], grids[level]
        attended = [self.self_transformer(level)(asks, keys[level], grid.squares)] if self.selfs else []
        for coarse in range(level + 1, self.num_levels) if self.groundings else ():
            grounding = self.grounding_transformer(level, coarse)
            if isinstance(grounding, LocalGroundingTransformer):
                attended.append(grounding(here, maps[coarse], grid.area, grids[coarse].area))
            else:
                attended.append(grounding(asks, keys[coarse], grid.squares))
        rendered = []
        for fine in range(level) if self.renderings else ():
            passed = [grids[i].area for i in range(fine + 1, level + 1) if self.level_strides[i - 1] == 2]
            rendering = self.rendering_transformer(level, fine)
            source = downsampled.get((fine, level), maps[fine])
            rendered.append(rendering(here, source, means[fine], passed or [grid.area]))
        return Parts(here, asks, attended, rendered)

    def _output(self, level: int, own: Tensor, fused: Pending, grid: QueryGrid, kept: Tensor | None) -> Tensor:
        """The output of a level [B, C, H, W] from its own map, the fusion and DropBlock's mask."""
        if not self.is_residual:
            return made_again(lambda: fused.finish() if kept is None else fused.finish() * kept)
        change = fused.finish()
        if isinstance(self.fusions[level], CoarseFusion):
            change = grid.bring_back(change, own.shape[-2:])
        return own + (change if kept is None else change * kept)

    def _initialise(self) -> None:
        """Kaiming-uniform convolutions, Xavier-uniform linear transforms, zero biases; what is added starts at zero."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
            elif isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
            if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
                nn.init.zeros_(module.bias)
        if self.is_residual:
            for fusion in self.fusions:
                fusion.start_at_zero()  # type: ignore[operator]


def _num_parts(num_levels: int, use: Mapping[str, bool]) -> list[int]:
    """Maps that the fusion of each level reads: its own, ST's, GT's of the coarser and RT's of the finer levels."""
    levels = range(num_levels)
    return [1 + use["self"] + (num_levels - 1 - i) * use["grounding"] + i * use["rendering"] for i in levels]


def _half(channels: int, divisor: int) -> int:
    """Half of the channels, rounded up to a multiple of the divisor."""
    return -(-channels // (2 * divisor)) * divisor


def _pair(to_level: int, from_level: int) -> str:
    """Name of the transformer that brings one level to another."""
    return f"{to_level}_from_{from_level}"


def _make_self(channels: int, key_channels: int, num_mixtures: int, norm: NormFactory | None) -> SelfTransformer:
    """ST of one level."""
    return SelfTransformer(
        channels=channels, key_channels=key_channels, num_mixtures=num_mixtures, norm=norm(channels) if norm else None
    )


def _make_grounding(
    channels: int, key_channels: int, num_mixtures: int, window: int, norm: NormFactory | None, steps: int
) -> GroundingTransformer | LocalGroundingTransformer:
    """GT of two levels that are some halvings apart, or LGT where there is a window."""
    made_norm = norm(channels) if norm else None
    if window:
        return LocalGroundingTransformer(
            channels=channels,
            key_channels=key_channels,
            ratio=2**steps,
            window=window,
            num_mixtures=num_mixtures,
            norm=made_norm,
        )
    return GroundingTransformer(channels=channels, key_channels=key_channels, num_mixtures=num_mixtures, norm=made_norm)


def _make_rendering(channels: int, norm: NormFactory | None, steps: int | None) -> RenderingTransformer:
    """RT of two levels that are some halvings apart; None = the finer one comes downsampled."""
    return RenderingTransformer(channels=channels, num_downsamples=steps, norm=norm)
