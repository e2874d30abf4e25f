"""Key points of given boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fpt.modeling.roi_heads.keypoints import decode_keypoints, keypoint_loss, keypoint_targets
from fpt.modeling.roi_heads.pooler import RoIPooler
from fpt.modeling.sampling import SampledRoIs, image_weights


class KeypointBranch(nn.Module):
    """Heat maps of the RoIs, one for each key point; the same for all classes.

    Args:
        pooler: RoI features of the boxes.
        head: RoI features -> logits float32 [R, K, S, S].
        num_keypoints: K.
        size: S.
        loss_weight: factor of the loss.
        points_per_image: what the loss of an image is divided by; 0 = its annotated points inside of RoIs.
        over_batch: the loss is the mean over the points of a batch, not over its images.
        margin: pixels that the heat maps end before the right and lower edge of a RoI.
    """

    def __init__(
        self,
        *,
        pooler: RoIPooler,
        head: nn.Module,
        num_keypoints: int,
        size: int,
        loss_weight: float = 1.0,
        points_per_image: int = 0,
        over_batch: bool = False,
        margin: float = 0.0,
    ) -> None:
        super().__init__()
        self.pooler = pooler
        self.head = head
        self.num_keypoints = num_keypoints
        self.size = size
        self.loss_weight = loss_weight
        self.points_per_image = points_per_image
        self.over_batch = over_batch
        self.margin = margin

    def loss(
        self,
        features: Mapping[str, Tensor],
        samples: Sequence[SampledRoIs],
        targets: Sequence[dict[str, Tensor]],
    ) -> Tensor:
        """Weighted loss of the foreground RoIs that hold an annotated point of their object.

        Args:
            features: maps [N, C, H_l, W_l] by name.
            samples: RoIs of each image.
            targets: ``keypoints`` float32 [N, K, 3] in input pixels, for each image.
        """
        boxes: list[Tensor] = []
        cells: list[Tensor] = []
        for sample, target in zip(samples, targets, strict=True):
            points = target["keypoints"][sample.object_index]
            wanted = keypoint_targets(points, self._frames(sample.foreground_boxes), size=self.size)
            is_kept = (wanted >= 0).any(dim=1)
            boxes.append(sample.foreground_boxes[is_kept])
            cells.append(wanted[is_kept])
        logits = self.head(self.pooler(features, boxes))
        sizes = [item.shape[0] for item in boxes]
        counts = [self.points_per_image] * len(cells)
        if not self.points_per_image:
            counts = [int((item >= 0).sum()) for item in cells]
        weights = image_weights(sizes, counts=counts, device=logits.device, over_batch=self.over_batch)
        return keypoint_loss(logits, torch.cat(cells), weights) * self.loss_weight

    def predict(self, features: Mapping[str, Tensor], boxes: Sequence[Tensor]) -> list[Tensor]:
        """Key points float32 [D, K, 3] of the boxes [D, 4] of each image: x, y in input pixels, score 0..1."""
        logits = self.head(self.pooler(features, boxes))
        parts = logits.split([item.shape[0] for item in boxes])
        return [decode_keypoints(part, self._frames(item)) for part, item in zip(parts, boxes, strict=True)]

    def _frames(self, boxes: Tensor) -> Tensor:
        """The boxes [R, 4] that the heat maps cover; a cell of a frame without a side has no finite place."""
        return torch.cat([boxes[:, :2], torch.maximum(boxes[:, 2:] - self.margin, boxes[:, :2] + 1e-3)], dim=1)
