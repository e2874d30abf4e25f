"""The second stage: box, mask and keypoint heads on RoI features (He et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fpt.modeling.roi_heads.box_head import BoxPredictor
from fpt.modeling.roi_heads.keypoint_branch import KeypointBranch
from fpt.modeling.roi_heads.losses import box_losses, mask_loss, mask_targets, select_class
from fpt.modeling.roi_heads.pooler import RoIPooler
from fpt.modeling.roi_heads.postprocess import DetectionSettings, select_detections
from fpt.modeling.sampling import RoISampling, SampledRoIs, image_weights, sample_rois
from fpt.structures.boxes import BoxCoder

Targets = Sequence[dict[str, Tensor]]
SizesHW = Sequence[tuple[int, int]]


def _with_masks(sample: SampledRoIs, target: Mapping[str, Tensor]) -> SampledRoIs:
    """The foreground RoIs of an image, without those whose object has no mask."""
    boxes, labels, index = sample.foreground_boxes, sample.labels[: sample.object_index.numel()], sample.object_index
    if "has_mask" in target:
        is_kept = target["has_mask"][index]
        boxes, labels, index = boxes[is_kept], labels[is_kept], index[is_kept]
    return SampledRoIs(boxes=boxes, labels=labels, object_index=index)


class MaskBranch(nn.Module):
    """Masks of given boxes.

    Args:
        pooler: RoI features of the boxes.
        head: RoI features -> mask logits [R, num_masks, M, M].
        loss_weight: factor of the loss.
        shares_res5: the head sees what the box head's res5 makes of the RoI features.
        over_batch: the loss is the mean over the RoIs of a batch, not over its images.
    """

    def __init__(
        self,
        *,
        pooler: RoIPooler,
        head: nn.Module,
        loss_weight: float = 1.0,
        shares_res5: bool = False,
        over_batch: bool = False,
    ) -> None:
        super().__init__()
        self.pooler = pooler
        self.head = head
        self.loss_weight = loss_weight
        self.shares_res5 = shares_res5
        self.over_batch = over_batch

    def loss(
        self,
        features: Mapping[str, Tensor],
        samples: Sequence[SampledRoIs],
        targets: Targets,
        *,
        res5: nn.Module | None = None,
    ) -> Tensor:
        """Weighted loss of the foreground RoIs whose object has a mask.

        Args:
            features: maps [N, C, H_l, W_l] by name.
            samples: RoIs of each image.
            targets: ``boxes`` and ``masks`` uint8 [N, S, S] in their frames, for each image; ``has_mask`` bool [N]
                where some objects have none.
            res5: what runs on the RoI features before the head, where the head shares that of the box head.
        """
        chosen = [_with_masks(sample, target) for sample, target in zip(samples, targets, strict=True)]
        boxes = [item.boxes for item in chosen]
        logits = self._logits(features, boxes, res5)
        labels = torch.cat([item.labels for item in chosen])
        wanted = [
            mask_targets(target["masks"], target["boxes"], item.boxes, item.object_index, size=logits.shape[-1])
            for item, target in zip(chosen, targets, strict=True)
        ]
        sizes = [item.shape[0] for item in boxes]
        weights = image_weights(sizes, device=logits.device, over_batch=self.over_batch)
        return mask_loss(logits, labels=labels, targets=torch.cat(wanted), weights=weights) * self.loss_weight

    def predict(
        self,
        features: Mapping[str, Tensor],
        boxes: Sequence[Tensor],
        labels: Sequence[Tensor],
        *,
        res5: nn.Module | None = None,
    ) -> list[Tensor]:
        """Probabilities float32 [D, M, M] in the frames of the boxes [D, 4] of each image, of the labels [D]."""
        logits = self._logits(features, boxes, res5)
        probabilities = select_class(logits, torch.cat(list(labels))).sigmoid()
        return list(probabilities.split([item.shape[0] for item in boxes]))

    def _logits(self, features: Mapping[str, Tensor], boxes: Sequence[Tensor], res5: nn.Module | None) -> Tensor:
        pooled = self.pooler(features, boxes)
        return self.head(pooled if res5 is None else [res5(x) for x in pooled])


class RoIHeads(nn.Module):
    """Box head, and mask and keypoint branches if there are any.

    Args:
        box_pooler: RoI features of the proposals.
        box_head: features -> one vector a RoI.
        box_predictor: vector -> class logits and offsets.
        box_coder: of the offsets.
        sampling: which RoIs are trained on.
        detection_settings: which detections are kept.
        mask_branch: None = no masks.
        keypoint_branch: None = no key points.
        over_batch: the losses of the boxes are means over the RoIs of a batch, not over its images.
        box_beta: distance at which their smooth L1 becomes linear.
    """

    def __init__(
        self,
        *,
        box_pooler: RoIPooler,
        box_head: nn.Module,
        box_predictor: BoxPredictor,
        box_coder: BoxCoder,
        sampling: RoISampling,
        detection_settings: DetectionSettings,
        mask_branch: MaskBranch | None = None,
        keypoint_branch: KeypointBranch | None = None,
        over_batch: bool = False,
        box_beta: float = 1.0,
    ) -> None:
        super().__init__()
        self.box_beta = box_beta
        self.box_pooler = box_pooler
        self.box_head = box_head
        self.box_predictor = box_predictor
        self.box_coder = box_coder
        self.sampling = sampling
        self.detection_settings = detection_settings
        self.mask_branch = mask_branch
        self.keypoint_branch = keypoint_branch
        self.over_batch = over_batch

    def losses(
        self, features: Mapping[str, Tensor], proposals: Sequence[Tensor], targets: Targets
    ) -> dict[str, Tensor]:
        """Losses of a batch, means over its images: ``loss_cls``, ``loss_bbox``, and of the branches ``loss_mask`` and
        ``loss_kps``.

        Args:
            features: maps [N, C, H_l, W_l] by name.
            proposals: [K, 4] in input pixels, for each image.
            targets: ``boxes``, ``labels``, ``crowd_boxes``, and for the branches ``masks`` and ``keypoints``, for each
                image.
        """
        samples = [
            sample_rois(boxes, target, sampling=self.sampling) for boxes, target in zip(proposals, targets, strict=True)
        ]
        logits, offsets = self._predict_boxes(features, [sample.boxes for sample in samples])
        regression = [
            self.box_coder.encode(target["boxes"][sample.object_index], sample.foreground_boxes)
            for sample, target in zip(samples, targets, strict=True)
        ]
        labels = torch.cat([sample.labels for sample in samples])
        losses = box_losses(
            logits,
            offsets,
            labels=labels,
            foreground=(labels > 0).nonzero()[:, 0],
            regression=torch.cat(regression),
            beta=self.box_beta,
            weights=image_weights(
                [sample.labels.numel() for sample in samples], device=labels.device, over_batch=self.over_batch
            ),
        )
        if self.mask_branch is not None:
            losses["loss_mask"] = self.mask_branch.loss(features, samples, targets, res5=self._shared_res5())
        if self.keypoint_branch is not None:
            losses["loss_kps"] = self.keypoint_branch.loss(features, samples, targets)
        return losses

    def detect(
        self, features: Mapping[str, Tensor], proposals: Sequence[Tensor], *, sizes_hw: SizesHW
    ) -> list[dict[str, Tensor]]:
        """Detections of each image: ``boxes``, ``labels``, ``scores``, and of the branches ``masks`` [D, M, M] and
        ``keypoints`` [D, K, 3].
        """
        logits, offsets = self._predict_boxes(features, proposals)
        counts = [boxes.shape[0] for boxes in proposals]
        detections = [
            select_detections(
                image_logits,
                image_offsets,
                boxes,
                size_hw=size,
                settings=self.detection_settings,
                box_coder=self.box_coder,
            )
            for image_logits, image_offsets, boxes, size in zip(
                logits.split(counts), offsets.split(counts), proposals, sizes_hw, strict=True
            )
        ]
        boxes, labels = [item["boxes"] for item in detections], [item["labels"] for item in detections]
        if self.mask_branch is not None:
            found = self.mask_branch.predict(features, boxes, labels, res5=self._shared_res5())
            for item, masks in zip(detections, found, strict=True):
                item["masks"] = masks
        if self.keypoint_branch is not None:
            for item, points in zip(detections, self.keypoint_branch.predict(features, boxes), strict=True):
                item["keypoints"] = points
        return detections

    def _shared_res5(self) -> nn.Module | None:
        """The box head's res5, where the mask head shares it."""
        is_shared = self.mask_branch is not None and self.mask_branch.shares_res5
        return self.box_head.get_submodule("res5") if is_shared else None

    def _predict_boxes(self, features: Mapping[str, Tensor], boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        return self.box_predictor(self.box_head(self.box_pooler(features, boxes)))
