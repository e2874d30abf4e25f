"""RetinaNet (Lin et al. 2017): one head on every level of a pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fpt.modeling.detector import Detector
from fpt.modeling.retinanet.head import RetinaNetHead
from fpt.modeling.retinanet.losses import RetinaNetLosses
from fpt.modeling.rpn.anchors import AnchorGenerator
from fpt.structures.boxes import BoxCoder, best_after_nms, clip_boxes, is_longer_than
from fpt.structures.image_list import ImageList


@dataclass(frozen=True)
class RetinaNetSettings:
    """Which detections are kept.

    Attributes:
        score_threshold: lower scores are dropped.
        pre_nms_top_n: best pairs of an anchor and a class of each level that are decoded.
        nms_threshold: IoU of the NMS within a class.
        max_detections: detections per image, by score.
    """

    score_threshold: float = 0.05
    pre_nms_top_n: int = 1000
    nms_threshold: float = 0.5
    max_detections: int = 100


class RetinaNet(Detector):
    """A detector of one stage.

    Args:
        levels: positions of the maps to look at, finest first.
        head: logits and offsets of every anchor.
        anchor_generator: anchors of the same levels.
        loss: how the losses are counted.
        settings: which detections are kept.
        parts: as of Detector.
    """

    def __init__(
        self,
        *,
        levels: Sequence[int],
        head: RetinaNetHead,
        anchor_generator: AnchorGenerator,
        loss: RetinaNetLosses,
        settings: RetinaNetSettings,
        **parts: Any,
    ) -> None:
        super().__init__(**parts)
        self.levels = tuple(levels)
        self.head = head
        self.anchor_generator = anchor_generator
        self.loss = loss
        self.settings = settings
        self.box_coder = BoxCoder()

    def losses(
        self, features: dict[str, Tensor], batch: ImageList, targets: Sequence[dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """``loss_cls`` and ``loss_bbox``."""
        logits, offsets, anchors = self._predict(features)
        return self.loss(
            torch.cat(logits, dim=1),
            torch.cat(offsets, dim=1),
            torch.cat(anchors),
            targets=targets,
            sizes_hw=batch.sizes_hw,
            box_coder=self.box_coder,
        )

    def detections(
        self, features: dict[str, Tensor], batch: ImageList, given: Sequence[dict[str, Tensor]] | None
    ) -> list[dict[str, Tensor]]:
        del given
        logits, offsets, anchors = self._predict(features)
        return [
            self._of_image([x[image] for x in logits], [x[image] for x in offsets], anchors, size)
            for image, size in enumerate(batch.sizes_hw)
        ]

    def _predict(self, features: dict[str, Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        pyramid = list(features.values())
        maps = [pyramid[level] for level in self.levels]
        logits, offsets = self.head(maps)
        return logits, offsets, self.anchor_generator([(x.shape[-2], x.shape[-1]) for x in maps])

    def _of_image(
        self, logits: list[Tensor], offsets: list[Tensor], anchors: list[Tensor], size_hw: tuple[int, int]
    ) -> dict[str, Tensor]:
        found = [self._of_level(*level) for level in zip(logits, offsets, anchors, strict=True)]
        boxes, labels, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
        boxes = clip_boxes(boxes, size_hw)
        is_kept = is_longer_than(boxes, 0)
        boxes, labels, scores = boxes[is_kept], labels[is_kept], scores[is_kept]
        kept = best_after_nms(
            boxes,
            scores,
            labels,
            iou_threshold=self.settings.nms_threshold,
            max_kept=self.settings.max_detections,
        )
        return {"boxes": boxes[kept], "labels": labels[kept], "scores": scores[kept]}

    def _of_level(self, logits: Tensor, offsets: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, labels and scores of the best pairs of an anchor and a class."""
        scores = logits.sigmoid().flatten()
        candidates = (scores > self.settings.score_threshold).nonzero()[:, 0]
        top, order = scores[candidates].topk(min(self.settings.pre_nms_top_n, candidates.numel()))
        index = candidates[order]
        anchor = index // self.head.num_classes
        boxes = self.box_coder.decode(offsets[anchor], anchors[anchor])
        return boxes, index % self.head.num_classes + 1, top
