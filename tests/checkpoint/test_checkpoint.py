"""Own checkpoints: round trip, atomic writing, refusal of other models."""

import errno
import resource
from pathlib import Path

import pytest
import torch
from torch import nn

from fpt.checkpoint.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_fitting_weights,
    load_weights,
    save_checkpoint,
    whole_parts,
)
from fpt.utils.errors import UserError


def make_model(num_classes: int, width: int = 4) -> nn.Module:
    return nn.ModuleDict({"backbone": nn.Linear(3, width), "score": nn.Linear(width, num_classes)})


def make_checkpoint(num_classes: int = 3, **more: object) -> Checkpoint:
    names = [f"c{i}" for i in range(num_classes - 1)]
    return Checkpoint(model=make_model(num_classes).state_dict(), classes=names, config="A: 1\n", step=7, **more)


def test_round_trip_with_optimizer(tmp_path: Path) -> None:
    model = make_model(3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sum(p.sum() for p in model.parameters()).backward()
    optimizer.step()
    state = make_checkpoint(optimizer=optimizer.state_dict(), images=14, best=0.5)
    save_checkpoint(tmp_path / "ckpt" / "model_step7.pth", state)
    loaded = load_checkpoint(tmp_path / "ckpt" / "model_step7.pth")
    assert (loaded.step, loaded.images, loaded.best, loaded.classes) == (7, 14, 0.5, ["c0", "c1"])
    optimizer.load_state_dict(loaded.optimizer)
    buffers = [value["momentum_buffer"] for value in optimizer.state_dict()["state"].values()]
    assert all(torch.equal(buffer, torch.ones_like(buffer)) for buffer in buffers)


@pytest.mark.parametrize("num_values", [200, 2000])
def test_file_that_cannot_grow_leaves_the_old_one_and_the_system_s_reason(tmp_path: Path, num_values: int) -> None:
    path = tmp_path / "a.pth"
    save_checkpoint(path, make_checkpoint())
    large = make_checkpoint(average={"weight": torch.zeros(num_values)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            save_checkpoint(path, large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.errno == errno.EFBIG
    assert load_checkpoint(path).average is None
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.pth", "manifest.json"]


def test_failed_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    save_checkpoint(path, make_checkpoint())
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(path, make_checkpoint(metrics={"x": lambda: None}))
    assert load_checkpoint(path).step == 7
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.pth", "manifest.json"]


def test_average_takes_the_place_of_the_weights() -> None:
    averaged = {"score.weight": torch.zeros(1)}
    checkpoint = make_checkpoint(average=averaged)
    checkpoint.use_average()
    assert checkpoint.model is averaged
    checkpoint.use_average()
    assert checkpoint.model is averaged


def test_state_dict_alone_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save(make_model(3).state_dict(), tmp_path / "a.pth")
    with pytest.raises(UserError, match="is no checkpoint of this program"):
        load_checkpoint(tmp_path / "a.pth")


def test_other_format_and_incomplete_file(tmp_path: Path) -> None:
    torch.save({"format": 99}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="format 99; this version reads 1 and 2"):
        load_checkpoint(tmp_path / "a.pth")
    torch.save({"format": 1, "step": 3}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="is incomplete.*'model'"):
        load_checkpoint(tmp_path / "a.pth")


def test_entry_model_without_tensors_is_damage(tmp_path: Path) -> None:
    for model in (None, {"a": 1}):
        torch.save({"format": 1, "step": 3, "model": model, "classes": [], "config": ""}, tmp_path / "a.pth")
        with pytest.raises(UserError, match=r"a\.pth is damaged"):
            load_checkpoint(tmp_path / "a.pth")


def test_weights_of_the_same_model_are_all_copied() -> None:
    model, checkpoint = make_model(3), make_checkpoint(3)
    load_weights(model, checkpoint, source="a.pth")
    assert all(torch.equal(value, checkpoint.model[name]) for name, value in model.state_dict().items())


def test_predictors_start_afresh_for_other_classes() -> None:
    model, checkpoint = make_model(5), make_checkpoint(3)
    before = model["score"].weight.clone()
    assert load_fitting_weights(model, checkpoint, source="a.pth") == (["score"], [])
    assert torch.equal(model["score"].weight, before)
    assert torch.equal(model["backbone"].weight, checkpoint.model["backbone.weight"])


def test_part_that_the_file_lacks_starts_afresh_and_one_too_many_is_named() -> None:
    checkpoint = make_checkpoint(3)
    checkpoint.model["mask.convs.0.weight"] = torch.zeros(1)
    del checkpoint.model["score.bias"]
    model = make_model(3)
    assert load_fitting_weights(model, checkpoint, source="a.pth") == (["score.bias"], ["mask"])
    assert torch.equal(model["score"].weight, checkpoint.model["score.weight"])


def test_weights_of_another_backbone_are_refused() -> None:
    with pytest.raises(UserError, match=r"a\.pth holds another network: only 0% of the backbone.*backbone\.weight"):
        load_fitting_weights(make_model(3, width=6), make_checkpoint(3), source="a.pth")


def test_whole_parts_are_named_by_their_shortest_name() -> None:
    names = ["a.x.w", "a.x.b", "a.y.w", "ab.w", "c.w"]
    assert whole_parts(names, ["a.x.w", "a.x.b", "c.w"]) == ["a.x", "c"]
    assert whole_parts(names, ["a.x.w", "a.x.b", "a.y.w"]) == ["a"]


def test_other_shapes_are_refused() -> None:
    with pytest.raises(UserError, match=r"a\.pth holds another model.*backbone\.weight \(4, 3\) -> \(6, 3\)"):
        load_weights(make_model(3, width=6), make_checkpoint(3), source="a.pth")


def test_other_names_are_refused() -> None:
    checkpoint = make_checkpoint(3)
    checkpoint.model["mask.weight"] = checkpoint.model.pop("score.weight")
    with pytest.raises(UserError, match=r"it lacks score\.weight; it has, beyond the model, mask\.weight"):
        load_weights(make_model(3), checkpoint, source="a.pth")
