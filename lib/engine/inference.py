"""Running a model over images, and what it found in the pixels of the originals."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fpt.structures.boxes import scale_inclusive
from fpt.structures.detections import Detections
from fpt.structures.paste import encode_masks
from fpt.utils.heap import HeapGaps
from fpt.utils.timer import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fpt.dataloaders.collate import Batch

_LOGGER = logging.getLogger("fpt")


@torch.inference_mode()
def detect_batch(
    model: nn.Module,
    batch: Batch,
    *,
    device: torch.device,
    amp_dtype: torch.dtype | None = None,
    mask_threshold: float = 0.5,
) -> list[Detections]:
    """Detections of each image of a batch; `model` must be in evaluation mode.

    Args:
        model: on `device`; returns a dict per image for a list of images.
        batch: images of network-input size with the sizes of their originals.
        device: where the model lies.
        amp_dtype: type of autocast, None = off.
        mask_threshold: probability from which a pixel belongs to the object.
    """
    on_device = batch.to(device)
    images = on_device.images
    inclusive = getattr(getattr(model, "module", model), "has_inclusive_corners", False)
    with torch.autocast(device.type, dtype=amp_dtype, enabled=amp_dtype is not None):
        outputs = model(images) if on_device.targets is None else model(images, on_device.targets)
    return [
        to_detections(
            output,
            image_id=image_id,
            size_hw=size_hw,
            input_hw=image.shape[-2:],
            mask_threshold=mask_threshold,
            inclusive_corners=inclusive,
        )
        for output, image_id, size_hw, image in zip(outputs, batch.image_ids, batch.sizes_hw, images, strict=True)
    ]


def to_detections(
    output: dict[str, Tensor],
    *,
    image_id: int,
    size_hw: tuple[int, int],
    input_hw: tuple[int, ...],
    mask_threshold: float = 0.5,
    inclusive_corners: bool = False,
) -> Detections:
    """One image's output in the pixels of its original.

    Args:
        output: boxes float [D, 4] xyxy in input pixels, labels int64 [D], scores float [D], with a mask head masks
            float [D, M, M], probabilities in the frame of the box, and with a keypoint head keypoints float [D, K, 3],
            x and y in input pixels and score.
        image_id: id of the image.
        size_hw: height and width of the original.
        input_hw: height and width that the model saw, without padding.
        mask_threshold: probability from which a pixel belongs to the object.
        inclusive_corners: the model learned from boxes that were scaled with the corners that belong to them.
    """
    height, width = size_hw
    ratio = np.array([width / input_hw[1], height / input_hw[0]] * 2, dtype=np.float32)
    boxes = _numpy(output["boxes"]).reshape(-1, 4)
    boxes = scale_inclusive(boxes, ratio) if inclusive_corners else boxes * ratio
    boxes = np.clip(boxes, 0.0, np.array([width, height] * 2, dtype=np.float32))
    rles = None
    if "masks" in output:
        rles = encode_masks(_numpy(output["masks"]), boxes, size_hw, mask_threshold)
    keypoints = None
    if "keypoints" in output:
        keypoints = _numpy(output["keypoints"])
        keypoints[..., :2] *= ratio[:2]
    labels = output["labels"].cpu().numpy().astype(np.int64)
    return Detections(image_id, (height, width), boxes, labels, _numpy(output["scores"]), rles, keypoints)


def run_inference(
    model: nn.Module,
    loader: Iterable[Batch],
    *,
    num_images: int,
    device: torch.device,
    amp_dtype: torch.dtype | None = None,
    mask_threshold: float = 0.5,
    log_seconds: float = 10.0,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Detections]:
    """Detections of every image of `loader`, in its order; progress is logged each `log_seconds`.

    The model comes back in the mode that it was in. `should_stop` is asked after each batch: True leaves out the rest.
    """
    was_training = model.training
    model.eval()
    found: list[Detections] = []
    progress, gaps = Progress(num_images, log_seconds), HeapGaps()
    try:
        for batch in loader:
            found += detect_batch(model, batch, device=device, amp_dtype=amp_dtype, mask_threshold=mask_threshold)
            progress.report(len(found))
            gaps.after_item()
            if should_stop():
                break
    finally:
        model.train(was_training)
    progress.finish(len(found))
    return found


class Progress:
    """Says every few seconds how far inference is.

    Args:
        total: images.
        log_seconds: between two lines.
    """

    def __init__(self, total: int, log_seconds: float = 10.0) -> None:
        self.total = total
        self.log_seconds = log_seconds
        self.start = self.last = time.perf_counter()

    def report(self, done: int) -> None:
        """So many images are done; a line, if it is time for one."""
        now = time.perf_counter()
        if now - self.last < self.log_seconds or done == 0:
            return
        self.last = now
        each = (now - self.start) / done
        remaining = format_duration(each * (self.total - done))
        _LOGGER.info("image %d/%d | %.3f s/image | ETA %s", done, self.total, each, remaining)

    def finish(self, done: int) -> None:
        """The last line."""
        seconds = time.perf_counter() - self.start
        _LOGGER.info("%d images in %s (%.3f s/image)", done, format_duration(seconds), seconds / max(done, 1))


def _numpy(values: Tensor) -> np.ndarray:
    array: np.ndarray = values.float().cpu().numpy()
    return array
