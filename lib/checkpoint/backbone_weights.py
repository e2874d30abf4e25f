"""ImageNet weights of a backbone: caffe's and torchvision's .pth files.

Both are state dicts with torchvision's names. Caffe's (``resnet50_caffe.pth``) belong to images in BGR, 0..255, minus
the means, and to a stride in the 1x1 convolution; torchvision's to RGB images divided by the standard deviations.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from fpt.checkpoint.prefixes import without_prefix
from fpt.checkpoint.safe_load import safe_torch_load
from fpt.utils.errors import UserError

_LOGGER = logging.getLogger("fpt")
_TORCHVISION_NAME = re.compile(r"\w+-[0-9a-f]{8}\.pth$")  # resnet50-0676ba61.pth
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network")
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
        path: torch file of tensors; nothing in it is executed.

    Raises:
        UserError: the file is missing, broken, unsafe, or lacks a tensor that the backbone needs in this shape.
    """
    wanted = backbone.state_dict()
    weights = without_prefix(_state_dict(safe_torch_load(path), path), wanted, source=path)
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


def is_torchvision_style(path: str | Path) -> bool:
    """Whether weights of a ResNet are torchvision's, rather than caffe's: by the name, else by what the file holds.

    Args:
        path: of the file; it may be missing.
    """
    name = Path(path).name.lower()
    if "caffe" in name or "msra" in name:
        return False
    if "torchvision" in name or _TORCHVISION_NAME.match(name):
        return True
    if not Path(path).is_file():
        return False
    return any(key.endswith("num_batches_tracked") for key in _state_dict(safe_torch_load(path), path))


def _state_dict(content: object, path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file by name, without a wrapping dict."""
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    tensors = (
        {name: value for name, value in content.items() if isinstance(value, Tensor)}
        if isinstance(content, Mapping)
        else {}
    )
    if not tensors:
        raise UserError(f"{path} holds no tensors by name; expected the state dict of a ResNet or torchvision model")
    return {str(name): value for name, value in tensors.items()}


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
