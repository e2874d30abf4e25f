"""The project's own checkpoints: tensors and plain values only, written atomically."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from fpt.checkpoint.safe_load import require_file, safe_torch_load
from fpt.utils.errors import UserError
from fpt.utils.files import write_atomic

FORMAT = 1


@dataclass(kw_only=True)
class Checkpoint:
    """Everything that a run needs to be used, or to go on.

    Attributes:
        model: state dict of the model.
        classes: class names, background left out; label i + 1 is classes[i].
        config: resolved configuration as yaml text.
        step: finished optimizer steps.
        pictures: training pictures consumed; the position in the data.
        optimizer: state dict of the optimizer, None when the training state is not kept.
        rng: what `fpt.utils.seeding.get_rng_state` returns, or None.
        metrics: results of the evaluation at this step, when there was one.
        best: highest selection metric of the run so far, None before the first evaluation.
    """

    model: dict[str, torch.Tensor]
    classes: list[str]
    config: str
    step: int
    pictures: int = 0
    optimizer: dict[str, Any] | None = None
    rng: dict[str, Any] | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    best: float | None = None


def checkpoint_name(step: int) -> str:
    """File name of the checkpoint after `step` finished steps."""
    return f"model_step{step}.pth"


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` to `path`; an existing file is replaced only by a complete one."""
    content = {"format": FORMAT, **{f.name: getattr(checkpoint, f.name) for f in fields(Checkpoint)}}
    write_atomic(path, lambda file: torch.save(content, file))


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint of this project; tensors lie on the CPU.

    Raises:
        UserError: the file is missing, broken, hostile, or not a checkpoint of this project.
    """
    path = Path(path)
    require_file(path, "checkpoint")
    content = safe_torch_load(path)
    if not isinstance(content, dict) or "format" not in content:
        raise UserError(
            f"{path} is no checkpoint of this program (it has no entry 'format'); weights of a body alone belong "
            "into RESNETS.IMAGENET_PRETRAINED_WEIGHTS"
        )
    if content["format"] != FORMAT:
        raise UserError(f"{path} has checkpoint format {content['format']!r}; this version reads format {FORMAT}")
    names = {f.name for f in fields(Checkpoint)}
    try:
        return Checkpoint(**{name: value for name, value in content.items() if name in names})
    except TypeError as error:
        raise UserError(f"{path} is incomplete: {error}") from error


def newest_checkpoint(folder: Path) -> Path:
    """The checkpoint of the most steps in ``<folder>/ckpt``.

    Raises:
        UserError: there is none.
    """
    found = {
        int(match.group(1)): path
        for path in (folder / "ckpt").glob("model_step*.pth")
        if (match := re.fullmatch(r"model_step(\d+)\.pth", path.name))
    }
    if not found:
        raise UserError(f"nothing to resume: {folder / 'ckpt'} holds no model_step<N>.pth; give --load_ckpt FILE")
    return found[max(found)]


def load_weights(model: torch.nn.Module, checkpoint: Checkpoint, *, num_classes: int, source: str | Path) -> list[str]:
    """Copy the checkpoint's weights into `model`, in place.

    Layers whose outputs count the classes keep their fresh values when the checkpoint was trained on another number
    of classes.

    Args:
        model: filled in place.
        checkpoint: where the weights come from.
        num_classes: classes of `model`, background included.
        source: named in errors.

    Returns:
        Names of the entries that start afresh; empty for the same number of classes.

    Raises:
        UserError: names or shapes differ otherwise; the first of them are listed.
    """
    own = model.state_dict()
    _check_names(own, checkpoint.model, source)
    old_classes = len(checkpoint.classes) + 1
    wrong = [name for name, value in own.items() if value.shape != checkpoint.model[name].shape]
    fresh = [name for name in wrong if _counts_classes(checkpoint.model[name], old_classes, own[name], num_classes)]
    strange = [
        f"{name} {tuple(checkpoint.model[name].shape)} -> {tuple(own[name].shape)}"
        for name in wrong
        if name not in fresh
    ]
    if strange:
        raise UserError(f"{source} holds another model: shapes differ (file -> model): {_some(strange)}")
    model.load_state_dict({name: value for name, value in checkpoint.model.items() if name not in fresh}, strict=False)
    return fresh


def _check_names(own: Mapping[str, Any], other: Mapping[str, Any], source: str | Path) -> None:
    missing = [name for name in own if name not in other]
    extra = [name for name in other if name not in own]
    if missing or extra:
        parts = [f"it lacks {_some(missing)}"] if missing else []
        parts += [f"it has, beyond the model, {_some(extra)}"] if extra else []
        raise UserError(f"{source} holds another model: {'; '.join(parts)}. Is it the yaml file it was trained with?")


def _counts_classes(old: torch.Tensor, old_classes: int, new: torch.Tensor, new_classes: int) -> bool:
    """Whether two tensors differ only by one or more outputs a class (with or without the background)."""
    if old.ndim == 0 or old_classes == new_classes or old.shape[1:] != new.shape[1:]:
        return False
    pairs = ((old_classes, new_classes), (old_classes - 1, new_classes - 1))
    return any(b > 0 and a > 0 and len(old) % a == 0 and len(old) // a * b == len(new) for a, b in pairs)


def _some(names: list[str], count: int = 5) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
