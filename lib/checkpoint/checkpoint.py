"""The project's own checkpoints: tensors and plain values only, written atomically."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from fpt.checkpoint.fields import find_fault
from fpt.checkpoint.format_1 import upgrade_format_1
from fpt.checkpoint.formats.foreign import ForeignModel, read_foreign
from fpt.checkpoint.formats.pickles import is_pickle
from fpt.checkpoint.formats.reader import complete_affine, drop_unused_boxes, read_weight_file, unwrap
from fpt.checkpoint.formats.safetensors import is_safetensors
from fpt.checkpoint.manifest import check_file, enter_file, forget_file
from fpt.checkpoint.prefixes import without_prefix
from fpt.checkpoint.safe_load import check_kind, require_file, safe_torch_load
from fpt.utils.errors import UserError
from fpt.utils.files import write_atomic

_FUSIONS, _STAGES = "neck.transformer.fusions.", ".downsampl"
"""In names of weights: the transformer's fusions, and the strided convolutions of RT."""

_GAINS = "neck.transformer.gains."
"""In names of weights: of MODEL.FPT.START identity in checkpoints from before its fusions started at zero."""

_PUBLISHED = (".norm.", ".bias")
"""In names of weights of fusions: only those of MODEL.FPT.START paper have one of them."""

_OF_FUSIONS = {
    ".depthwise.": "separable",
    ".mixing.": "coarse",
    ".reduction.": "bottleneck",
    ".refine.": "coarse",  # where the model has .mixing. too
    ".conv.": "concat",
}
"""In names of weights of fusions that the model lacks: what is MODEL.FPT.FUSION's; the first that fits."""

FORMAT = 2
"""Format 1 is read too: see ``fpt.checkpoint.format_1``."""

_MIN_BACKBONE_SHARE = 2 / 3
"""Between networks of other depths about half of the values fit, by accident."""


@dataclass(kw_only=True)
class Checkpoint:
    """Everything that a run needs to be used, or to go on.

    Attributes:
        model: state dict of the model.
        classes: class names, background left out; label i + 1 is classes[i].
        config: resolved configuration as yaml text.
        step: finished optimizer steps.
        images: training images consumed; the position in the data.
        optimizer: state dict of the optimizer, None when the training state is not kept.
        metrics: results of the evaluation at this step, when there was one.
        best: highest selection metric of the run so far, None before the first evaluation.
        average: moving average of the weights, by name as in `model`; None when it is off.
        scaler: state of the gradients' scaler (float16), or None.
        loop: what the training loop remembers beside that: skipped steps, values since the last record.
    """

    model: dict[str, torch.Tensor]
    classes: list[str]
    config: str
    step: int
    images: int = 0
    optimizer: dict[str, Any] | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    best: float | None = None
    average: dict[str, torch.Tensor] | None = None
    scaler: dict[str, Any] | None = None
    loop: dict[str, Any] = field(default_factory=dict)

    def use_average(self) -> None:
        """Replace the weights by their moving average, where there is one: it detects better."""
        if self.average is not None:
            self.model, self.average = self.average, None


@dataclass(kw_only=True)
class ForeignCheckpoint(Checkpoint):
    """A model of another program, which keeps neither configuration nor names of classes.

    Attributes:
        origin: what its file holds besides.
    """

    origin: ForeignModel


def checkpoint_name(step: int) -> str:
    """File name of the checkpoint after `step` finished steps."""
    return f"model_step{step}.pth"


def save_checkpoint(path: Path, checkpoint: Checkpoint, *, is_temporary: bool = False) -> None:
    """Write `checkpoint` to `path` and its checksum into the manifest beside it.

    An existing file is replaced only by a complete one. The manifest remembers one that `is_temporary`.

    Raises:
        OSError: the disk is full, or the folder cannot be written; what was there before is untouched.
    """
    content = {"format": FORMAT, **{f.name: getattr(checkpoint, f.name) for f in fields(Checkpoint)}}
    write_atomic(path, lambda file: _save(content, file), before_move=lambda: forget_file(path))
    enter_file(path, step=checkpoint.step, is_temporary=is_temporary)


