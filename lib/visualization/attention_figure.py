"""A figure of where a position looks: heat maps over the photo, and channel weights as bars."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fpt.utils.files import write_atomic
from fpt.visualization.image_output import check_jpeg_size, explained_output, known_suffix

_CELL_INCHES = 2.6
_DPI = 110
_COLOUR_MAP = "inferno"
_QUERY_COLOUR = "#00d7ff"
_BAR_COLOUR = "#b5367a"
_GREY_SHARE = 0.5


@dataclass(frozen=True)
class HeatPanel:
    """Weights over the image.

    Attributes:
        title: above the panel.
        weights: [h, w], at least 0; a cell covers its share of the image.
    """

    title: str
    weights: np.ndarray


@dataclass(frozen=True)
class BarPanel:
    """Weights of channels.

    Attributes:
        title: above the panel.
        values: [C].
    """

    title: str
    values: np.ndarray


@dataclass(frozen=True)
class LevelView:
    """A row of the figure.

    Attributes:
        name: of the level of the query.
        cell_xyxy: what the query's cell covers, in pixels of the image.
        panels: from left to right.
    """

    name: str
    cell_xyxy: tuple[float, float, float, float]
    panels: Sequence[HeatPanel | BarPanel]


def draw_attention(image: np.ndarray, point_xy: tuple[float, float], levels: Sequence[LevelView]) -> Figure:
    """A row for each level: the photo with the query's cell, then its panels.

    Args:
        image: uint8 [H, W, 3] RGB.
        point_xy: the point that was asked for, in pixels.
        levels: finest first.
    """
    columns = 1 + max(len(level.panels) for level in levels)
    height, width = image.shape[:2]
    figure = Figure(
        figsize=(_CELL_INCHES * columns, (_CELL_INCHES * height / width + 0.45) * len(levels) + 0.3),
        dpi=_DPI,
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(levels), columns, squeeze=False)
    grey = _grey(image)
    for row, level in zip(axes, levels, strict=True):
        _draw_photo(row[0], image, point_xy, level)
        for axis, panel in zip(row[1:], level.panels, strict=False):
            if isinstance(panel, HeatPanel):
                _draw_heat(axis, grey, panel, level.cell_xyxy)
            else:
                _draw_bars(axis, panel)
                axis.set_box_aspect(height / width)
        for axis in row[1 + len(level.panels) :]:
            axis.set_axis_off()
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure; its type is the suffix of `path` (png, jpg, pdf). The file is complete or absent.

    Raises:
        UserError: another suffix, more pixels a side than the format has, or a file that cannot be written.
    """
    suffix = known_suffix(path)
    if suffix in (".jpg", ".jpeg"):
        width, height = (round(inches * figure.dpi) for inches in figure.get_size_inches())
        check_jpeg_size(path, (height, width))
    content = io.BytesIO()
    figure.savefig(content, format=suffix.removeprefix("."))
    with explained_output(path):
        write_atomic(path, lambda file: file.write(content.getvalue()))


def _grey(image: np.ndarray) -> np.ndarray:
    """The image in pale grey, float [H, W, 3] in 0..1."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    return np.repeat(grey[..., None], 3, axis=2)


def _draw_photo(axis: Axes, image: np.ndarray, point_xy: tuple[float, float], level: LevelView) -> None:
    axis.imshow(image)
    _mark(axis, level.cell_xyxy)
    axis.plot(*point_xy, marker="+", color=_QUERY_COLOUR, markersize=9, markeredgewidth=1.6)
    axis.set_title(f"query on {level.name}", fontsize=8)
    _bare(axis, image.shape)


def _draw_heat(axis: Axes, grey: np.ndarray, panel: HeatPanel, cell_xyxy: tuple[float, float, float, float]) -> None:
    """Colour = weight over the largest one, laid over the grey photo."""
    height, width = grey.shape[:2]
    cells = (panel.weights / max(float(panel.weights.max()), 1e-12)).astype(np.float32)
    share = cv2.resize(cells, (width, height), interpolation=cv2.INTER_NEAREST)
    colours = colormaps[_COLOUR_MAP](share)[..., :3]
    axis.imshow(_GREY_SHARE * grey + (1 - _GREY_SHARE) * colours)
    _mark(axis, cell_xyxy)
    axis.set_title(panel.title, fontsize=8)
    _bare(axis, grey.shape)


def _draw_bars(axis: Axes, panel: BarPanel) -> None:
    axis.bar(np.arange(len(panel.values)), panel.values, width=1.0, color=_BAR_COLOUR)
    axis.axhline(0, color="black", linewidth=0.5)
    axis.set_title(panel.title, fontsize=8)
    axis.tick_params(labelsize=6)
    axis.set_xlabel("channel", fontsize=6)
    axis.margins(x=0)


def _mark(axis: Axes, cell_xyxy: tuple[float, float, float, float]) -> None:
    """Outline of the query's cell."""
    x1, y1, x2, y2 = cell_xyxy
    axis.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color=_QUERY_COLOUR, linewidth=1.2)


def _bare(axis: Axes, shape: tuple[int, ...]) -> None:
    axis.set_xlim(-0.5, shape[1] - 0.5)
    axis.set_ylim(shape[0] - 0.5, -0.5)
    axis.set_xticks([])
    axis.set_yticks([])
