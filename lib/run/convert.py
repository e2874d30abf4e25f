"""Weights from one program's names and file format into another's."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fpt.checkpoint.checkpoint import Checkpoint, ForeignCheckpoint, load_checkpoint
from fpt.checkpoint.formats.foreign import NOTES, notes_of
from fpt.checkpoint.formats.programs import PROGRAMS, Program, our_layout
from fpt.checkpoint.formats.safetensors import write_safetensors
from fpt.checkpoint.formats.values import TO_THEIRS
from fpt.core.config import parse_cfg
from fpt.run.pixels import resolve_pixels
from fpt.utils.errors import UserError
from fpt.utils.files import write_atomic
from fpt.utils.own_files import claim_outputs, recorded

FORMATS = (".pkl", ".pth", ".safetensors")
TARGETS = ("fpt", *(program.name for program in PROGRAMS))
_STATISTICS = ("running_mean", "running_var")
_EPS = 1e-5


def convert(source: str | Path, target: str | Path, *, program: str = "", is_half: bool = False) -> list[str]:
    """Write the weights of a file under the names of a program, in the format that the target's suffix says.

    Args:
        source: checkpoint of this program (its averaged weights, where it has them), or model of another.
        target: file to write: ``.pkl`` (arrays, as Detectron), ``.pth`` (torch) or ``.safetensors``.
        program: one of TARGETS, whose names they get; empty = detectron for ``.pkl``, else fpt.
        is_half: floating-point weights as float16, for publishing: half the size, 3 digits.

    Returns:
        The names of here that the program has no place for, and that are left out.

    Raises:
        UserError: the source cannot be read, or the target has another suffix or cannot be written.
    """
    target = Path(target)
    if target.suffix not in FORMATS:
        raise UserError(f"{target} has the suffix {target.suffix!r}; it must be one of {', '.join(FORMATS)}")
    program = program or ("detectron" if target.suffix == ".pkl" else "fpt")
    if program not in TARGETS:
        raise UserError(f"--to is {program!r}; it must be one of {', '.join(TARGETS)}")
    checkpoint = load_checkpoint(source)
    checkpoint.use_average()
    notes = _notes(checkpoint)
    claim_outputs([target], inputs=[Path(source)], advice="give another name")
    tensors = dict(checkpoint.model)
    left_out: list[str] = []
    if program != "fpt":
        chosen = next(item for item in PROGRAMS if item.name == program)
        tensors, left_out = to_program(tensors, chosen)
    if is_half:
        tensors = {name: _as_half(name, value) for name, value in tensors.items()}
    with recorded(target):
        _write(target, tensors, program, notes)
    return left_out


def _as_half(name: str, value: Tensor) -> Tensor:
    half = value.half() if value.is_floating_point() else value
    if half.is_floating_point() and (half.isinf() & value.isfinite()).any():
        largest = value[value.isfinite()].abs().max().item()
        raise UserError(
            f"--half: {name} has numbers up to {largest:g}, and float16 ends at {torch.finfo(torch.float16).max:g}; "
            "convert without it"
        )
    return half


def to_program(model: Mapping[str, Tensor], program: Program) -> tuple[dict[str, Tensor], list[str]]:
    """Weights of here under a program's names, and the names of here that it has no place for."""
    renaming = program.renaming(our_layout(model))
    source = _as_affine(model) if program.name.startswith("detectron") and program.name != "detectron2" else dict(model)
    tensors, left_out = {}, []
    for name, value in source.items():
        found = renaming.to_theirs(name)
        if found is None:
            left_out.append(name)
        else:
            tensors[found[0]] = TO_THEIRS[found[1]](value)
    return tensors, left_out


def _as_affine(model: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """BatchNorm as a scale and a bias; one that is that already stays as it is, bit by bit."""
    result = {name: value for name, value in model.items() if not name.endswith(_STATISTICS)}
    for name, mean in model.items():
        prefix = name.removesuffix("running_mean")
        if prefix == name:
            continue
        variance = model[f"{prefix}running_var"].double() + _EPS
        if mean.any() or (variance - 1).abs().max() > 1e-7:
            scale = model[f"{prefix}weight"].double() / variance.sqrt()
            result[f"{prefix}weight"] = scale.to(mean.dtype)
            result[f"{prefix}bias"] = (model[f"{prefix}bias"].double() - mean.double() * scale).to(mean.dtype)
    return result


def _write(target: Path, tensors: dict[str, Tensor], program: str, notes: str) -> None:
    if target.suffix == ".safetensors":
        write_safetensors(target, tensors, {"format": "pt", **({NOTES: notes} if program == "fpt" else {})})
        return
    weights = {name: value.numpy() for name, value in tensors.items()} if target.suffix == ".pkl" else tensors
    contents: dict[str, dict[str, Any]] = {
        "fpt": {"model": weights, NOTES: notes},
        "detectron": {"blobs": weights},
        "detectron2": {"model": weights, "__author__": "fpt", "matching_heuristics": False},
        "torchvision": weights,
        "detectron.pytorch": {"model": weights},
    }
    content = contents[program]
    if target.suffix == ".pkl":
        write_atomic(target, lambda file: pickle.dump(content, file, protocol=2))
    else:
        write_atomic(target, lambda file: torch.save(content, file))


def _notes(checkpoint: Checkpoint) -> str:
    if isinstance(checkpoint, ForeignCheckpoint):
        origin = checkpoint.origin
        return notes_of(origin.conventions, checkpoint.classes, origin.pixels)
    cfg = resolve_pixels(parse_cfg(checkpoint.config, source="the checkpoint"), checkpoint)
    return notes_of(cfg.MODEL.LEGACY, checkpoint.classes, (cfg.PIXEL_FORMAT, cfg.PIXEL_MEANS, cfg.PIXEL_STDS))
