"""Backbone, FPN and FPT as one ONNX file, checked against PyTorch in onnxruntime.

Needs the packages of the extra: pip install 'fpt[export]'. Seconds for a fixed size, about a minute with
--dynamic, which leaves height and width free (from 65 pixels on). To export a trained detector's own:

    model = build_model(cfg, num_classes=...); load its weights
    export(BackboneAndNeck(model.backbone, model.neck), ...)
"""

from __future__ import annotations

import argparse
import sys
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor, nn

from fpt.cli.common import run_command
from fpt.layers.norm import group_norm
from fpt.modeling.backbone.resnet import ResNet
from fpt.modeling.neck.compose import PyramidNeck
from fpt.modeling.neck.fpn import FeaturePyramid
from fpt.modeling.neck.fpt import FeaturePyramidTransformer
from fpt.utils.own_files import claim_outputs, recorded

BOUND = 1e-3  # of the largest value of a map: what float32 may differ between two orders of summation


class BackboneAndNeck(nn.Module):
    """Normalised images [B, 3, H, W] without padding -> the neck's maps by name."""

    def __init__(self, backbone: nn.Module, neck: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        return self.neck(self.backbone(images))


def make_model(max_keys: int) -> BackboneAndNeck:
    """A slim ResNet-18 with random weights, FPN and FPT, ready for evaluation."""
    torch.manual_seed(0)
    norm = partial(group_norm, num_groups=16)
    backbone = ResNet(depth=18, norm=lambda channels, _: norm(channels), base_channels=16)
    pyramid = FeaturePyramid(in_channels=backbone.out_channels, out_channels=32, norm=norm)
    transformer = FeaturePyramidTransformer(
        in_channels=32, num_levels=len(backbone.out_channels), max_keys=max_keys, norm=norm
    )
    return BackboneAndNeck(backbone, PyramidNeck(pyramid=pyramid, transformer=transformer)).eval()


def export(model: nn.Module, size: tuple[int, int], file: Path, *, is_dynamic: bool) -> None:
    """Write the model for images of a size; with `is_dynamic` for those of others too."""
    image = torch.randn(1, 3, *size)
    free = {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    program = torch.export.export(model, (image,), dynamic_shapes=(free,) if is_dynamic else None)
    names = list(model(image))
    onnx = torch.onnx.export(program, input_names=["images"], output_names=names, dynamo=True, verbose=False)
    if onnx is None:
        raise RuntimeError("torch.onnx.export returned no program")
    onnx.save(file)


def compare(model: nn.Module, size: tuple[int, int], file: Path) -> float:
    """Largest difference between the file in onnxruntime and the model, relative to the largest value of the map."""
    image = torch.randn(1, 3, *size)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = model(image)
    outputs = session.run(list(expected), {"images": image.numpy()})
    pairs = zip(expected.values(), map(torch.from_numpy, outputs), strict=True)
    return max(float((y - x).abs().max() / x.abs().max()) for x, y in pairs)


def main(argv: Sequence[str] | None = None) -> int:
    """Export and compare; returns 1 if the difference is too large."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=[101, 135], metavar=("H", "W"), help="in pixels")
    parser.add_argument("--max_keys", type=int, default=100, help="MODEL.FPT.MAX_KEYS (%(default)s)")
    parser.add_argument("--dynamic", action="store_true", help="leave height and width free")
    parser.add_argument("--output", type=Path, default=Path("outputs/neck.onnx"), help="the file (%(default)s)")
    args = parser.parse_args(argv)
    return run_command(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    claim_outputs([args.output], advice="give another --output")
    model, size = make_model(args.max_keys), (args.size[0], args.size[1])
    with recorded(args.output):
        export(model, size, args.output, is_dynamic=args.dynamic)
    status = 0
    for tried in [size, (size[1], size[0]), (2 * size[0] + 1, size[1])] if args.dynamic else [size]:
        difference = compare(model, tried, args.output)
        print(f"{tried[0]} x {tried[1]}: differs by {difference:.1e} of the largest value (at most {BOUND:.0e})")
        status = max(status, int(not difference <= BOUND))
    return status


if __name__ == "__main__":
    sys.exit(main())