def _save(content: dict[str, Any], file: BinaryIO) -> None:
    try:
        torch.save(content, file)
    except RuntimeError as error:  # of torch's zip writer, after the file's own error
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise OSError(str(error)) from error


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint of this project, or a model of another program; tensors lie on the CPU.

    Raises:
        UserError: the file is missing, broken (against the manifest beside it, too), hostile, or not a checkpoint of
            this project or of a program that it knows.
    """
    path = Path(path)
    require_file(path, "checkpoint")
    if is_safetensors(path) or is_pickle(path):
        return _from_foreign(read_foreign(read_weight_file(path), path))
    check_kind(path)
    check_file(path)
    content = safe_torch_load(path)
    if not isinstance(content, dict) or "format" not in content:
        return _from_foreign(read_foreign(unwrap(content, path), path))
    version = content["format"]
    if type(version) is int and version == 1:
        content, version = upgrade_format_1(content), FORMAT
    if type(version) is not int or version != FORMAT:
        raise UserError(f"{path} has checkpoint format {str(version)[:40]}; this version reads 1 and {FORMAT}")
    names = {f.name for f in fields(Checkpoint)}
    try:
        checkpoint = Checkpoint(**{name: value for name, value in content.items() if name in names})
    except TypeError as error:
        raise UserError(f"{path} is incomplete: {error}") from error
    if fault := find_fault(checkpoint):
        raise UserError(f"{path} is damaged: {fault}")
    return checkpoint


def _from_foreign(origin: ForeignModel) -> ForeignCheckpoint:
    return ForeignCheckpoint(
        model=origin.model,
        classes=origin.classes,
        config="",
        step=origin.step,
        images=origin.images,
        origin=origin,
    )


def load_weights(model: torch.nn.Module, checkpoint: Checkpoint, *, source: str | Path) -> None:
    """Copy the checkpoint's weights into `model`, in place, all of them.

    Args:
        model: filled in place.
        checkpoint: where the weights come from.
        source: named in errors.

    Raises:
        UserError: names or shapes differ; the first of them are listed.
    """
    own = model.state_dict()
    checkpoint.model = _fit_names(checkpoint, own, source)
    _check_names(own, checkpoint.model, source)
    strange = [
        f"{name} {tuple(checkpoint.model[name].shape)} -> {tuple(value.shape)}"
        for name, value in own.items()
        if value.shape != checkpoint.model[name].shape
    ]
    if strange:
        raise UserError(f"{source} holds another model: shapes differ (file -> model): {_some(strange)}")
    model.load_state_dict(checkpoint.model)


def load_fitting_weights(
    model: torch.nn.Module, checkpoint: Checkpoint, *, source: str | Path
) -> tuple[list[str], list[str]]:
    """Copy the weights whose name and shape `model` has too; the others keep their fresh values.

    Args:
        model: filled in place; the names of its backbone begin with ``backbone.``.
        checkpoint: where the weights come from.
        source: named in errors.

    Returns:
        The parts of `model` that start afresh, and those of the checkpoint that have no place in it.

    Raises:
        UserError: less than two thirds of the backbone's values fit: the checkpoint is of another network.
    """
    own = model.state_dict()
    checkpoint.model = _fit_names(checkpoint, own, source)
    has_other_fusions = _fusions(own) != _fusions(checkpoint.model)  # some of their weights fit, and mean another thing
    fitting = {
        name: value
        for name, value in checkpoint.model.items()
        if name in own and own[name].shape == value.shape and not (has_other_fusions and _FUSIONS in name)
    }
    fresh = [name for name in own if name not in fitting]
    backbone = [name for name in own if name.startswith("backbone.")]
    share = sum(own[name].numel() for name in backbone if name in fitting) / max(
        sum(own[name].numel() for name in backbone), 1
    )
    if share < _MIN_BACKBONE_SHARE:
        raise UserError(
            f"{source} holds another network: only {share:.0%} of the backbone's values fit; without a place or of "
            f"another shape are {_some([name for name in fresh if name in backbone])}. Check MODEL.CONV_BODY"
        )
    model.load_state_dict(fitting, strict=False)
    unused = [name for name in checkpoint.model if name not in own]
    return whole_parts(own, fresh), whole_parts(checkpoint.model, unused)


def _fit_names(checkpoint: Checkpoint, own: Mapping[str, Tensor], source: str | Path) -> dict[str, Tensor]:
    """The checkpoint's weights without a prefix, and of another program with what BatchNorm lacks there."""
    weights = without_prefix(checkpoint.model, own, source=source)
    if isinstance(checkpoint, ForeignCheckpoint):
        complete_affine(weights, own)
        drop_unused_boxes(weights, own)
        weights.update({name: value for name, value in own.items() if name.endswith("num_batches_tracked")})
    return weights


def whole_parts(names: Iterable[str], chosen: Collection[str]) -> list[str]:
    """The shortest module names that stand for `chosen` among the dotted `names`, and for no other of them."""
    selected = set(chosen)
    others = [name for name in names if name not in selected]
    parts: dict[str, None] = {}
    for name in chosen:
        pieces = name.split(".")
        prefixes = (".".join(pieces[:count]) for count in range(1, len(pieces) + 1))
        parts[next(part for part in prefixes if not any(f"{other}.".startswith(f"{part}.") for other in others))] = None
    return list(parts)


def _check_names(own: Mapping[str, Any], other: Mapping[str, Any], source: str | Path) -> None:
    missing = [name for name in own if name not in other]
    extra = [name for name in other if name not in own]
    if missing or extra:
        parts = [f"it lacks {_some(missing)}"] if missing else []
        parts += [f"it has, beyond the model, {_some(extra)}"] if extra else []
        raise UserError(f"{source} holds another model: {'; '.join(parts)}. {_advice(missing, extra)}")


def _advice(missing: list[str], extra: list[str]) -> str:
    """Which options of the transformer the weights were trained with, where these alone differ."""
    if any(_GAINS in name for name in extra):
        return (
            "Its transformer adds maps times learned gains, once MODEL.FPT.START identity, and not made any more: "
            "train from it (--load_ckpt takes all but the fusions), or use the version that it was trained with"
        )
    is_transformer_alone = all(any(part in name for part in (_FUSIONS, _STAGES)) for name in missing + extra)
    fusions = [name for name in extra if _FUSIONS in name]
    options = []
    for part, fusion in _OF_FUSIONS.items():
        if any(part in name for name in fusions):
            note = " (and QUERY_STRIDE to 1 if that is not in its yaml file)" if fusion == "concat" else ""
            options.append(f"MODEL.FPT.FUSION to {fusion}{note}")
            break
    stages = [name for name in extra if _STAGES in name]
    if stages:
        options.append(f"MODEL.FPT.SHARE_DOWNSAMPLING to {not any('.renderings.' in name for name in stages)}")
    for names, start in ((extra, "paper"), (missing, "identity")):
        if any(_FUSIONS in name and any(part in name for part in _PUBLISHED) for name in names):
            options.append(f"MODEL.FPT.START to {start}")
    if not (options and is_transformer_alone):
        return "Is it the yaml file it was trained with?"
    return f"Set {' and '.join(options)}: that is how its transformer was trained"


def _fusions(names: Iterable[str]) -> set[str]:
    return {name for name in names if _FUSIONS in name}


def _some(names: list[str], count: int = 5) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
