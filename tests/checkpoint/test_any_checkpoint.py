"""Whatever stands in a checkpoint: it is whole, or one message says what is wrong."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from fpt.checkpoint.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fpt.utils.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore")

VALUES: list[Any] = [
    *(None, True, 0, -1, 5, 1.5, float("nan"), 10**30, "", "x", b"x", [], [1], {}, {"a": 1}, (), {1: 2}),
    *(
        torch.ones(2),
        torch.tensor(float("nan")),
        torch.ones(1).expand(1000, 1000),
        torch.ones(2, dtype=torch.complex64),
    ),
]


def _save(path: Path) -> None:
    buffers = {0: {"momentum_buffer": torch.ones(2)}}
    optimizer = {"type": "SGD", "param_groups": [{"params": [0], "lr": 0.1}], "state": buffers}
    window = {"losses": {"loss": [0.5]}, "norms": [1.0]}
    weights = {"w": torch.rand(2), "b": torch.rand(5)}
    checkpoint = Checkpoint(
        model=weights,
        classes=["a", "b"],
        config="A: 1",
        step=5,
        images=10,
        optimizer=optimizer,
        metrics={"bbox": {"AP": 0.5}},
        best=0.5,
        average=dict(weights),
        loop={"skipped": 0, "skipped_in_row": 0, "evaluated": 3, "window": window},
    )
    save_checkpoint(path, checkpoint)
    (path.parent / "manifest.json").unlink()


def _assert_whole(checkpoint: Checkpoint) -> None:
    assert type(checkpoint.step) is int
    assert checkpoint.step >= 0
    assert checkpoint.classes
    assert all(isinstance(name, str) for name in checkpoint.classes)
    assert all(torch.isfinite(value).all() for value in checkpoint.model.values())


@pytest.mark.parametrize("seed", range(3))
def test_any_value_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = tmp_path / "a.pth"
    _save(path)
    whole = torch.load(path, weights_only=True)
    for _ in range(60):
        content = copy.deepcopy(whole)
        container: Any = content
        while True:
            key = rng.choice(list(container))
            if not isinstance(container[key], dict) or not container[key] or rng.random() < 0.4:
                break
            container = container[key]
        if rng.random() < 0.1:
            del container[key]
        else:
            container[key] = rng.choice(VALUES)
        torch.save(content, path)
        try:
            checkpoint = load_checkpoint(path)
        except UserError as error:
            str(error).encode()
        else:
            _assert_whole(checkpoint)


@pytest.mark.parametrize("seed", range(3))
def test_any_damage_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = tmp_path / "a.pth"
    _save(path)
    whole = path.read_bytes()
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 5, 50))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.choice((None, None, rng.randrange(len(data))))])
        try:
            checkpoint = load_checkpoint(path)
        except UserError as error:
            str(error).encode()
        else:
            _assert_whole(checkpoint)
