"""Random samples of positive and negative boxes; torch's generator decides, so a seed repeats them."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_balanced(label: Tensor, *, num_samples: int, positive_fraction: float) -> tuple[Tensor, Tensor]:
    """Draw up to ``num_samples`` boxes without replacement.

    Args:
        label: [A], 1 positive, 0 negative, anything else is never drawn.
        positive_fraction: largest share of positives; negatives fill the rest as far as they go.

    Returns:
        int64 indices of the positives and of the negatives drawn.
    """
    positive, negative = (label == 1).nonzero()[:, 0], (label == 0).nonzero()[:, 0]
    positive = _draw(positive, int(num_samples * positive_fraction))
    return positive, _draw(negative, num_samples - positive.numel())


def _draw(index: Tensor, count: int) -> Tensor:
    if index.numel() <= count:
        return index
    return index[torch.randperm(index.numel(), device=index.device)[:count]]
