"""From the box head's outputs to the detections of an image."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fpt.structures.boxes import BoxCoder, best_after_nms, clip_boxes, is_longer_than


@dataclass(frozen=True)
class DetectionSettings:
    """Which detections are kept.

    Attributes:
        score_threshold: lower scores are dropped.
        nms_threshold: IoU of the NMS within a class.
        max_detections: detections per image, by score.
        has_regression: apply the box head's offsets to the proposals.
    """

    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    max_detections: int = 100
    has_regression: bool = True


def select_detections(
    logits: Tensor,
    offsets: Tensor,
    proposals: Tensor,
    *,
    size_hw: tuple[int, int],
    settings: DetectionSettings,
    box_coder: BoxCoder,
) -> dict[str, Tensor]:
    """Detections of one image, best first.

    Args:
        logits: float32 [R, num_classes].
        offsets: float32 [R, num_classes or 1, 4].
        proposals: float32 [R, 4].
        size_hw: of the image without padding.

    Returns:
        ``boxes`` float32 [D, 4] in input pixels, ``labels`` int64 [D] from 1, ``scores`` float32 [D].
    """
    all_scores = logits.softmax(dim=1)[:, 1:]
    roi, label = (all_scores > settings.score_threshold).nonzero().unbind(1)
    scores, boxes = all_scores[roi, label], proposals[roi]
    labels = label + 1
    if settings.has_regression:
        of_class = labels if offsets.shape[1] > 1 else label * 0
        boxes = box_coder.decode(offsets[roi, of_class], boxes)
    boxes = clip_boxes(boxes, size_hw)
    is_kept = is_longer_than(boxes, 0)
    boxes, labels, scores = boxes[is_kept], labels[is_kept], scores[is_kept]
    kept = best_after_nms(boxes, scores, labels, iou_threshold=settings.nms_threshold, max_kept=settings.max_detections)
    return {"boxes": boxes[kept], "labels": labels[kept], "scores": scores[kept]}
