"""torchvision's detectors and ours with equal weights, and what both find in an image."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from fpt.checkpoint.formats.reader import translate
from fpt.core.config import load_cfg
from fpt.modeling.build import build_model
from fpt.modeling.detector import Detector

MEANS, STDS = "(123.675, 116.28, 103.53)", "(58.395, 57.12, 57.375)"
COMMON = (
    *("MODEL.CONV_BODY", "FPN.ResNet50_conv5_body", "MODEL.LEGACY", "torchvision", "RESNETS.STRIDE_1X1", "False"),
    *("PIXEL_FORMAT", "RGB", "PIXEL_MEANS", MEANS, "PIXEL_STDS", STDS, "TEST.NMS", "0.5"),
    *("TRAIN.RPN_MIN_SIZE", "0.001", "TEST.RPN_MIN_SIZE", "0.001", "TRAIN.RPN_STRADDLE_THRESH", "-1"),
    *("RESNETS.FREEZE_AT", "0", "TRAIN.RPN_POST_NMS_TOP_N", "100"),
)
RETINANET = (
    *("RETINANET.RETINANET_ON", "True", "FPN.RPN_MIN_LEVEL", "3", "FPN.RPN_MAX_LEVEL", "7"),
    *("FPN.EXTRA_CONV_LEVELS", "True", "FPN.EXTRA_CONV_SOURCE", "P5", "RETINANET.BBOX_REG_BETA", "0"),
    *("TEST.DETECTIONS_PER_IM", "300"),
)
OPTIONS: dict[str, tuple[str, ...]] = {
    "fasterrcnn_resnet50_fpn": (),
    "maskrcnn_resnet50_fpn": ("MODEL.MASK_ON", "True"),
    "keypointrcnn_resnet50_fpn": ("MODEL.KEYPOINTS_ON", "True", "KRCNN.NUM_KEYPOINTS", "17"),
    "retinanet_resnet50_fpn": RETINANET,
}
QUICK = ("maskrcnn_resnet50_fpn",)
"""Key points and RetinaNet have quick tests of their parts beside theirs."""
NUM_CLASSES = 6
NAMES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in OPTIONS]
DEVIATIONS = {
    "rpn.head.cls_logits": 2.0,
    "rpn.head.bbox_pred": 0.3,
    "roi_heads.box_predictor.cls_score": 1.5,
    "roi_heads.box_predictor.bbox_pred": 1.0,
    "roi_heads.mask_predictor.mask_fcn_logits": 2.0,
    "roi_heads.keypoint_predictor.kps_score_lowres": 2.0,
    "head.classification_head.cls_logits": 1.0,
    "head.regression_head.bbox_reg": 0.3,
}
"""Standard deviations of what the predictors give; in this order, as the later ones see what the former find."""


def make_pair(name: str, images: list[Tensor], *, shift: float = 0.0) -> tuple[nn.Module, Detector]:
    """A model of torchvision with random weights whose scores are between 0.05 and 0.9, and ours with the same.

    Args:
        name: in torchvision.
        images: uint8 [3, h, w], which give the statistics of BatchNorm.
        shift: bias of BatchNorm in standard deviations: above 0 few values are near the kink of a ReLU, on whose sides
            rounding decides, and with it about whole gradients.
    """
    torch.manual_seed(0)
    side = min(images[0].shape[-2:])
    limits = {"detections_per_img": 300} if "retinanet" in name else {"rpn_post_nms_top_n_train": 100}
    sizes = {"min_size": side, "max_size": 10 * side}
    theirs = torchvision.models.get_model(
        name, weights=None, weights_backbone=None, num_classes=NUM_CLASSES, **sizes, **limits
    )
    _calibrate(theirs, images, shift)
    ours = build_model(load_cfg(None, [*COMMON, *OPTIONS[name]]), num_classes=NUM_CLASSES)
    translated = translate(theirs.state_dict())
    model = {key: value for key, value in translated.model.items() if not key.endswith("num_batches_tracked")}
    ours.load_state_dict(model)
    return theirs.eval(), ours.eval()


@torch.no_grad()
def _calibrate(model: nn.Module, images: list[Tensor], shift: float) -> None:
    """Statistics of BatchNorm as these images give them, and scores of all sizes."""
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            scale = (0.1 if shift else 0.2) if name.endswith("bn3") else 1.0  # small branches keep rounding small
            module.weight.fill_(scale)
            module.bias.fill_(scale * shift)
        elif isinstance(module, nn.Conv2d) and name.startswith("head."):  # towers
            module.bias.fill_(shift)
    model.backbone.train()
    for image in images:
        model.backbone(model.transform([image / 255])[0].tensors)
    model.eval()
    for name, wanted in DEVIATIONS.items():
        module = dict(model.named_modules()).get(name)
        if module is not None:
            module.weight.mul_(wanted / _deviation_of(model, module, images[0]))
            module.bias.fill_(-3.0 if "classification" in name else 0.0)
            if "classification" in name:  # the class that torchvision does not use: it is none of ours
                module.weight.view(-1, NUM_CLASSES, *module.weight.shape[1:])[:, 0] = 0
                module.bias.view(-1, NUM_CLASSES)[:, 0] = -100.0
            if name.endswith("cls_score"):
                module.bias[0] = 2.0  # the background
    if shift and hasattr(model, "roi_heads") and model.roi_heads.has_keypoint():
        _shift_keypoint_head(model, images[0], shift)


def _shift_keypoint_head(model: nn.Module, image: Tensor, shift: float) -> None:
    """Bring what its convolutions give to twice `shift` standard deviations above 0: one of the few RoIs' values on
    the other side of a kink is 0.1 % of a gradient. Its heat maps get their size again.
    """
    for module in model.roi_heads.keypoint_head.modules():
        if isinstance(module, nn.Conv2d):
            module.bias.fill_(2 * shift * _deviation_of(model, module, image))
    predictor = "roi_heads.keypoint_predictor.kps_score_lowres"
    module = dict(model.named_modules())[predictor]
    module.weight.mul_(DEVIATIONS[predictor] / _deviation_of(model, module, image))


def _deviation_of(model: nn.Module, module: nn.Module, image: Tensor) -> float:
    """Standard deviation of what a layer gives for an image."""
    outputs: list[Tensor] = []
    hook = module.register_forward_hook(lambda _, __, output: outputs.append(output.flatten()))
    model([image / 255])
    hook.remove()
    return torch.cat(outputs).std().item()


def found_by_theirs(model: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """Detections of torchvision's model: boxes, labels, scores, masks in the frames of their boxes, and key points with
    their heat maps.
    """
    kept: dict[str, Any] = {}
    heads = getattr(model, "roi_heads", None)
    hooks = [] if heads is None else [heads.register_forward_hook(lambda _, __, output: kept.update(output[0][0]))]
    predictor = getattr(heads, "keypoint_predictor", None)
    if predictor is not None:
        hooks.append(predictor.register_forward_hook(lambda _, __, output: kept.update(heat_maps=output)))
    with torch.no_grad():
        (found,) = model([image / 255])
    for hook in hooks:
        hook.remove()
    if heads is not None:
        found = {**kept}
        if "masks" in found:
            found["masks"] = found["masks"][:, 0]
    return found


def found_by_ours(model: Detector, image: Tensor) -> dict[str, Tensor]:
    """Detections of our model, and of a keypoint head its heat maps, float32 [D, K, S, S]."""
    heads = getattr(model, "roi_heads", None)
    branch = getattr(heads, "keypoint_branch", None)
    kept: dict[str, Tensor] = {}
    hook = branch and branch.head.register_forward_hook(lambda _, __, output: kept.update(heat_maps=output))
    with torch.no_grad():
        (found,) = model([image])
    if hook is not None:
        hook.remove()
    return {**found, **kept}
