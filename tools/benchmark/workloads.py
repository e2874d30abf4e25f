"""What is measured: attentions alone, necks, detectors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from dense import dense_attention_in_necks, dense_mixture_attention
from fpt.layers.attention import Similarity, mixture_attention
from fpt.layers.norm import group_norm
from fpt.modeling.neck.fpn import FeaturePyramid
from fpt.modeling.neck.fpt import FeaturePyramidTransformer

STRIDES = (4, 8, 16, 32)
BACKBONE_CHANNELS = (256, 512, 1024, 2048)
CHANNELS = 256
KEY_CHANNELS = 128
PHASES = ("forward", "training")
NUM_PARTS = {"dot": 2, "euclidean": 4}

Run = Callable[[], object]


def attention_case(case: str, size_hw: tuple[int, int], phase: str, device: torch.device) -> Run:
    """The ten attentions of a pyramid: ST of each level, its keys pooled by 2 on each axis, and GT of each pair.

    Args:
        case: "ours" or "dense".
        size_hw: of the image in pixels.
        phase: one of PHASES.
        device: where to compute.
    """
    attend = dense_mixture_attention if case == "dense" else mixture_attention
    sizes = [_level_size(size_hw, stride) for stride in STRIDES]
    jobs: list[tuple[Similarity, int, int]] = []
    for level, (h, w) in enumerate(sizes):
        jobs.append(("dot", h * w, -(-h // 2) * -(-w // 2)))
        for coarse_h, coarse_w in sizes[level + 1 :]:
            jobs.append(("euclidean", h * w, coarse_h * coarse_w))
    generator = torch.Generator().manual_seed(0)
    operands = []
    for similarity, num_queries, num_keys in jobs:
        shapes: list[tuple[int, ...]] = [
            (1, num_queries, KEY_CHANNELS),
            (1, num_keys, KEY_CHANNELS),
            (1, num_keys, CHANNELS),
        ]
        shapes.append((NUM_PARTS[similarity], KEY_CHANNELS))
        tensors = [torch.randn(shape, generator=generator).to(device) for shape in shapes]
        operands.append((similarity, [x.requires_grad_(phase == "training") for x in tensors]))

    def run() -> None:
        outputs = [attend(*tensors, similarity=similarity) for similarity, tensors in operands]
        if phase == "training":
            torch.autograd.backward(outputs, [torch.ones_like(x) for x in outputs])
            for _, tensors in operands:
                for x in tensors:
                    x.grad = None

    return run


class Neck(nn.Module):
    """FPN, and FPT on it, on the maps of a ResNet-50."""

    def __init__(self, *, max_keys: int | None) -> None:
        """`max_keys` of FPT; None = FPN alone."""
        super().__init__()
        norm = partial(group_norm, num_groups=32, eps=1e-5)
        self.fpn = FeaturePyramid(in_channels=BACKBONE_CHANNELS, out_channels=CHANNELS, norm=norm)
        self.fpt = None
        if max_keys is not None:
            self.fpt = FeaturePyramidTransformer(
                in_channels=CHANNELS, num_levels=len(STRIDES), max_keys=max_keys, norm=norm
            )

    def forward(self, features: OrderedDict[str, Tensor]) -> OrderedDict[str, Tensor]:
        """{name: [B, C_l, H_l, W_l]} -> {name: [B, 256, H_l, W_l]}."""
        maps: OrderedDict[str, Tensor] = self.fpn(features)
        return maps if self.fpt is None else self.fpt(maps)


def neck_case(case: str, size_hw: tuple[int, int], phase: str, device: torch.device) -> Run:
    """A whole neck: "FPN", "FPT exact", "FPT" (the default MAX_KEYS) or "FPT dense"."""
    max_keys = {"FPN": None, "FPT exact": 0, "FPT dense": 0, "FPT": 1024}[case]
    torch.manual_seed(0)
    neck = Neck(max_keys=max_keys).to(device).train(phase == "training")
    features = backbone_maps(size_hw, device)
    is_dense = case == "FPT dense"

    def run() -> None:
        with torch.set_grad_enabled(phase == "training"), dense_attention_in_necks() if is_dense else nullcontext():
            outputs = list(neck(features).values())
            if phase == "training":
                torch.autograd.backward(outputs, [torch.ones_like(x) for x in outputs])
                neck.zero_grad(set_to_none=True)

    return run


def backbone_maps(size_hw: tuple[int, int], device: torch.device) -> OrderedDict[str, Tensor]:
    """Random maps as a ResNet-50 would give them for one image."""
    generator = torch.Generator().manual_seed(0)
    return OrderedDict(
        (f"res{level}", torch.randn((1, channels, *_level_size(size_hw, stride)), generator=generator).to(device))
        for level, (channels, stride) in enumerate(zip(BACKBONE_CHANNELS, STRIDES, strict=True), start=2)
    )


def _level_size(size_hw: tuple[int, int], stride: int) -> tuple[int, int]:
    return -(-size_hw[0] // stride), -(-size_hw[1] // stride)


WORKLOADS = {
    "attention": (attention_case, ("ours", "dense")),
    "neck": (neck_case, ("FPN", "FPT", "FPT exact", "FPT dense")),
}
