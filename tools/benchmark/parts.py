"""Parameters, FLOPs and seconds of a detector by part."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fpt.modeling.detector import GeneralizedRCNN
from fpt.modeling.neck.fpt import FeaturePyramidTransformer


@dataclass(frozen=True)
class Part:
    """Of one forward pass.

    Attributes:
        name: backbone, FPN, ST, GT, RT, fusion, RPN or heads.
        parameters: numbers in its parameters.
        flops: 2 for each multiplication with addition, in convolutions and matrix products, as torch counts them.
    """

    name: str
    parameters: int
    flops: int


def count_parts(model: GeneralizedRCNN, image: torch.Tensor) -> list[Part]:
    """What each part of the detector holds and computes for an image [3, H, W]; attention is counted as it runs."""
    counter = FlopCounterMode(display=False)
    model.eval()
    with torch.no_grad(), counter:
        model([image])
    counts = {name: sum(by_operation.values()) for name, by_operation in counter.get_flop_counts().items()}
    root = type(model).__name__
    modules = part_modules(model)
    names = {id(module): name for name, module in model.named_modules()}
    parts = []
    for name, members in modules.items():
        flops = sum(counts.get(f"{root}.{names[id(module)]}", 0) for module in members)
        parts.append(Part(name, sum(_num_parameters(module) for module in members), flops))
    total = counts["Global"]
    others = Part(
        "heads",
        _num_parameters(model.roi_heads),
        total - sum(part.flops for part in parts),
    )
    return [*parts, others]


def part_modules(model: GeneralizedRCNN) -> dict[str, list[nn.Module]]:
    """Modules of each part but the heads, which are called by other names than forward."""
    modules = {"backbone": [model.get_submodule("backbone")], "FPN": [model.get_submodule("neck.pyramid")]}
    transformer = dict(model.named_modules()).get("neck.transformer")
    if isinstance(transformer, FeaturePyramidTransformer):
        modules["ST"] = list(transformer.selfs.values())
        modules["GT"] = list(transformer.groundings.values())
        shared = [] if transformer.downsampling is None else [transformer.downsampling]
        modules["RT"] = [*transformer.renderings.values(), *shared]
        modules["fusion"] = list(transformer.fusions)
    modules["RPN"] = [model.rpn]
    return modules


def time_neck(model: GeneralizedRCNN, image: torch.Tensor) -> tuple[float, float]:
    """Seconds of the neck (base pyramid and transformer) and of the whole detector in one forward pass."""
    neck = _Watch(model.neck)
    model.eval()
    with torch.no_grad():
        start = time.perf_counter()
        model([image])
        total = time.perf_counter() - start
    neck.remove()
    return neck.seconds, total


class _Watch:
    """Seconds that a module's forward takes."""

    def __init__(self, module: nn.Module) -> None:
        self.seconds = 0.0
        self._start = 0.0
        self._handles = [module.register_forward_pre_hook(self._begin), module.register_forward_hook(self._end)]

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    def _begin(self, *_: Any) -> None:
        self._start = time.perf_counter()

    def _end(self, *_: Any) -> None:
        self.seconds += time.perf_counter() - self._start


def _num_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
