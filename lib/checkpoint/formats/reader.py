"""Weight files of any program: the tensors that they hold, under the names of here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fpt.checkpoint.formats.pickles import is_pickle, read_numpy_pickle
from fpt.checkpoint.formats.programs import DETECTRON2, FPT, PROGRAMS, Program
from fpt.checkpoint.formats.safetensors import is_safetensors, read_safetensors
from fpt.checkpoint.formats.values import TO_OURS
from fpt.checkpoint.safe_load import require_file, safe_torch_load
from fpt.utils.errors import UserError

_WRAPPERS = ("blobs", "state_dict", "model_state_dict", "model_state", "model", "net", "network")
_MAX_CLASSES = 100_000
_EPS = 1e-5
"""Of FrozenBatchNorm2d: a layer of a scale and a bias alone has the variance 1 - eps."""


class Pixels(NamedTuple):
    """How images were prepared for the weights.

    Attributes:
        pixel_format: ``RGB`` or ``BGR``.
        means, stds: of each channel in that order, 0..255.
    """

    pixel_format: str
    means: tuple[float, float, float]
    stds: tuple[float, float, float]


CAFFE = Pixels("BGR", (102.9801, 115.9465, 122.7717), (1.0, 1.0, 1.0))
CAFFE2 = Pixels("BGR", (103.53, 116.28, 123.675), (57.375, 57.12, 58.395))
DETECTRON2_CAFFE = Pixels("BGR", (103.53, 116.28, 123.675), (1.0, 1.0, 1.0))
TORCHVISION = Pixels("RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


@dataclass
class WeightFile:
    """What a file holds.

    Attributes:
        tensors: by the file's own names.
        others: the file's other values, such as ``step`` and ``optimizer``.
    """

    tensors: dict[str, Tensor]
    others: dict[str, Any] = field(default_factory=dict)


@dataclass
class Translated:
    """Tensors of a program, under our names.

    Attributes:
        program: that wrote them.
        model: by our names: of a whole model, or of its backbone (``backbone.``...).
        unused: the file's names that have no place here.
        orphans: those that need none.
        names: the file's name of each of ours.
    """

    program: Program
    model: dict[str, Tensor]
    unused: list[str]
    orphans: list[str]
    names: dict[str, str]

    @property
    def has_group_norm(self) -> bool:
        """Whether the backbone's normalisation is known to be GroupNorm."""
        return any("_gn_" in name or re.search(r"\.gn\d\.", name) for name in self.names.values())

    @property
    def pixels(self) -> Pixels:
        """How images were prepared for it."""
        return pixels_of(self.program, self.model, has_group_norm=self.has_group_norm)


def read_weight_file(path: str | Path) -> WeightFile:
    """The tensors of a torch file, a pickle of arrays or a safetensors file; nothing in it is executed.

    Raises:
        UserError: the file is missing, of another kind, broken or hostile, or holds no tensors by name.
    """
    path = Path(path)
    require_file(path, "weights file")
    if is_safetensors(path):
        tensors, metadata = read_safetensors(path)
        return WeightFile(tensors, dict(metadata))
    content = read_numpy_pickle(path) if is_pickle(path) else safe_torch_load(path)
    return unwrap(content, path)


def unwrap(content: Any, path: str | Path) -> WeightFile:
    """The tensors of a file's content, without a dict around them.

    Raises:
        UserError: it holds no tensors by name.
    """
    others: dict[str, Any] = {}
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            others.update({str(key): value for key, value in content.items() if key != wrapper})
            content = content[wrapper]
    tensors = {}
    if isinstance(content, Mapping):
        for name, value in content.items():
            if isinstance(value, np.ndarray):
                tensors[str(name)] = torch.from_numpy(np.ascontiguousarray(value))
            elif isinstance(value, Tensor):
                tensors[str(name)] = value
    if not tensors:
        kind = describe_content(others)
        what = f" but a checkpoint of {kind}" if kind else ""
        raise UserError(f"{path} holds no tensors by name{what}; expected the state dict of a model or of its backbone")
    return WeightFile(tensors, others)


def describe_content(others: Mapping[str, Any]) -> str:
    """The program whose checkpoints hold these values beside the weights; empty for an unknown one."""
    kinds = (("pytorch-lightning_version", "Lightning"), ("meta", "OpenMMLab"), ("train_args", "Ultralytics"))
    return next((kind for key, kind in kinds if key in others), "")


