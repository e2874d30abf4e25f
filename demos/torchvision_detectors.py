"""FPT as the neck of torchvision's own detectors: one assignment, then everything as before.

Each detector takes a training step on two made-up images of different sizes, detects, and hands its weights on.
Seconds on a CPU. In your own code:

    from torchvision.models.detection import maskrcnn_resnet50_fpn
    from torchvision.ops.feature_pyramid_network import LastLevelMaxPool
    from fpt.modeling.neck.network import FeaturePyramidTransformerNetwork

    model = maskrcnn_resnet50_fpn(weights_backbone="DEFAULT")
    model.backbone.fpn = FeaturePyramidTransformerNetwork([256, 512, 1024, 2048], 256, LastLevelMaxPool())
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.resnet import resnet18
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool, LastLevelP6P7

from fpt.layers.norm import group_norm
from fpt.modeling.neck.fpn import FeaturePyramid
from fpt.modeling.neck.network import FeaturePyramidTransformerNetwork

NUM_CLASSES = 4  # background included
WIDTH = 64


def make_backbone(layers: Sequence[int], extra_blocks: ExtraFPNBlock) -> BackboneWithFPN:
    """torchvision's ResNet-18 with FPN, its FPN replaced by FPN and FPT."""
    channels = [64 * 2 ** (layer - 1) for layer in layers]
    names = {f"layer{layer}": str(index) for index, layer in enumerate(layers)}
    norm = partial(group_norm, num_groups=16)
    resnet = resnet18(weights=None, norm_layer=norm)  # from scratch, so GroupNorm; with weights: FrozenBatchNorm2d
    backbone = BackboneWithFPN(resnet, names, channels, WIDTH, extra_blocks)
    backbone.fpn = FeaturePyramidTransformerNetwork(
        channels,
        WIDTH,
        extra_blocks,
        norm,
        pyramid=FeaturePyramid(in_channels=channels, out_channels=WIDTH, norm=norm),  # leave it out for 1x1 laterals
    )
    return backbone


def make_detector(name: str) -> nn.Module:
    """Faster R-CNN, Mask R-CNN or RetinaNet of torchvision, on small images."""
    if name == "retinanet":
        anchors = AnchorGenerator(tuple((size,) for size in (16, 32, 64, 128, 256)), ((0.5, 1.0, 2.0),) * 5)
        backbone = make_backbone((2, 3, 4), LastLevelP6P7(WIDTH, WIDTH))
        return RetinaNet(backbone, NUM_CLASSES, min_size=128, max_size=200, anchor_generator=anchors)
    kind = MaskRCNN if name == "maskrcnn" else FasterRCNN
    backbone = make_backbone((1, 2, 3, 4), LastLevelMaxPool())
    return kind(
        backbone,
        NUM_CLASSES,
        min_size=128,
        max_size=200,
        rpn_post_nms_top_n_train=200,
        rpn_post_nms_top_n_test=50,
        box_detections_per_img=5,
    )


def make_batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Two images of different sizes and their targets."""
    images = [torch.rand(3, 101, 167), torch.rand(3, 140, 96)]
    boxes, labels = torch.tensor([[10.0, 10, 60, 70], [30, 20, 90, 90]]), torch.tensor([1, 3])
    targets = []
    for image in images:
        masks = torch.zeros(2, *image.shape[-2:], dtype=torch.uint8)
        for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
            mask[top:bottom, left:right] = 1
        targets.append({"boxes": boxes, "labels": labels, "masks": masks})
    return images, targets


def try_out(name: str) -> None:
    """A training step, detection, and weights into a second model."""
    start = time.perf_counter()
    torch.manual_seed(0)
    model, (images, targets) = make_detector(name), make_batch()
    losses = model(images, targets)
    sum(losses.values()).backward()
    torch.optim.SGD(model.parameters(), lr=0.001).step()
    found = model.eval()(images)
    copy = make_detector(name).eval()
    copy.load_state_dict(model.state_dict(), strict=True)
    if not torch.equal(copy(images)[0]["boxes"], found[0]["boxes"]):
        raise RuntimeError(f"{name}: the same weights gave other detections")
    shown = ", ".join(f"{key} {value.item():.3f}" for key, value in losses.items())
    print(f"{name}: {shown}; {len(found[0]['boxes'])} boxes; {time.perf_counter() - start:.1f} s")


def main(argv: Sequence[str] | None = None) -> int:
    """Try the detectors; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detectors", nargs="*", default=["fasterrcnn", "maskrcnn", "retinanet"], metavar="DETECTOR")
    names = parser.parse_args(argv).detectors
    for name in names:
        if name not in ("fasterrcnn", "maskrcnn", "retinanet"):
            parser.error(f"no detector {name!r}: fasterrcnn, maskrcnn or retinanet")
        try_out(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
