"""How values differ between programs: classes in another order, without a background, anchors in another order."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_OCTAVES = _RATIOS = 3
"""Anchors of a cell of RetinaNet in all published models."""


def _background_first(x: Tensor) -> Tensor:
    return torch.cat([x[-1:], x[:-1]])


def _background_last(x: Tensor) -> Tensor:
    return torch.cat([x[1:], x[:1]])


def _with_zeros(rows: int) -> Callable[[Tensor], Tensor]:
    """Rows of a background, which no RoI is ever decoded with."""
    return lambda x: torch.cat([x.new_zeros(rows, *x.shape[1:]), x])


def _without_first(rows: int) -> Callable[[Tensor], Tensor]:
    return lambda x: x if x.shape[0] == rows else x[rows:].clone()


def _swap_anchors(first: int, second: int) -> Callable[[Tensor], Tensor]:
    def swap(x: Tensor) -> Tensor:
        parts = x.reshape(first, second, -1, *x.shape[1:]).transpose(0, 1)
        return parts.reshape(x.shape).contiguous()

    return swap


def _drop_first_class(x: Tensor) -> Tensor:
    return x.reshape(_OCTAVES * _RATIOS, -1, *x.shape[1:])[:, 1:].reshape(-1, *x.shape[1:]).contiguous()


def _add_first_class(x: Tensor) -> Tensor:
    """A class that is never found: its logits are as low as float16 can hold."""
    by_anchor = x.reshape(_OCTAVES * _RATIOS, -1, *x.shape[1:])
    first = torch.zeros_like(by_anchor[:, :1]) if x.ndim > 1 else torch.full_like(by_anchor[:, :1], -1e4)
    return torch.cat([first, by_anchor], dim=1).reshape(-1, *x.shape[1:])


TO_OURS: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda x: x,
    "background_last": _background_first,
    "no_background_boxes": _with_zeros(4),
    "no_background_masks": _with_zeros(1),
    "agnostic_boxes": lambda x: x[4:].clone(),
    "octaves": _swap_anchors(_OCTAVES, _RATIOS),
    "first_class_unused": _drop_first_class,
}
TO_THEIRS: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda x: x,
    "background_last": _background_last,
    "no_background_boxes": _without_first(4),
    "no_background_masks": _without_first(1),
    "agnostic_boxes": lambda x: _with_zeros(4)(x) if x.shape[0] == 4 else x,
    "octaves": _swap_anchors(_RATIOS, _OCTAVES),
    "first_class_unused": _add_first_class,
}