def without_module(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the ``module.`` that DataParallel puts before all names."""
    is_wrapped = all(name.startswith("module.") for name in tensors)
    return {name.removeprefix("module.") if is_wrapped else name: value for name, value in tensors.items()}


def translate(tensors: Mapping[str, Tensor]) -> Translated | None:
    """The tensors under our names, where they are of a program that is known; else None."""
    names = _with_prefix(tensors)
    if FPT.recognise(names):
        return Translated(FPT, names, [], [], {name: name for name in names})
    program = next((program for program in PROGRAMS if program.recognise(names)), None)
    if program is None:
        return None
    renaming = program.renaming(program.layout(names))
    result = Translated(program, {}, [], [], {})
    for theirs, value in names.items():
        found = renaming.to_ours(theirs)
        if found is not None and found[0] not in result.model:
            ours, transform = found
            try:
                result.model[ours] = TO_OURS[_transform(transform, value, names)](value)
            except (RuntimeError, IndexError, ValueError, ZeroDivisionError):  # of a shape that no layer has
                result.unused.append(theirs)
                continue
            result.names[ours] = theirs
        elif re.fullmatch(program.orphans, theirs):
            result.orphans.append(theirs)
        else:
            result.unused.append(theirs)
    return result


_SCORES = ("roi_heads.box_predictor.cls_score.weight", "Box_Outs.cls_score.weight", "cls_score_w")


def _transform(name: str, value: Tensor, names: Mapping[str, Tensor]) -> str:
    """The transform that a value needs: what stands once for all of several classes has no background to add.

    Detectron has two boxes then, one of a background that is never used.
    """
    sizes = {"no_background_boxes": 4, "no_background_masks": 1}
    scores = max(_rows(names.get(score)) for score in _SCORES)
    if name == "agnostic_boxes":
        return name if scores > 2 and _rows(value) == 8 else ""
    return "" if name in sizes and scores > 2 and _rows(value) == sizes[name] else name


def _rows(value: Tensor | None) -> int:
    """Size of the first dimension; 0 without."""
    return 0 if value is None or value.ndim == 0 else int(value.shape[0])


def _with_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without ``module.``; those of a backbone alone of Detectron2 as they stand in a whole model."""
    tensors = without_module(tensors)
    if DETECTRON2.recognise(tensors) and not any(name.startswith("backbone.") for name in tensors):
        is_backbone = re.compile(r"(stem\.conv1|res\d)\.")
        return {f"backbone.bottom_up.{n}" if is_backbone.match(n) else n: value for n, value in tensors.items()}
    return dict(tensors)


def complete_affine(weights: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Add the statistics of BatchNorm where a file holds a scale and a bias alone: they change nothing.

    Args:
        weights: by our names; changed in place.
        wanted: of the model that they are for.
    """
    for name, value in wanted.items():
        scale = weights.get(name.rpartition(".")[0] + ".weight")
        if name in weights or scale is None:
            continue
        if name.endswith(".running_mean"):
            weights[name] = torch.zeros_like(value)
        elif name.endswith(".running_var"):
            weights[name] = torch.full_like(value, 1 - _EPS)


def drop_unused_boxes(weights: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Leave the box of the background out where a model has one box for all classes.

    Of a file of a single class nothing else tells whether its two boxes are of two classes or of that and of all.

    Args:
        weights: by our names; changed in place.
        wanted: of the model that they are for.
    """
    for name in (f"roi_heads.box_predictor.bbox_pred.{part}" for part in ("weight", "bias")):
        if name in weights and _rows(weights[name]) == 8 and _rows(wanted.get(name)) == 4:
            weights[name] = weights[name][4:].clone()


def pixels_of(program: Program, model: Mapping[str, Tensor], *, has_group_norm: bool = False) -> Pixels:
    """How images were prepared for weights of a program."""
    if program.name == "torchvision":
        return TORCHVISION
    conv1, conv2 = model.get("backbone.layer1.0.conv1.weight"), model.get("backbone.layer1.0.conv2.weight")
    has_layers = conv1 is not None and conv2 is not None and conv1.ndim == conv2.ndim == 4
    is_grouped = has_layers and conv2.shape[1] < conv1.shape[0]  # type: ignore[union-attr]
    if is_grouped:
        return CAFFE2
    if program is DETECTRON2:
        means = model.get("backbone.bn1.running_mean")
        return DETECTRON2_CAFFE if means is None or not means.any() else CAFFE2
    return CAFFE2 if has_group_norm else CAFFE


def num_classes_of(model: Mapping[str, Tensor]) -> int:
    """Classes of a model by our names, background included; 0 where it has no heads."""
    num_classes = _rows(model.get("roi_heads.box_predictor.cls_score.weight"))
    if not num_classes:
        logits, offsets = _rows(model.get("head.cls_logits.weight")), _rows(model.get("head.bbox_pred.weight"))
        num_classes = logits * 4 // offsets + 1 if logits and offsets else 0
    return num_classes if 2 <= num_classes <= _MAX_CLASSES else 0
