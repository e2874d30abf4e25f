"""Keys and values of a pyramid level: its valid positions, averaged down to at most a given number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from fpt.modeling.neck.pooling import bin_means, is_symbol


class KeyTokens(NamedTuple):
    """Positions of a map that queries meet.

    Attributes:
        tokens: [B, N, C].
        padding: bool [B, N], True = no position; None where every token counts.
    """

    tokens: Tensor
    padding: Tensor | None


def key_tokens(features: Tensor, valid_hw: Sequence[tuple[int, int]] | None, max_keys: int) -> KeyTokens:
    """Flatten a map into tokens: each image's own area, average-pooled where it has more than `max_keys` positions.

    The grid of an image depends on its own size and not on the padding, so neither do its tokens.

    Args:
        features: [B, C, H, W].
        valid_hw: height and width in cells of each image's area (top left); None = the whole map.
        max_keys: largest number of tokens per image; 0 = all positions.
    """
    height, width = features.shape[-2:]
    if valid_hw is None or all(size == (height, width) for size in valid_hw):
        return KeyTokens(_flatten(features, max_keys), None)
    images = [_flatten(x[None, :, :h, :w], max_keys) for x, (h, w) in zip(features, valid_hw, strict=True)]
    longest = max(tokens.shape[1] for tokens in images)
    lengths = torch.tensor([tokens.shape[1] for tokens in images], device=features.device)
    padding = torch.arange(longest, device=features.device) >= lengths[:, None]
    return KeyTokens(torch.cat([F.pad(x, (0, 0, 0, longest - x.shape[1])) for x in images]), padding)


def pooled_size(height: int, width: int, max_keys: int) -> tuple[int, int]:
    """Largest grid with about the aspect ratio of height x width and at most `max_keys` cells; 0 = no limit.

    Also for sizes that are symbols of a traced graph: no branch depends on them.
    """
    if not max_keys or (not is_symbol(height, width) and height * width <= max_keys):
        return height, width
    ideal = math.floor((max_keys * height / width) ** 0.5 + 0.5)
    rows = torch.sym_min(torch.sym_max(1, ideal), torch.sym_min(height, max_keys))
    return rows, torch.sym_min(width, torch.sym_max(1, max_keys // rows))


def _flatten(features: Tensor, max_keys: int) -> Tensor:
    """[B, C, H, W] -> [B, N, C]."""
    height, width = features.shape[-2:]
    rows, columns = pooled_size(height, width, max_keys)
    if max_keys and (is_symbol(height, width) or (rows, columns) != (height, width)):
        return bin_means(features, rows, columns)
    return features.flatten(2).mT
