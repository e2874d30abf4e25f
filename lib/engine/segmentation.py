"""Running a segmentor over an image: at several sizes, mirrored, and in windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fpt.engine.score_rows import Mirrored, ScoreRows, Whole, Windows, resized
from fpt.modeling.semantic.segmentor import SemanticSegmentor

_BAND_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class SegmentationSettings:
    """How an image is looked at.

    Attributes:
        scales: factors of the input's size; scores are averaged.
        is_mirrored: the mirrored image's scores are averaged in, too.
        flip_order: class that each class becomes in a mirrored image.
        window_hw: height and width of a sliding window; None = the whole image at once.
        overlap: share of a window that the next one overlaps at least.
        amp_dtype: type of autocast, None = off.
    """

    flip_order: Sequence[int]
    scales: Sequence[float] = (1.0,)
    is_mirrored: bool = False
    window_hw: tuple[int, int] | None = None
    overlap: float = 1 / 3
    amp_dtype: torch.dtype | None = None


@torch.inference_mode()
def segment_image(
    model: SemanticSegmentor, image: Tensor, settings: SegmentationSettings, *, size_hw: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """The class of every pixel of an image.

    Args:
        model: in evaluation mode.
        image: [3, h, w] RGB 0..255 on the model's device.
        settings: how to look at it.
        size_hw: height and width of the result, those of the original.

    Returns:
        Classes uint8 or int16 [H, W], and scores float32 [H, W], the probability of each pixel's class.
    """
    views: list[ScoreRows] = []
    for scale in settings.scales:
        view = _resize(image, scale)
        for is_flipped in (False, True)[: 1 + settings.is_mirrored]:
            with torch.autocast(image.device.type, dtype=settings.amp_dtype, enabled=settings.amp_dtype is not None):
                logits = _logits(model, view.flip(-1) if is_flipped else view, settings)
            if is_flipped:
                logits = Mirrored(logits, settings.flip_order)
            views.append(resized(logits, size_hw))
    return _highest(views, size_hw)


def _highest(views: Sequence[ScoreRows], size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Classes [H, W] and their probabilities, of which views are averaged, from logits.

    In bands of rows: a large image's maps of all classes would take hundreds of megabytes each.
    """
    classes, scores = [], []
    for top in range(0, size_hw[0], _BAND_ROWS):
        bands = [view.rows(top, min(top + _BAND_ROWS, size_hw[0])) for view in views]
        if len(bands) == 1:
            highest, index = bands[0].max(dim=0)
            probability = (highest - bands[0].logsumexp(dim=0)).exp()
        else:
            total = torch.softmax(bands[0], dim=0)
            for band in bands[1:]:
                total += torch.softmax(band, dim=0)
            highest, index = total.max(dim=0)
            probability = highest / len(bands)
        classes.append(index.to(torch.uint8 if len(bands[0]) <= 256 else torch.int16))
        scores.append(probability)
    return torch.cat(classes), torch.cat(scores)


def _resize(image: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return image
    h, w = (max(1, round(side * scale)) for side in image.shape[-2:])
    resized = F.interpolate(image[None].float(), size=(h, w), mode="bilinear", align_corners=False, antialias=scale < 1)
    return resized[0]


def _logits(model: SemanticSegmentor, image: Tensor, settings: SegmentationSettings) -> ScoreRows:
    """Logits of the image's size; of windows the mean where they overlap."""
    height, width = image.shape[-2:]
    window = settings.window_hw or (height, width)
    h, w = min(height, window[0]), min(width, window[1])
    parts = []
    for top in window_starts(height, window[0], settings.overlap):
        for left in window_starts(width, window[1], settings.overlap):
            logits = model.coarse_logits(image[None, :, top : top + h, left : left + w])[0]
            parts.append((top, left, resized(Whole(logits.float()), (h, w))))
    return parts[0][2] if len(parts) == 1 else Windows(parts, (height, width))


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """Where windows begin that cover a length, evenly apart, each overlapping the next by a share of it at least."""
    if length <= window:
        return [0]
    step = max(1, int(window * (1 - overlap)))
    count = -(-(length - window) // step)
    return [round(index * (length - window) / count) for index in range(count + 1)]
