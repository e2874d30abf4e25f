"""Checks of what a caller feeds to a detector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fpt.utils.errors import UserError


def check_images(images: Sequence[Tensor]) -> None:
    """Raise UserError unless every image is [3, h, w] with at least one pixel."""
    if len(images) == 0:
        raise UserError("the model got an empty list of images, expected one tensor [3, h, w] at least")
    for index, image in enumerate(images):
        if image.ndim != 3 or image.shape[0] != 3 or image.numel() == 0:
            raise UserError(f"image {index} of the batch has shape {tuple(image.shape)}, expected [3, h, w]")


def check_targets(
    targets: Sequence[dict[str, Tensor]] | None,
    *,
    num_images: int,
    num_classes: int,
    needs_masks: bool,
    num_keypoints: int = 0,
    needs_proposals: bool = False,
) -> list[dict[str, Tensor]]:
    """Targets with ``crowd_boxes`` filled in, after checking shapes and values.

    Raises:
        UserError: targets are missing or don't fit the images, a box is degenerate or not finite, a label is out of
            range, masks or key points are missing or of another number; the message names the image.
    """
    if targets is None:
        raise UserError("the model is in training mode and needs targets; call model.eval() to detect")
    if len(targets) != num_images:
        raise UserError(f"the model got {num_images} images and {len(targets)} targets")
    complete = [_with_crowd(target) for target in targets]
    for index, target in enumerate(complete):
        if needs_proposals and ("proposals" not in target or target["proposals"].shape[1:] != (4,)):
            raise UserError(f"the target of image {index} lacks proposals [P, 4], which this model classifies")
        _check_shapes(target, index, needs_masks, num_keypoints)
    wrong = [_is_wrong(target, num_classes) for target in complete]
    if torch.cat(wrong).any():
        for index, (target, is_wrong) in enumerate(zip(complete, wrong, strict=True)):
            _report(target, is_wrong, index, num_classes)
    return complete


def check_class_maps(
    targets: Sequence[dict[str, Tensor]] | None, *, images: Sequence[Tensor], num_classes: int
) -> Tensor:
    """The class maps of a training batch as int64 [N, h, w].

    Raises:
        UserError: they are missing, or do not fit the images or the classes; images are of several sizes.
    """
    if targets is None:
        raise UserError("the model is in training mode and needs targets; call model.eval() to segment")
    if len(targets) != len(images):
        raise UserError(f"the model got {len(images)} images and {len(targets)} targets")
    sizes = {tuple(image.shape[-2:]) for image in images}
    if len(sizes) > 1:
        raise UserError(f"the images of a training batch must have one size, got {sorted(sizes)}")
    for index, (target, image) in enumerate(zip(targets, images, strict=True)):
        if "classes" not in target or target["classes"].shape != image.shape[-2:]:
            raise UserError(
                f"the target of image {index} needs classes of shape {tuple(image.shape[-2:])}; it has "
                f"{ {key: tuple(value.shape) for key, value in target.items()} }"
            )
    classes = torch.stack([target["classes"] for target in targets]).long()
    low, high = (int(value) for value in classes.aminmax())
    if low < -1 or high >= num_classes:
        wrong = low if low < -1 else high
        raise UserError(f"a pixel has class {wrong}, expected 0 to {num_classes - 1}, or -1 where it does not count")
    return classes


def _with_crowd(target: dict[str, Tensor]) -> dict[str, Tensor]:
    if "boxes" not in target or "crowd_boxes" in target:
        return target
    return {**target, "crowd_boxes": target["boxes"].new_zeros(0, 4)}


def _check_shapes(target: dict[str, Tensor], index: int, needs_masks: bool, num_keypoints: int) -> None:
    names = ["boxes", "labels", *(["masks"] if needs_masks else []), *(["keypoints"] if num_keypoints else [])]
    missing = [name for name in names if name not in target]
    if missing:
        raise UserError(f"the target of image {index} lacks {', '.join(missing)}; it has {', '.join(target)}")
    boxes, labels = target["boxes"], target["labels"]
    for name in ("boxes", "crowd_boxes"):
        shape = tuple(target[name].shape)
        if len(shape) != 2 or shape[1] != 4:
            raise UserError(f"{name} of image {index} have shape {shape}, expected [N, 4]")
    if labels.shape != boxes.shape[:1]:
        raise UserError(f"image {index} has {boxes.shape[0]} boxes, but labels of shape {tuple(labels.shape)}")
    if needs_masks and (target["masks"].ndim != 3 or target["masks"].shape[0] != boxes.shape[0]):
        shape = tuple(target["masks"].shape)
        raise UserError(f"masks of image {index} have shape {shape}, expected [{boxes.shape[0]}, S, S]")
    if num_keypoints and target["keypoints"].shape != (boxes.shape[0], num_keypoints, 3):
        shape = tuple(target["keypoints"].shape)
        raise UserError(
            f"keypoints of image {index} have shape {shape}, expected [{boxes.shape[0]}, {num_keypoints}, 3]"
        )


def _is_wrong(target: dict[str, Tensor], num_classes: int) -> Tensor:
    boxes, labels = target["boxes"], target["labels"]
    is_positive = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    is_known = (labels >= 1) & (labels < num_classes)
    return ~(torch.isfinite(boxes).all(dim=1) & is_positive & is_known)


def _report(target: dict[str, Tensor], is_wrong: Tensor, index: int, num_classes: int) -> None:
    rows = is_wrong.nonzero()[:, 0].tolist()
    if not rows:
        return
    box: list[float] = target["boxes"][rows[0]].tolist()
    label: int = target["labels"].tolist()[rows[0]]
    if not 1 <= label < num_classes:
        raise UserError(f"object {rows[0]} of image {index} has label {label}, expected 1 to {num_classes - 1}")
    shown = ", ".join(f"{value:g}" for value in box)
    raise UserError(f"box {rows[0]} of image {index} is ({shown}), expected finite x0 < x1 and y0 < y1")
