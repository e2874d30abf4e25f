"""A batch: the samples of several images side by side, unpadded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fpt.dataloaders.coco import LoadFailure, Sample
from fpt.dataloaders.replacement import BadSample


@dataclass(frozen=True)
class Batch:
    """Images of any sizes; the model pads.

    Attributes:
        images: uint8 [3, H, W] RGB each.
        targets: one dict per image (boxes, labels, masks, crowd_boxes), or None without annotations.
        image_ids: ids in the annotation file.
        sizes_hw: original heights and widths.
        scales: input / original size.
        bad_samples: images that others were taken for.
    """

    images: list[Tensor]
    targets: list[dict[str, Tensor]] | None
    image_ids: list[int]
    sizes_hw: list[tuple[int, int]]
    scales: list[float]
    bad_samples: list[BadSample] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> Batch:
        """The batch on a device; copies from pinned memory run beside the computation."""
        targets = None
        if self.targets is not None:
            targets = [{key: value.to(device, non_blocking=True) for key, value in t.items()} for t in self.targets]
        images = [image.to(device, non_blocking=True) for image in self.images]
        return replace(self, images=images, targets=targets)

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory."""
        targets = None
        if self.targets is not None:
            targets = [{key: value.pin_memory() for key, value in target.items()} for target in self.targets]
        return replace(self, images=[image.pin_memory() for image in self.images], targets=targets)


def collate(samples: Sequence[Sample | LoadFailure]) -> Batch | LoadFailure:
    """Put samples side by side, leaving out those without an image; the first LoadFailure if there is any."""
    loaded: list[Sample] = []
    bad_samples: list[BadSample] = []
    for sample in samples:
        if isinstance(sample, LoadFailure):
            return sample
        bad_samples += sample.get("bad_samples", [])
        if "image" in sample:
            loaded.append(sample)
    has_targets = all("target" in sample for sample in loaded)
    return Batch(
        images=[sample["image"] for sample in loaded],
        targets=[sample["target"] for sample in loaded] if has_targets else None,
        image_ids=[sample["image_id"] for sample in loaded],
        sizes_hw=[sample["size_hw"] for sample in loaded],
        scales=[sample["scale"] for sample in loaded],
        bad_samples=bad_samples,
    )
