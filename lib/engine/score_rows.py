"""Maps of class scores of an image's size that are never held whole: a few rows are made where they are read.

The 19 classes of a photo of 2048 x 1024 take 160 MB in float32, the 150 of another data set 1.2 GB, for every scale and
mirrored view; the maps that a head gives are 4 to 8 times smaller on each side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class ScoreRows(Protocol):
    """Scores [C, H, W] of which rows can be had."""

    @property
    def size_hw(self) -> tuple[int, int]:
        """H and W."""

    def rows(self, top: int, bottom: int) -> Tensor:
        """Rows top <= y < bottom, [C, bottom - top, W]."""


@dataclass(frozen=True)
class Whole:
    """A tensor of scores.

    Attributes:
        scores: [C, H, W].
    """

    scores: Tensor

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.scores.shape[-2], self.scores.shape[-1]

    def rows(self, top: int, bottom: int) -> Tensor:
        return self.scores[:, top:bottom]


@dataclass(frozen=True)
class Mirrored:
    """Left and right exchanged, in the image and among the classes.

    Attributes:
        source: what is mirrored.
        order: class that each class becomes.
    """

    source: ScoreRows
    order: Sequence[int]

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.source.size_hw

    def rows(self, top: int, bottom: int) -> Tensor:
        return self.source.rows(top, bottom).flip(-1)[list(self.order)]


@dataclass(frozen=True)
class Windows:
    """Parts that cover the whole; where they overlap, their mean.

    Attributes:
        parts: top, left and scores of each.
        size_hw: height and width of the whole.
    """

    parts: Sequence[tuple[int, int, ScoreRows]]
    size_hw: tuple[int, int]

    def rows(self, top: int, bottom: int) -> Tensor:
        total: Tensor | None = None
        count = torch.zeros(bottom - top, self.size_hw[1])
        for part_top, left, part in self.parts:
            h, w = part.size_hw
            first, last = max(top, part_top), min(bottom, part_top + h)
            if first >= last:
                continue
            scores = part.rows(first - part_top, last - part_top)
            if total is None:
                total = scores.new_zeros(len(scores), *count.shape)
            total[:, first - top : last - top, left : left + w] += scores
            count[first - top : last - top, left : left + w] += 1
        assert total is not None
        return total.div_(count.to(total.device))


@dataclass(frozen=True)
class _Resized:
    """Bilinear, as F.interpolate with align_corners False gives it.

    Attributes:
        source: scores of another size.
        size_hw: height and width of this one.
    """

    source: ScoreRows
    size_hw: tuple[int, int]

    def rows(self, top: int, bottom: int) -> Tensor:
        height = self.source.size_hw[0]
        centres = (torch.arange(top, bottom, dtype=torch.float64) + 0.5) * (height / self.size_hw[0]) - 0.5
        positions = centres.clamp_(0, height - 1)
        above = positions.long()
        below = (above + 1).clamp_(max=height - 1)
        first = int(above[0])
        rows = self.source.rows(first, int(below[-1]) + 1)
        wide = F.interpolate(rows[None], size=(rows.shape[1], self.size_hw[1]), mode="bilinear", align_corners=False)[0]
        weights = (positions - above).to(rows).view(-1, 1)
        above, below = ((index - first).to(rows.device) for index in (above, below))
        return torch.lerp(wide[:, above], wide[:, below], weights)


def resized(scores: ScoreRows, size_hw: tuple[int, int]) -> ScoreRows:
    """Scores at another size, bilinear, as F.interpolate with align_corners False gives them."""
    return scores if scores.size_hw == size_hw else _Resized(scores, size_hw)
