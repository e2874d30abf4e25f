"""Figures of attention."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from fpt.utils.errors import UserError
from fpt.visualization.attention_figure import BarPanel, HeatPanel, LevelView, draw_attention, save_figure


def test_a_heat_map_lies_where_its_weights_are(tmp_path):
    image = np.full((60, 80, 3), 128, np.uint8)
    weights = np.zeros((2, 2))
    weights[0, 1] = 1.0
    bars = BarPanel("RT", np.linspace(-1, 1, 16))
    views = [LevelView("p2", (0, 0, 10, 10), [HeatPanel("ST", weights), bars]), LevelView("p3", (0, 0, 20, 20), [])]
    figure = draw_attention(image, (5, 5), views)
    photo, heat, _, *hidden = figure.axes
    shown = heat.images[0].get_array()
    assert shown.shape == (60, 80, 3)
    assert shown[:30, 40:].mean() > shown[30:, 40:].mean() + 0.3
    assert np.ptp(shown[:30, 40:], axis=(0, 1)).max() < 1e-6
    assert (photo.images[0].get_array() == 128).all()
    assert [axis.axison for axis in hidden] == [True, False, False]
    save_figure(figure, tmp_path / "figure.png")
    assert cv2.imread(str(tmp_path / "figure.png")).shape[1] > 300


def test_what_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    figure = Figure(figsize=(700, 1), dpi=100)
    with pytest.raises(UserError, match=r"image format '\.tif'"):
        save_figure(figure, tmp_path / "a.tif")
    with pytest.raises(UserError, match="70000 x 100 pixels are more than the 65500 a side .*; use png"):
        save_figure(figure, tmp_path / "a.jpg")
    with pytest.raises(UserError, match="File name too long"):
        save_figure(Figure(figsize=(1, 1)), tmp_path / ("n" * 252 + ".png"))
    assert not list(tmp_path.iterdir())
