"""What is read from a model to show where it looks."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from fpt.core.config import load_cfg
from fpt.dataloaders.image_io import read_image
from fpt.modeling.build import build_model
from fpt.run.attention_maps import draw_attention_files, look, pyramid_of
from fpt.run.trained_model import TrainedModel, load_trained_model
from fpt.utils.errors import UserError

OPTIONS = ["MODEL.CONV_BODY", "FPN.ResNet18_conv5_body_fpt", "TEST.SCALE", "40", "TEST.MAX_SIZE", "40"]


@pytest.fixture
def untrained(tiny) -> TrainedModel:
    """A model with a transformer."""
    cfg = load_cfg(tiny.cfg, OPTIONS)
    torch.manual_seed(0)
    model = build_model(cfg, num_classes=3).eval()
    return TrainedModel(model=model, cfg=cfg, class_names=("red", "green"), step=0)


def test_the_pyramid_is_cut_to_the_image(tiny, untrained: TrainedModel) -> None:
    maps = pyramid_of(untrained.cfg, untrained.model, read_image(tiny.folder / "images/1.png"))
    assert isinstance(maps, OrderedDict)
    assert [tuple(x.shape[-2:]) for x in maps.values()] == [(10, 10), (5, 5), (3, 3), (2, 2)]


def test_a_level_has_the_cell_of_the_point_and_a_panel_for_each_transformer(tiny, untrained: TrainedModel) -> None:
    maps = pyramid_of(untrained.cfg, untrained.model, read_image(tiny.folder / "images/1.png"))
    views = look(untrained.model.neck.transformer, maps, (63.5, 0.0), (64, 64))
    assert [view.name for view in views] == list(maps)
    assert np.allclose(views[1].cell_xyxy, (4 * 12.8 - 0.5, -0.5, 63.5, 12.3))  # the last of 5 columns, the first row
    assert [len(view.panels) for view in views] == [4, 4, 4, 4]  # ST, GT of each coarser, RT from each finer level


def test_files_are_written_and_returned(tiny, untrained: TrainedModel) -> None:
    target = tiny.folder / "a" / "figures"
    files = draw_attention_files(untrained, [tiny.folder / "images/1.png"], [(5, 6)], target, suffix="jpg")
    assert files == [target / "1_5_6.jpg"]
    assert files[0].stat().st_size > 1000


def test_a_model_without_transformer_is_refused(trained, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no transformer to look at"):
        draw_attention_files(load_trained_model(trained.checkpoint), [], [], tmp_path)
