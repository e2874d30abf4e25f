"""Command line that shows where the transformers of a trained model look."""

from __future__ import annotations

import argparse
import logging
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fpt.cli.common import add_weights_options, make_parser, read_config, refuse_detectron, run_command
from fpt.core.config_node import CfgNode
from fpt.dataloaders.build import build_transform
from fpt.dataloaders.image_io import read_image
from fpt.dataloaders.transforms import resize_image
from fpt.modeling.detector import GeneralizedRCNN
from fpt.modeling.neck.area import level_area
from fpt.modeling.neck.attention_rows import AttentionRow, attention_rows, rendering_weights
from fpt.modeling.neck.fpt import FeaturePyramidTransformer
from fpt.run.image_files import find_images, output_names
from fpt.run.trained_model import load_trained_model
from fpt.utils.errors import UserError
from fpt.visualization.attention import BarPanel, HeatPanel, LevelView, draw_attention, save_figure

_LOGGER = logging.getLogger("fpt")


def point(text: str) -> tuple[float, float]:
    """Type of ``--points``: "120,80" -> (120.0, 80.0)."""
    try:
        x, y = (float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not X,Y, as in 120,80") from None
    return x, y


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = make_parser(
        "Show, for points of an image, where the self- and grounding transformers look on each level, and the channel "
        "weights of the rendering transformers: one figure for each image and point."
    )
    add_weights_options(parser, required=True)
    images = parser.add_mutually_exclusive_group(required=True)
    images.add_argument("--image_dir", type=Path, metavar="DIR", help="all images of this folder")
    images.add_argument("--images", type=Path, metavar="FILE", nargs="+", help="these images")
    parser.add_argument("--points", type=point, nargs="+", required=True, metavar="X,Y", help="in pixels of the image")
    parser.add_argument("--output_dir", type=Path, default=Path("attention_outputs"), help="where to (%(default)s)")
    parser.add_argument("--output_format", choices=("png", "jpg", "pdf"), default="png", help="type (%(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the figures; returns the exit status."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    refuse_detectron(args.load_detectron)
    cfg = read_config(args).freeze()
    images = find_images(args.image_dir) if args.image_dir is not None else args.images
    trained = load_trained_model(args.load_ckpt, cfg)
    model, cfg = trained.model, trained.cfg
    transformer = dict(model.neck.named_children()).get("transformer")
    if not isinstance(transformer, FeaturePyramidTransformer):
        raise UserError(f"MODEL.CONV_BODY {cfg.MODEL.CONV_BODY} has no transformer to look at: add _fpt")
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for path, name in zip(images, output_names(images), strict=True):
        image = read_image(path)
        _check_points(args.points, image, path)
        features = pyramid_of(cfg, model, image)
        for x, y in args.points:
            views = look(transformer, features, (x, y), (image.shape[0], image.shape[1]))
            target = args.output_dir / f"{name}_{x:g}_{y:g}.{args.output_format}"
            save_figure(draw_attention(image, (x, y), views), target)
            _LOGGER.info("wrote %s", target)
    return 0


def _check_points(points: Sequence[tuple[float, float]], image: np.ndarray, path: Path) -> None:
    height, width = image.shape[:2]
    for x, y in points:
        if not (0 <= x < width and 0 <= y < height):
            raise UserError(f"--points {x:g},{y:g} is outside of {path}, {width} x {height} pixels")


@torch.inference_mode()
def pyramid_of(cfg: CfgNode, model: GeneralizedRCNN, image: np.ndarray) -> OrderedDict[str, Tensor]:
    """What goes into the transformer for an image uint8 [H, W, 3], cut to the image's own cells: {level: maps}."""
    input_hw, _ = build_transform(cfg, is_train=False).draw((image.shape[0], image.shape[1]), None)
    tensor = torch.from_numpy(resize_image(image, input_hw)).permute(2, 0, 1).to(cfg.DEVICE)
    batch = model.normalizer([tensor])
    sizes = {"sizes_hw": batch.sizes_hw, "padded_hw": batch.padded_hw}
    maps = model.neck.get_submodule("pyramid")(model.backbone(batch.tensor), **sizes)
    return OrderedDict(
        (name, level_area(x, batch.sizes_hw, batch.padded_hw).crops(x)[0][None]) for name, x in maps.items()
    )


def look(
    transformer: FeaturePyramidTransformer,
    features: OrderedDict[str, Tensor],
    point_xy: tuple[float, float],
    image_hw: tuple[int, int],
) -> list[LevelView]:
    """A row of panels for each level, for a point in pixels of an image of `image_hw` pixels."""
    views = []
    for name, x in features.items():
        h, w = x.shape[-2:]
        row, column = int(point_xy[1] * h / image_hw[0]), int(point_xy[0] * w / image_hw[1])
        panels: list[HeatPanel | BarPanel] = [
            HeatPanel(_title(found), found.weights.cpu().numpy())
            for found in attention_rows(transformer, features, level=name, position=(row, column))
        ]
        if transformer.renderings:
            panels += [
                BarPanel(f"RT from {fine}: weights", weights.cpu().numpy())
                for fine, weights in rendering_weights(features, level=name).items()
            ]
        step_y, step_x = image_hw[0] / h, image_hw[1] / w
        box = (column * step_x - 0.5, row * step_y - 0.5, (column + 1) * step_x - 0.5, (row + 1) * step_y - 0.5)
        views.append(LevelView(name, box, panels))
    return views


def _title(row: AttentionRow) -> str:
    shares = " ".join(f"{share:.2f}" for share in row.shares.tolist())
    h, w = row.parts.shape[1:]
    times = float(row.weights.max()) * h * w
    return f"{row.kind} {row.level} {h}x{w}, max {times:.1f}/N\n$\\pi$ {shares}"
