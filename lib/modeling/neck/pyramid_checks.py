"""Errors that name what is wrong with a pyramid, or with what a neck is asked to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fpt.modeling.neck.fusion import ADDED

INTERACTIONS = ("self", "grounding", "rendering")
STARTS = ("identity", "paper")

_TOLERANCE = 2  # cells: halving rounds up (padded convolutions), down, or loses a border (unpadded ones)


def check_levels(num_levels: int, level_strides: Sequence[int] | None, interactions: Sequence[str]) -> tuple[int, ...]:
    """The strides between the levels; ValueError for what cannot be built."""
    if isinstance(interactions, str) or not set(interactions) <= set(INTERACTIONS):
        unknown = interactions if isinstance(interactions, str) else sorted(set(interactions) - set(INTERACTIONS))
        raise ValueError(f"unknown interactions {unknown!r}, must be a sequence of names among {INTERACTIONS}")
    if num_levels < 2:
        raise ValueError(f"num_levels is {num_levels}: a pyramid has at least 2 levels")
    strides = tuple(level_strides) if level_strides is not None else (2,) * (num_levels - 1)
    if len(strides) != num_levels - 1 or not set(strides) <= {1, 2}:
        raise ValueError(f"level_strides is {strides}, must be {num_levels - 1} numbers of 1 or 2")
    return strides


def check_start(start: str, fusion: str, in_channels: int, out_channels: int) -> None:
    """ValueError for an unknown start, one that does not go with the fusion, or the identity to other channels."""
    if start not in STARTS:
        raise ValueError(f"start is {start!r}, must be one of {STARTS}")
    if start == "identity" and in_channels != out_channels:
        raise ValueError(
            f"a neck from {in_channels} to {out_channels} channels cannot start as the identity; start='paper' can"
        )
    if start == "paper" and fusion in ADDED:
        raise ValueError(
            f"fusion={fusion!r} is only for start='identity': a coarse map would replace the level's own; 'bottleneck' "
            "and 'concat' keep its cells"
        )


def check_query_strides(
    level_strides: Sequence[int], query_strides: Sequence[int] | None, local_window: int
) -> tuple[int, ...]:
    """The strides of the queries of each level, None = the default; ValueError for what cannot be."""
    num_levels = len(level_strides) + 1
    if query_strides is None:
        return (1 if local_window else level_strides[0],) + (1,) * (num_levels - 1)
    strides = tuple(query_strides)
    if len(strides) != num_levels or min(strides) < 1:
        raise ValueError(f"query_strides is {strides}, must be {num_levels} positive numbers")
    if local_window and max(strides) > 1:
        raise ValueError(f"query_strides is {strides}, but a local window of {local_window} cells asks for each cell")
    return strides


def check_norm(norm: object) -> None:
    """TypeError unless `norm` is None or makes a normalisation from a number of channels."""
    if norm is not None and (not callable(norm) or isinstance(norm, torch.nn.Module)):
        raise TypeError(f"norm is {norm!r}, must be None or a callable such as group_norm: channels -> nn.Module")


def check_maps(features: Mapping[str, Tensor], in_channels: Sequence[int]) -> None:
    """ValueError unless there is a map [B, C_l, H_l, W_l] with cells for each of the channels, all of one batch."""
    if len(features) != len(in_channels):
        raise ValueError(
            f"the pyramid has {len(features)} levels ({', '.join(features)}), this neck was built for "
            f"{len(in_channels)}"
        )
    batch = next(iter(features.values())).shape[0]
    for (name, x), channels in zip(features.items(), in_channels, strict=True):
        if x.ndim != 4 or x.shape[1] != channels or x.shape[0] != batch or 0 in x.shape[2:]:
            raise ValueError(f"level {name!r} is {tuple(x.shape)}, must be [{batch}, {channels}, height, width]")


def check_sizes(features: Mapping[str, Tensor], level_strides: Sequence[int]) -> None:
    """ValueError unless each map is about `stride` times smaller than the one below it.

    Not while a graph is traced, where sizes may be symbols.
    """
    if torch.compiler.is_compiling():
        return
    names = list(features)
    for fine, coarse, stride in zip(names, names[1:], level_strides, strict=False):
        below, size = features[fine].shape[-2:], features[coarse].shape[-2:]
        tolerance = _TOLERANCE if stride > 1 else 0
        if any(abs(stride * n - m) > tolerance for n, m in zip(size, below, strict=True)):
            raise ValueError(
                f"level {coarse!r} is {size[0]} x {size[1]}, but {fine!r} below it is {below[0]} x {below[1]}: must be "
                f"about {stride} times smaller, finest level first (level_strides)"
            )
