"""Running a segmentor over an image: at several sizes, mirrored, and in windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

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
    total: Tensor | None = None
    views = [(scale, flip) for scale in settings.scales for flip in (False, True)[: 1 + settings.is_mirrored]]
    for scale, is_flipped in views:
        view = _resize(image, scale)
        with torch.autocast(image.device.type, dtype=settings.amp_dtype, enabled=settings.amp_dtype is not None):
            logits = _logits(model, view.flip(-1) if is_flipped else view, settings)
        if is_flipped:
            logits = logits.flip(-1)[list(settings.flip_order)]
        logits = logits.float()
        if tuple(logits.shape[-2:]) != tuple(size_hw):
            logits = F.interpolate(logits[None], size=size_hw, mode="bilinear", align_corners=False)[0]
        if len(views) > 1:
            logits = torch.softmax(logits, dim=0)
        total = logits if total is None else total.add_(logits)
    assert total is not None
    return _highest(total, num_views=len(views))


def _highest(total: Tensor, *, num_views: int) -> tuple[Tensor, Tensor]:
    """Classes [H, W] and their probabilities from summed probabilities [C, H, W], or from the logits of a single view.

    In bands of rows: a large image's maps of all classes take hundreds of megabytes each.
    """
    dtype = torch.uint8 if len(total) <= 256 else torch.int16
    classes = torch.empty(total.shape[1:], dtype=dtype, device=total.device)
    scores = torch.empty(total.shape[1:], device=total.device)
    for top in range(0, total.shape[1], _BAND_ROWS):
        rows = slice(top, top + _BAND_ROWS)
        highest, index = total[:, rows].max(dim=0)
        classes[rows] = index.to(dtype)
        is_single = num_views == 1
        scores[rows] = (highest - total[:, rows].logsumexp(dim=0)).exp() if is_single else highest / num_views
    return classes, scores


def _resize(image: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return image
    h, w = (max(1, round(side * scale)) for side in image.shape[-2:])
    resized = F.interpolate(image[None].float(), size=(h, w), mode="bilinear", align_corners=False, antialias=scale < 1)
    return resized[0]


def _logits(model: SemanticSegmentor, image: Tensor, settings: SegmentationSettings) -> Tensor:
    """Logits [C, h, w]; of windows the mean where they overlap."""
    height, width = image.shape[-2:]
    if settings.window_hw is None or (height <= settings.window_hw[0] and width <= settings.window_hw[1]):
        return model.logits(image[None])[0]
    rows = window_starts(height, settings.window_hw[0], settings.overlap)
    columns = window_starts(width, settings.window_hw[1], settings.overlap)
    h, w = min(height, settings.window_hw[0]), min(width, settings.window_hw[1])
    total = torch.zeros(len(settings.flip_order), height, width, device=image.device)
    count = torch.zeros(height, width, device=image.device)
    for top in rows:
        for left in columns:
            part = (..., slice(top, top + h), slice(left, left + w))
            total[part] += model.logits(image[part][None])[0]
            count[part] += 1
    return total.div_(count)


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """Where windows begin that cover a length, evenly apart, each overlapping the next by a share of it at least."""
    if length <= window:
        return [0]
    step = max(1, int(window * (1 - overlap)))
    count = -(-(length - window) // step)
    return [round(index * (length - window) / count) for index in range(count + 1)]
