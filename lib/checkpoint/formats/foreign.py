"""Whole models of other programs as checkpoints."""

from __future__ import annotations

import itertools
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from fpt.checkpoint.formats.programs import DETECTRON_PYTORCH, FPT
from fpt.checkpoint.formats.reader import (
    Pixels,
    Translated,
    WeightFile,
    describe_content,
    num_classes_of,
    translate,
    without_module,
)
from fpt.structures.coco_classes import class_names
from fpt.utils.errors import UserError

_LOGGER = logging.getLogger("fpt")
_SHOWN = 6
NOTES = "fpt_notes"
"""Key of what weights under our names need besides."""


@dataclass
class ForeignModel:
    """A model of another program, by our names.

    Attributes:
        program: its name.
        conventions: value of MODEL.LEGACY that it needs; "off" for none.
        model: tensors; those of BatchNorm's statistics may be missing.
        classes: names of the classes, background left out; empty for a backbone alone.
        pixels: how images were prepared for it.
        step: finished steps; 0 where the file does not say.
        images: images that they took.
        momentum: of the parameters, by our names; empty without.
    """

    program: str
    conventions: str
    model: dict[str, Tensor]
    classes: list[str]
    pixels: Pixels
    step: int = 0
    images: int = 0
    momentum: dict[str, Tensor] = field(default_factory=dict)


def read_foreign(file: WeightFile, path: str | Path) -> ForeignModel:
    """A whole model of another program; what of the file is not used is logged.

    Raises:
        UserError: it is of no program that is known.
    """
    file = WeightFile(without_module(file.tensors), file.others)
    translated = translate(file.tensors)
    if translated is None:
        raise UserError(f"{path} {_explain(file)}")
    num_classes = num_classes_of(translated.model)
    classes = _class_names(translated.model, num_classes)
    log_unused(translated, path)
    step, batch_size = _finished_steps(translated, file), _number(file.others.get("batch_size"))
    model = ForeignModel(
        program=translated.program.name,
        conventions=translated.program.conventions if classes else "off",
        model=translated.model,
        classes=classes,
        pixels=translated.pixels,
        step=step,
        images=step * batch_size,
        momentum=_momentum(translated, file),
    )
    if translated.program is FPT:
        _read_notes(model, file.others.get(NOTES), num_classes)
    return model


def _class_names(model: Mapping[str, Tensor], num_classes: int) -> list[str]:
    """Names of the classes of a model; none for a backbone, `object` for a proposal network."""
    if num_classes:
        return class_names(num_classes, has_keypoints=any(".keypoint_branch." in name for name in model))
    return ["object"] if "rpn.head.objectness.weight" in model else []


def notes_of(conventions: str, classes: Sequence[str], pixels: Sequence[Any] | None) -> str:
    """What weights under our names need besides, as the text that ``read_foreign`` reads."""
    return json.dumps({"conventions": conventions, "classes": list(classes), "pixels": pixels})


def _read_notes(model: ForeignModel, text: Any, num_classes: int) -> None:
    """Take over what ``notes_of`` wrote; what is missing or wrong is left as it is."""
    try:
        notes = json.loads(text)
        conventions, classes, pixels = notes["conventions"], notes["classes"], notes["pixels"]
        if conventions in ("off", "detectron", "torchvision"):
            model.conventions = conventions
        if len(classes) == num_classes - 1 and all(isinstance(name, str) and name for name in classes):
            model.classes = list(classes)
        if pixels is not None:
            means, stds = (tuple(float(value) for value in numbers) for numbers in pixels[1:])
            if pixels[0] in ("RGB", "BGR") and len(means) == len(stds) == 3 and min(stds) > 0:
                model.pixels = Pixels(pixels[0], means, stds)
    except (ValueError, TypeError, KeyError, IndexError):
        _LOGGER.warning("the file says nothing of classes and pixels that can be read: they are taken as usual")


def log_unused(translated: Translated, path: str | Path) -> None:
    """Say what was read, and what of the file has no place here."""
    _LOGGER.info(
        "%s: %d tensors of %s%s",
        path,
        len(translated.model),
        translated.program.name,
        f"; not needed: {_some(translated.orphans)}" if translated.orphans else "",
    )
    if translated.unused:
        _LOGGER.warning("%s: these tensors have no place here: %s", path, _some(translated.unused))


def _explain(file: WeightFile) -> str:
    """What a file is that is no whole model of a program that is known."""
    kind = describe_content(file.others)
    what = f", but a checkpoint of {kind}" if kind else f": it holds {_some(list(file.tensors))}"
    return (
        f"is no checkpoint of this program or of one that it reads{what}; weights of a backbone alone belong into "
        "RESNETS.IMAGENET_PRETRAINED_WEIGHTS"
    )


