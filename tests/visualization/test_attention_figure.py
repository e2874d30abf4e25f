"""Figures of attention."""

from __future__ import annotations

import cv2
import numpy as np

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
