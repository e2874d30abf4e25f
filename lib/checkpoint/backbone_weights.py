"""Weights of a backbone: ImageNet models of caffe, torchvision, timm, Detectron and Detectron2, or of whole detectors.

Caffe's ``resnet50_caffe.pth`` has torchvision's names, but belongs to images in BGR, 0..255, minus the means, and to a
stride in the 1x1 convolution; torchvision's weights belong to RGB images divided by the standard deviations.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from fpt.checkpoint.formats.foreign import log_unused
from fpt.checkpoint.formats.reader import CAFFE, TORCHVISION, Pixels, complete_affine, read_weight_file, translate
from fpt.checkpoint.prefixes import without_prefix
from fpt.utils.errors import UserError

_LOGGER = logging.getLogger("fpt")
_TORCHVISION_NAME = re.compile(r"\w+-[0-9a-f]{8}\.pth$")  # resnet50-0676ba61.pth
_RES5 = "roi_heads.box_head.res5."
_MAX_SHOWN = 4


@dataclass(frozen=True)
class LoadReport:
    """What became of the entries of a file.

    Attributes:
        loaded: entries that went into the backbone.
        ignored: entries that the backbone has no place for, such as the classifier's.
    """

    loaded: tuple[str, ...]
    ignored: tuple[str, ...]


def load_backbone_weights(backbone: nn.Module, path: str | Path) -> LoadReport:
    """Copy the weights of a file into a backbone, all of it or nothing.

    Args:
        backbone: with torchvision's parameter names.
        path: of a file of any program that is known; nothing in it is executed.

    Raises:
        UserError: the file is missing, broken, unsafe, or lacks a tensor that the backbone needs in this shape.
    """
    wanted = backbone.state_dict()
    weights = without_prefix(_backbone_of(path, wanted), wanted, source=path)
    missing = [name for name in wanted if name not in weights and not name.endswith("num_batches_tracked")]
    mismatched = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in weights and weights[name].shape != value.shape
    ]
    ignored = [name for name in weights if name not in wanted]
    statistics = [name for name in ignored if name.endswith("running_mean") and _sibling(name, "weight") in wanted]
    if missing or mismatched or statistics:
        raise UserError(_explain(path, missing=missing, mismatched=mismatched, unused=ignored, statistics=statistics))
    loaded = [name for name in wanted if name in weights]
    backbone.load_state_dict({name: weights[name] for name in loaded}, strict=False)
    _LOGGER.info("backbone: %d tensors loaded from %s; %s", len(loaded), path, _describe_ignored(ignored))
    return LoadReport(loaded=tuple(loaded), ignored=tuple(ignored))


def expected_pixels(path: str | Path) -> Pixels:
    """How images were prepared for weights of a ResNet: by the name of their file, else by what it holds.

    Args:
        path: of the file; it may be missing.
    """
    name = Path(path).name.lower()
    if "caffe" in name or "msra" in name:
        return CAFFE
    if "torchvision" in name or _TORCHVISION_NAME.match(name):
        return TORCHVISION
    if not Path(path).is_file():
        return CAFFE
    tensors = read_weight_file(path).tensors
    translated = translate(tensors)
    if translated is not None:
        return translated.pixels
    is_torchvision = any(key.endswith("num_batches_tracked") for key in tensors)
    return TORCHVISION if is_torchvision else CAFFE


def _backbone_of(path: str | Path, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The backbone's tensors of a file, by the names of here."""
    tensors = read_weight_file(path).tensors
    translated = translate(tensors)
    if translated is None:
        return tensors
    log_unused(translated, path)
    names = {name: name.removeprefix("backbone.") for name in translated.model if name.startswith("backbone.")}
    names |= {name: name.replace(_RES5, "layer4.") for name in translated.model if name.startswith(_RES5)}
    weights = {ours: translated.model[name] for name, ours in names.items()}
    needs_group_norm = not any(name.endswith("running_mean") for name in wanted)
    has_group_norm = translated.has_group_norm
    if has_group_norm != needs_group_norm and not any(name.endswith("running_mean") for name in weights):
        raise UserError(
            f"the weights in {path} don't fit the backbone: they belong to one with "
            f"{'GroupNorm' if has_group_norm else 'BatchNorm'}: set RESNETS.USE_GN {has_group_norm}"
        )
    complete_affine(weights, wanted)
    return weights


def _sibling(name: str, last: str) -> str:
    return f"{name.rpartition('.')[0]}.{last}"


def _explain(
    path: str | Path,
    *,
    missing: Sequence[str],
    mismatched: Sequence[str],
    unused: Sequence[str],
    statistics: Sequence[str],
) -> str:
    parts = [
        f"{title}: {_shorten(names)}"
        for title, names in (
            ("missing", missing),
            ("of another shape", mismatched),
            ("without a place in the backbone", unused),
        )
        if names
    ]
    advice = "check that MODEL.CONV_BODY names the network that the weights were trained for"
    if statistics:
        advice = "they belong to a backbone with BatchNorm: set RESNETS.USE_GN False"
    return f"the weights in {path} don't fit the backbone ({'; '.join(parts)}): {advice}"


def _shorten(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MAX_SHOWN])
    return shown if len(names) <= _MAX_SHOWN else f"{shown} and {len(names) - _MAX_SHOWN} more"


def _describe_ignored(ignored: Sequence[str]) -> str:
    named = [name for name in ignored if not name.endswith("num_batches_tracked")]
    return f"not needed: {_shorten(named)}" if named else "nothing left over"
