"""FPT on a backbone of timm: any model that offers `features_only`, with any number of levels.

Needs timm: pip install 'fpt[timm]'. Seconds on a CPU. Prints the maps before and after the neck, then takes one step
and detects with torchvision's Faster R-CNN on top.
"""

from __future__ import annotations

import argparse
import sys
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

from fpt.modeling.neck.fpt import FeaturePyramidTransformer
from fpt.modeling.neck.network import FeaturePyramidTransformerNetwork


class TimmBackbone(nn.Module):
    """A timm backbone and FPT: images [B, 3, H, W] -> maps [B, out_channels, H_l, W_l] by name ("4" = stride 4).

    Args:
        name: of a timm model whose maps halve from level to level.
        out_channels: of every map.
        first_stride: the finest map to use has this stride; finer ones cost much and are rarely needed.
        is_pretrained: download timm's weights.
    """

    def __init__(self, name: str, *, out_channels: int, first_stride: int = 4, is_pretrained: bool = False) -> None:
        super().__init__()
        strides = _create(name).feature_info.reduction()
        levels = [index for index, stride in enumerate(strides) if stride >= first_stride]
        if [strides[level] for level in levels] != [strides[levels[0]] * 2**step for step in range(len(levels))]:
            raise ValueError(f"the maps of {name} have strides {strides}, a pyramid's double from level to level")
        self.backbone = _create(name, pretrained=is_pretrained, out_indices=levels)
        self.is_channels_last = "NHWC" in str(getattr(self.backbone, "output_fmt", ""))  # Swin and others
        self.names = [str(strides[level]) for level in levels]
        self.neck = FeaturePyramidTransformerNetwork(
            self.backbone.feature_info.channels(),
            out_channels,
            transformer=FeaturePyramidTransformer(in_channels=out_channels, num_levels=len(levels), max_keys=400),
        )
        self.out_channels = out_channels

    def features(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """The backbone's maps by name."""
        maps = self.backbone(images)
        if self.is_channels_last:
            maps = [x.permute(0, 3, 1, 2) for x in maps]
        return OrderedDict(zip(self.names, maps, strict=True))

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """The neck's maps by name."""
        return self.neck(self.features(images))


def _create(name: str, **options: Any) -> nn.Module:
    """A timm model that gives its maps; of images of any size where it has a size of its own, as Swin has."""
    try:
        return timm.create_model(name, features_only=True, strict_img_size=False, **options)
    except TypeError:
        return timm.create_model(name, features_only=True, **options)


def make_detector(backbone: TimmBackbone) -> FasterRCNN:
    """Faster R-CNN of torchvision on all levels of the backbone."""
    anchors = AnchorGenerator(
        tuple((8 * int(name),) for name in backbone.names), ((0.5, 1.0, 2.0),) * len(backbone.names)
    )
    pooler = MultiScaleRoIAlign(featmap_names=backbone.names, output_size=7, sampling_ratio=2)
    return FasterRCNN(
        backbone,
        3,
        min_size=128,
        max_size=192,
        rpn_anchor_generator=anchors,
        box_roi_pool=pooler,
        box_detections_per_img=5,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the example; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet18", help="name of a timm model (%(default)s)")
    parser.add_argument("--pretrained", action="store_true", help="download timm's weights")
    args = parser.parse_args(argv)
    torch.manual_seed(0)
    backbone = TimmBackbone(args.backbone, out_channels=64, is_pretrained=args.pretrained)
    image = torch.rand(1, 3, 128, 192)
    before, after = backbone.features(image), backbone(image)
    for name, x in before.items():
        print(f"stride {name:>2}: {list(x.shape[1:])} -> {list(after[name].shape[1:])}")
    model = make_detector(backbone)
    target = {"boxes": torch.tensor([[20.0, 20, 90, 100]]), "labels": torch.tensor([1])}
    losses = model(list(image), [target])
    sum(losses.values()).backward()
    print(", ".join(f"{key} {value.item():.3f}" for key, value in losses.items()))
    print(f"{len(model.eval()(list(image))[0]['boxes'])} boxes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
