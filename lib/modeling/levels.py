"""Levels of a pyramid: level L is the map of stride 2 ** L, as Detectron numbers them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from fpt.utils.errors import UserError


def select_levels(strides: Sequence[int], *, low: int, high: int, options: str) -> tuple[int, ...]:
    """Positions in a pyramid of these strides of the levels `low` to `high`.

    Args:
        strides: pixels a cell of each map, finest first.
        low: number of the finest level.
        high: number of the coarsest level.
        options: the keys that say so, for the message.

    Raises:
        UserError: a level is absent; lists those that there are.
    """
    absent = [level for level in range(low, high + 1) if 2**level not in strides]
    if absent:
        known = ", ".join(f"{level} (stride {2**level})" for level in range(max(strides) + 1) if 2**level in strides)
        raise UserError(
            f"{options} are {low} to {high}, but there is no level {absent[0]} (stride {2 ** absent[0]}); the pyramid "
            f"of MODEL.CONV_BODY has strides {', '.join(map(str, strides))}: levels {known or 'of powers of 2: none'}"
        )
    return tuple(index for index, stride in enumerate(strides) if 2**low <= stride <= 2**high)


def coarsest_of_each_stride(positions: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    """The positions without those that a coarser map of the same stride follows, as in dilated backbones."""
    return tuple({strides[index]: index for index in positions}.values())


def strides_of(module: nn.Module, *, name: str) -> tuple[int, ...]:
    """What a backbone or neck says as its ``strides``.

    Raises:
        UserError: it says none, or they aren't whole numbers from fine to coarse.
    """
    strides: object = getattr(module, "strides", None)
    if (
        not isinstance(strides, Sequence)
        or not strides
        or any(not isinstance(stride, int) or stride < 1 for stride in strides)
        or list(strides) != sorted(strides)
    ):
        raise UserError(
            f"{name} ({type(module).__name__}) has strides {strides!r}; it must say pixels a cell of each of its "
            "maps, finest first, such as strides = (8, 16, 32)"
        )
    return tuple(strides)


def channels_of(backbone: nn.Module, *, num_maps: int, name: str) -> tuple[int, ...]:
    """What a backbone says as its ``out_channels``.

    Raises:
        UserError: it does not say a number for each of its maps.
    """
    channels: object = getattr(backbone, "out_channels", None)
    if not isinstance(channels, Sequence) or len(channels) != num_maps:
        raise UserError(
            f"{name} ({type(backbone).__name__}) has out_channels {channels!r}; it must say the channels of each of "
            f"its {num_maps} maps, finest first"
        )
    return tuple(channels)
