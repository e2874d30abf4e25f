"""Weights that make a sum over samples of a batch the mean over its pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def picture_weights(sizes: Sequence[int], *, counts: Sequence[int] | None = None, device: torch.device) -> Tensor:
    """float32 [sum(sizes)]: the weight of each sample, 1 / (count of its picture x number of pictures).

    A loss that is weighted so is the mean over the pictures of each one's own loss. Splitting a batch over devices,
    processes or accumulated batches of equal size and taking the mean then gives the same loss and gradient, whatever
    each picture holds.

    Args:
        sizes: samples of each picture, in the order of the result.
        counts: what the loss of each picture is divided by, 0 counting as 1; None = its samples.
        device: of the result.
    """
    counts = sizes if counts is None else counts
    parts = [
        torch.full((size,), 1 / (max(count, 1) * len(sizes)), device=device)
        for size, count in zip(sizes, counts, strict=True)
    ]
    return torch.cat(parts)