def _momentum(translated: Translated, file: WeightFile) -> dict[str, Tensor]:
    """Momentum by our names: of Detectron's blobs, or of the optimizer's state in Detectron.pytorch's order."""
    by_blob = _momentum_of_blobs(translated, file)
    optimizer = file.others.get("optimizer")
    if by_blob or not isinstance(optimizer, Mapping) or translated.program.name != "detectron.pytorch":
        return by_blob
    return _momentum_by_order(translated, file, optimizer)


def _momentum_of_blobs(translated: Translated, file: WeightFile) -> dict[str, Tensor]:
    """Caffe2's momentum holds the rate, twice of it for biases; PyTorch's doesn't."""
    rate = file.tensors.get("lr")
    if rate is None or rate.numel() != 1 or rate.is_complex() or not rate > 0:
        return {}
    momentum = {}
    for ours, theirs in translated.names.items():
        value = file.tensors.get(f"{theirs}_momentum")
        if value is not None and value.shape == translated.model[ours].shape:
            is_doubled = ours.endswith(".bias") and not theirs.endswith("_gn_b")
            momentum[ours] = value / (rate.flatten()[0] * (2 if is_doubled else 1))
    return momentum


def _momentum_by_order(translated: Translated, file: WeightFile, optimizer: Mapping[str, Any]) -> dict[str, Tensor]:
    """Groups of Detectron.pytorch: weights, biases, GroupNorm; in each the trained parameters in their order."""
    groups, state = optimizer.get("param_groups"), optimizer.get("state")
    if not isinstance(groups, list) or not isinstance(state, Mapping):
        return {}
    ours = {theirs: name for name, theirs in translated.names.items()}
    names = [name for name in file.tensors if name in ours]
    for first in ("res3", "res1", "res2", "res4", "res5"):  # FREEZE_AT 2 as published, then others
        pairs = _pair_up([name for name in names if _is_trained(name, first)], groups, file)
        buffers = {name: _buffer(state.get(key)) for name, key in pairs}
        fits = all(value is None or value.shape == file.tensors[name].shape for name, value in buffers.items())
        if buffers and fits:
            return {ours[name]: value for name, value in buffers.items() if value is not None}
    _LOGGER.warning("the momentum is left out: the optimizer's groups do not fit the parameters")
    return {}


def _pair_up(names: Sequence[str], groups: Sequence[Any], file: WeightFile) -> list[tuple[str, Any]]:
    """Each trained parameter and its number in the optimizer's state; none where the groups are others."""
    norms = [name for name in names if re.search(r"\.gn\d?\.", name) or _is_norm_of_sequence(name, file)]
    parts = [
        [name for name in names if name not in norms and "bias" not in name],
        [name for name in names if name not in norms and "bias" in name],
        norms,
    ]
    given = [group.get("params") if isinstance(group, Mapping) else None for group in groups]
    ids = [part if isinstance(part, list) and all(isinstance(key, int) for key in part) else [] for part in given]
    if [len(part) for part in parts if part] != [len(part) for part in ids if part]:
        return []
    return list(zip(itertools.chain(*parts), itertools.chain(*ids), strict=True))


def _buffer(state: Any) -> Tensor | None:
    value = state.get("momentum_buffer") if isinstance(state, Mapping) else None
    return value if isinstance(value, Tensor) else None


def _is_trained(name: str, first: str) -> bool:
    """Whether Detectron.pytorch trains a parameter: no affine BatchNorm, no stage before the first trained one."""
    match = re.search(r"(?:^Conv_Body|\.conv_body)\.(res\d)\.", name)
    if match is None:
        return True
    is_affine = re.search(r"\.bn\d\.|\.downsample\.1\.", name) is not None
    return match[1] >= first and not is_affine


def _is_norm_of_sequence(name: str, file: WeightFile) -> bool:
    """Whether a parameter of a sequence is a normalisation's: its weight has one side."""
    weight = file.tensors.get(f"{name.rpartition('.')[0]}.weight")
    return weight is not None and weight.ndim == 1


def _finished_steps(translated: Translated, file: WeightFile) -> int:
    """Of Detectron.pytorch's checkpoint, which holds the number of its last step, counted from 0; 0 of others."""
    is_known = translated.program is DETECTRON_PYTORCH and "step" in file.others
    return _number(file.others["step"]) + 1 if is_known else 0


def _number(value: Any) -> int:
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    return int(value) if isinstance(value, (int, float)) and 0 <= value < 1e12 else 0


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(name[:80] for name in names[:_SHOWN]) + more
