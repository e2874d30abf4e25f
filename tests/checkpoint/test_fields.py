"""A checkpoint with a wrong field counts as damaged, whichever it is; so does a line of the manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fpt.checkpoint.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fpt.checkpoint.manifest import read_manifest
from fpt.checkpoint.store import load_newest
from fpt.utils.errors import UserError

NAN = float("nan")
WRONG: list[tuple[str, Any]] = [
    *(("step", value) for value in (-1, "5", None, 1e30, True, NAN, [5], 10**30)),
    *(("images", value) for value in ("x", -2, 1.5, None, True)),
    *(("classes", value) for value in (None, [], "ab", [1], {"a": 1}, [None])),
    *(("config", value) for value in (None, 5, b"x", {"A": 1})),
    *(("metrics", value) for value in (None, [], "x")),
    *(("best", value) for value in ("x", NAN, [1], True)),
    *(("model", value) for value in (None, {}, [], {"a": 1}, {1: torch.ones(1)}, {"a": torch.tensor([NAN])})),
    ("model", {"a": torch.ones(2, dtype=torch.complex64)}),
    *(("average", value) for value in (5, {"b": torch.ones(2)}, {"w": torch.ones(9)}, {"w": torch.full((2,), NAN)})),
    *(("optimizer", value) for value in ([], 5, "x", {"type": 5}, {"type": "SGD"}, {"type": "SGD", "param_groups": 5})),
    ("optimizer", {"type": "SGD", "param_groups": [{"params": ["a"]}], "state": {}}),
    ("optimizer", {"type": "SGD", "param_groups": [{"params": [0]}], "state": []}),
    ("optimizer", {"type": "SGD", "param_groups": [{"params": [0]}], "state": {7: {}}}),
    ("optimizer", {"type": "SGD", "param_groups": [{"params": [0]}], "state": {0: {"momentum_buffer": "x"}}}),
    ("optimizer", {"type": "SGD", "param_groups": [{"params": [0]}], "state": {0: {"step": NAN}}}),
    *(("scaler", value) for value in (5, [], {"scale": "x"}, {"scale": -1.0}, {"scale": NAN, "growth_factor": 2.0})),
    *(("loop", value) for value in (None, [], {"skipped": "x"}, {"skipped": -1}, {"evaluated": 1.5}, {"window": 5})),
    *(("loop", {"window": value}) for value in ({"losses": 5}, {"losses": {"a": ["x"]}}, {"norms": "x"})),
]


def _checkpoint(**more: Any) -> Checkpoint:
    fields = {"model": {"w": torch.ones(2)}, "classes": ["a"], "config": "", "step": 5, **more}
    return Checkpoint(**fields)


@pytest.mark.parametrize(("name", "value"), WRONG, ids=[f"{name}-{i}" for i, (name, _) in enumerate(WRONG)])
def test_a_wrong_field_is_damage(tmp_path: Path, name: str, value: Any) -> None:
    path = tmp_path / "ckpt" / "model_step6.pth"
    save_checkpoint(tmp_path / "ckpt" / "model_step5.pth", _checkpoint())
    save_checkpoint(path, _checkpoint(step=6))
    content = torch.load(path, weights_only=True)
    torch.save({**content, name: value}, path)
    (path.parent / "manifest.json").unlink()
    with pytest.raises(UserError, match=rf"model_step6\.pth is damaged: its {name}"):
        load_checkpoint(path)
    used, found = load_newest(tmp_path)
    assert (used.name, found.step) == ("model_step5.pth", 5)
    assert sorted(file.name for file in path.parent.glob("*.pth")) == ["model_step5.pth", "model_step6.pth"]


def test_there_are_many_wrong_fields() -> None:
    assert len(WRONG) >= 42


@pytest.mark.parametrize("value", ["2", None, 2.5, True, [2], 3])
def test_another_format_is_named(tmp_path: Path, value: Any) -> None:
    save_checkpoint(tmp_path / "a.pth", _checkpoint())
    torch.save({**torch.load(tmp_path / "a.pth", weights_only=True), "format": value}, tmp_path / "a.pth")
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(UserError, match="has checkpoint format .*; this version reads 1 and 2"):
        load_checkpoint(tmp_path / "a.pth")


ENTRIES: list[Any] = [
    *({"step": value, "bytes": 1, "sha256": "x"} for value in ("5", None, [5], 1.5, True, {})),
    *({"step": 5, "bytes": value, "sha256": "x"} for value in ("5", None, [1])),
    *({"step": 5, "bytes": 1, "sha256": value} for value in (5, None)),
    *(None, [], 5, "x"),
]


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_wrong_entry_of_the_manifest_is_none(tmp_path: Path, entry: Any) -> None:
    save_checkpoint(tmp_path / "ckpt" / "model_step5.pth", _checkpoint())
    save_checkpoint(tmp_path / "ckpt" / "model_best.pth", _checkpoint())
    manifest = tmp_path / "ckpt" / "manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "model_step5.pth": entry}))
    assert list(read_manifest(manifest.parent)) == ["model_best.pth"]
    assert load_newest(tmp_path)[1].step == 5
    save_checkpoint(tmp_path / "ckpt" / "model_step6.pth", _checkpoint(step=6))
    assert set(read_manifest(manifest.parent)) == {"model_best.pth", "model_step6.pth"}


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "null", "5", "", "{", '{"a": ' * 20_000, "\x00"])
def test_a_manifest_that_cannot_be_read_is_made_anew(tmp_path: Path, text: str) -> None:
    save_checkpoint(tmp_path / "ckpt" / "model_step5.pth", _checkpoint())
    (tmp_path / "ckpt" / "manifest.json").write_text(text)
    assert load_newest(tmp_path)[1].step == 5
    save_checkpoint(tmp_path / "ckpt" / "model_step6.pth", _checkpoint(step=6))
    assert load_newest(tmp_path)[1].step == 6
