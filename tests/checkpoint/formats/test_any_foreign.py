"""Models of other programs with random damage: they load, or one message says why not."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fpt.checkpoint.backbone_weights import expected_pixels, load_backbone_weights
from fpt.checkpoint.checkpoint import load_checkpoint, load_fitting_weights, load_weights
from fpt.checkpoint.formats.programs import PROGRAMS, our_layout
from fpt.run.convert import to_program
from fpt.utils.errors import UserError

from .test_files import small_backbone, small_model

SEEDS = range(10)
ODD: tuple[Any, ...] = (
    torch.tensor(1.0),
    torch.zeros(0),
    torch.zeros(0, 4),
    torch.ones(1, 1, 1, 1, 1),
    torch.tensor([7], dtype=torch.int64),
    torch.tensor(True),
    torch.tensor([1j]),
    "text",
    None,
    -3,
    [1, 2],
    {"a": torch.ones(2)},
)


@pytest.fixture(scope="module")
def files() -> dict[str, dict[str, torch.Tensor]]:
    model = small_model().state_dict()
    assert our_layout(model).blocks == (2, 3, 5, 2)
    return {program.name: to_program(model, program)[0] for program in PROGRAMS}


def _damage(tensors: dict[str, Any], random: np.random.Generator) -> dict[str, Any]:
    """Some entries gone, some odd, some under other names."""
    result = dict(tensors)
    keys = list(result)
    important = [name for name in keys if any(part in name for part in ("cls_score", "conv1", "bbox_pred", "res2_0"))]
    for _ in range(int(random.integers(1, 6))):
        name = str(random.choice(important if random.random() < 0.5 else keys))
        action = random.integers(4)
        if action == 0:
            result.pop(name, None)
        elif action == 1 and name in result:
            result[str(random.choice(keys))] = result[name]
        else:
            result[name] = ODD[int(random.integers(len(ODD)))]
    return result


def _content(program: str, tensors: dict[str, Any], random: np.random.Generator) -> Any:
    others = {
        key: ODD[int(random.integers(len(ODD)))] for key in ("step", "batch_size", "optimizer", "lr", "fpt_notes")
    }
    if random.random() < 0.5:
        groups = [
            {"params": ODD[int(random.integers(len(ODD)))]},
            {"params": [0, 1]},
            ODD[int(random.integers(len(ODD)))],
        ]
        others["optimizer"] = {"param_groups": groups, "state": {0: {"momentum_buffer": torch.ones(3)}, 1: 5}}
    return {"model": tensors, **others}


@pytest.mark.parametrize("program", [program.name for program in PROGRAMS])
def test_damage_ends_in_one_message_at_most(
    tmp_path: Path, program: str, files: dict[str, dict[str, torch.Tensor]], caplog: pytest.LogCaptureFixture
) -> None:
    model, backbone = small_model(), small_backbone()
    messages: list[str] = []
    for seed in SEEDS:
        random = np.random.default_rng(seed)
        path = tmp_path / f"{seed}.pth"
        content = _content(program, _damage(files[program], random), random)
        if seed % 2 and program == "detectron":
            arrays = {name: np.asarray(value) for name, value in content["model"].items() if value is not None}
            path.write_bytes(pickle.dumps({"blobs": arrays}, 2))
        else:
            torch.save(content, path)
        for use in (
            lambda path: load_weights(model, load_checkpoint(path), source=path),
            lambda path: load_fitting_weights(model, load_checkpoint(path), source=path),
            lambda path: load_backbone_weights(backbone, path),
            expected_pixels,
        ):
            try:
                use(path)
            except UserError as error:
                messages.append(str(error))
            except Exception as error:
                raise AssertionError(f"seed {seed}: {type(error).__name__}") from error
    assert messages
    assert all("\n" not in message for message in messages)
