"""The loss of semantic segmentation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fpt.structures.semantic_classes import IGNORED


@dataclass(frozen=True, kw_only=True)
class PixelLoss:
    """Cross entropy over the pixels that count: their mean, or that of the hard ones.

    Attributes:
        class_weights: of the pixels of each class in a weighted mean; none = equal.
        label_smoothing: share of the target that all classes share.
        hard_below: pixels whose right class has a lower probability count alone (online hard example mining, OHEM);
            0 = all count.
        min_hard: as many of the hardest count at least, of each image.
    """

    class_weights: tuple[float, ...] = ()
    label_smoothing: float = 0.0
    hard_below: float = 0.0
    min_hard: int = 100_000

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits float [B, C, H, W] and classes int64 [B, H, W], IGNORED where nothing counts -> a scalar.

        Zero, and part of the graph, where no pixel counts.
        """
        logits = logits.float()
        is_counted = target != IGNORED
        if not is_counted.any():
            return logits.sum() * 0
        weights = logits.new_tensor(self.class_weights) if self.class_weights else None
        losses = F.cross_entropy(
            logits, target, weights, ignore_index=IGNORED, reduction="none", label_smoothing=self.label_smoothing
        )
        if self.hard_below:
            is_counted = self._hard(logits, target, is_counted)
        shares = is_counted.float() if weights is None else weights[target.clamp(min=0)] * is_counted
        return (losses * is_counted).sum() / shares.sum().clamp(min=torch.finfo(torch.float32).tiny)

    @torch.no_grad()
    def _hard(self, logits: Tensor, target: Tensor, is_counted: Tensor) -> Tensor:
        """bool [B, H, W]: the pixels that are hard, or among the hardest."""
        log_right = logits.log_softmax(dim=1).gather(1, target.clamp(min=0)[:, None])[:, 0]
        log_right = log_right.masked_fill(~is_counted, torch.inf)
        count = min(self.min_hard * len(target), int(is_counted.sum()))
        threshold = log_right.flatten().kthvalue(count).values.clamp(min=torch.tensor(self.hard_below).log().item())
        return is_counted & (log_right <= threshold)
