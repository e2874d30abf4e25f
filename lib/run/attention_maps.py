"""Figures of where the transformers of a trained model look."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fpt.core.config_node import CfgNode
from fpt.dataloaders.build import build_reading, build_transform
from fpt.dataloaders.image_io import read_image
from fpt.dataloaders.semantic.dataset import input_size
from fpt.dataloaders.transforms import resize_image
from fpt.modeling.build import Model
from fpt.modeling.neck.area import level_area
from fpt.modeling.neck.attention_rows import AttentionRow, attention_rows, rendering_weights
from fpt.modeling.neck.compose import PyramidNeck
from fpt.modeling.neck.fpt import FeaturePyramidTransformer
from fpt.modeling.semantic.segmentor import SemanticSegmentor
from fpt.run.image_files import output_names
from fpt.run.trained_model import TrainedModel
from fpt.utils.errors import UserError
from fpt.utils.own_files import claim_outputs, recorded
from fpt.visualization.attention_figure import BarPanel, HeatPanel, LevelView, draw_attention, save_figure
from fpt.visualization.image_output import explained_output

_LOGGER = logging.getLogger("fpt")


def draw_attention_files(
    trained: TrainedModel,
    images: Sequence[Path],
    points_xy: Sequence[tuple[float, float]],
    output_dir: Path,
    *,
    names: Sequence[str] | None = None,
    suffix: str = "png",
) -> list[Path]:
    """Write a figure for each image and point: ``<output_dir>/<name>_<x>_<y>.<suffix>``; returns the files.

    Args:
        trained: a model with a transformer.
        images: files.
        points_xy: (x, y) in pixels of every image.
        output_dir: is made where it is missing.
        names: of each image's figures; None = those that `output_names` gives.
        suffix: png, jpg or pdf.

    Raises:
        UserError: the model has no transformer, an image cannot be read, a point is outside of one, or a figure would
            be written over an image or another file that is not this program's.
    """
    cfg, model = trained.cfg, trained.model
    transformer = dict(model.neck.named_children()).get("transformer")
    if not isinstance(transformer, FeaturePyramidTransformer):
        raise UserError(f"MODEL.CONV_BODY {cfg.MODEL.CONV_BODY} has no transformer to look at: add _fpt")
    names = output_names(images) if names is None else names
    targets = [figure_files(name, points_xy, output_dir, suffix=suffix) for name in names]
    written = sum(targets, [])
    claim_outputs(written, inputs=images)
    for path, files in zip(images, targets, strict=True):
        image = read_image(path, reading=build_reading(cfg))
        _check_points(points_xy, image, path)
        features = pyramid_of(cfg, model, image)
        for (x, y), target in zip(points_xy, files, strict=True):
            views = look(transformer, features, (x, y), (image.shape[0], image.shape[1]))
            with explained_output(target), recorded(target):
                save_figure(draw_attention(image, (x, y), views), target)
            _LOGGER.info("wrote %s", target)
    return written


def figure_files(
    name: str, points_xy: Sequence[tuple[float, float]], output_dir: Path, *, suffix: str = "png"
) -> list[Path]:
    """The files of an image of this name, one for each point."""
    return [output_dir / f"{name}_{x:g}_{y:g}.{suffix}" for x, y in points_xy]


def _check_points(points_xy: Sequence[tuple[float, float]], image: np.ndarray, path: Path) -> None:
    height, width = image.shape[:2]
    for x, y in points_xy:
        if not (0 <= x < width and 0 <= y < height):
            raise UserError(f"the point {x:g},{y:g} is outside of {path}, {width} x {height} pixels")


@torch.inference_mode()
def pyramid_of(cfg: CfgNode, model: Model, image: np.ndarray) -> OrderedDict[str, Tensor]:
    """What goes into the transformer for an image uint8 [H, W, 3], cut to the image's own cells: {level: maps}."""
    size_hw = (image.shape[0], image.shape[1])
    if isinstance(model, SemanticSegmentor):
        input_hw = input_size(size_hw, short_side=cfg.SEMANTIC.SHORT_SIDE)
    else:
        input_hw, _ = build_transform(cfg, is_train=False).draw(size_hw, None)
    tensor = torch.from_numpy(resize_image(image, input_hw)).permute(2, 0, 1).to(cfg.DEVICE)
    batch = model.normalizer([tensor])
    neck: PyramidNeck = model.neck  # type: ignore[assignment]
    maps = neck.base_maps(model.backbone(batch.tensor), sizes_hw=batch.sizes_hw, padded_hw=batch.padded_hw)
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
