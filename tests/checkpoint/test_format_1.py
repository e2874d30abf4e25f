"""Checkpoints of format 1 under the names of today."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from fpt.checkpoint.checkpoint import Checkpoint, load_checkpoint, load_weights
from fpt.checkpoint.format_1 import rename_parameter
from fpt.checkpoint.store import CheckpointStore, steps_in


def old_content(**more: object) -> dict[str, object]:
    """What version 0.1 wrote."""
    model = {"body.conv1.weight": torch.ones(2), "neck.pyramid.body.weight": torch.zeros(1)}
    content = {"format": 1, "model": model, "classes": ["a"], "config": "", "step": 7, "pictures": 28}
    return {
        **content,
        "optimizer": None,
        "metrics": {},
        "best": 0.5,
        "average": None,
        "scaler": None,
        "loop": {},
        **more,
    }


def test_names_are_mapped_and_values_kept(tmp_path: Path) -> None:
    average = {"body.conv1.weight": torch.full((2,), 3.0), "neck.pyramid.body.weight": torch.zeros(1)}
    torch.save(old_content(average=average), tmp_path / "a.pth")
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert (loaded.step, loaded.images, loaded.best) == (7, 28, 0.5)
    assert list(loaded.model) == list(loaded.average) == ["backbone.conv1.weight", "neck.pyramid.body.weight"]
    assert loaded.average["backbone.conv1.weight"].tolist() == [3.0, 3.0]
    model = torch.nn.Module()
    model.backbone = torch.nn.Module()
    model.backbone.conv1 = torch.nn.Module()
    model.backbone.conv1.weight = torch.nn.Parameter(torch.zeros(2))
    loaded.model.pop("neck.pyramid.body.weight")
    load_weights(model, loaded, source="a.pth")
    assert model.backbone.conv1.weight.tolist() == [1.0, 1.0]


def test_only_the_prefix_of_a_name_is_mapped() -> None:
    assert rename_parameter("body.layer1.*") == "backbone.layer1.*"
    assert rename_parameter("embody.weight") == "embody.weight"
    assert rename_parameter("roi_heads.body.weight") == "roi_heads.body.weight"
    assert rename_parameter(3) == 3


def test_a_temporary_one_of_an_older_manifest_goes_when_the_next_is_written(tmp_path: Path) -> None:
    torch.save(old_content(), tmp_path / "model_step7.pth")
    entry = {"step": 7, "passing": True}
    (tmp_path / "manifest.json").write_text(json.dumps({"model_step7.pth": entry}))
    CheckpointStore(tmp_path).save(Checkpoint(model={}, classes=[], config="", step=9))
    assert list(steps_in(tmp_path)) == [9]
