"""Measures semantic segmentation: peak memory and time of LGT and of a whole recipe, by image size."""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch

from fpt.cli.common import run_command
from fpt.core.config import load_cfg
from fpt.modeling.build import build_model
from fpt.modeling.neck.area import Area
from fpt.modeling.neck.grounding_transformer import LocalGroundingTransformer
from fpt.utils.errors import UserError
from measure import give_back_freed_memory, limit_memory, measure

SIDES = (257, 385, 513, 769)
RECIPE = "semantic/cityscapes_ufp_fpt_R-101"
PHASES = ("forward", "training")
_NUM_CLASSES, _STRIDE, _CHANNELS = 19, 8, 256
_MIB = 2**20


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--workload",
        choices=("lgt", "model"),
        default="lgt",
        help="lgt: one locality-constrained grounding transformer at stride 8; model: the whole recipe (%(default)s)",
    )
    parser.add_argument("--sides", type=int, nargs="+", default=list(SIDES), help="of square images, in pixels")
    parser.add_argument("--phases", choices=PHASES, nargs="+", default=list(PHASES))
    parser.add_argument("--cfg", default=RECIPE, help="recipe of the workload model (%(default)s)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table, each figure from a process of its own; returns the exit status."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    if args.child:
        print(json.dumps(_measure_case(json.loads(args.child))))
        return 0
    for phase in args.phases:
        print(f"{args.workload}, {phase}: side, seconds, peak MiB above the model")
        peaks = []
        for side in args.sides:
            job = {"workload": args.workload, "side": side, "phase": phase, "cfg": args.cfg}
            seconds = _in_child({**job, "figure": "seconds"})["seconds"]
            peak = _in_child({**job, "figure": "peak"})["peak_bytes"]
            time = "out of memory" if seconds is None else f"{seconds:.2f}"
            print(f"{side:5d}  {time:>8s}  {peak / _MIB:8.0f}", flush=True)
            peaks.append(peak)
        if len(peaks) > 1 and min(peaks) > 0:
            print(f"slope of log(peak) on log(pixels): {slope([side**2 for side in args.sides], peaks):.3f}")
    return 0


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of the line of least squares through the logarithms."""
    log_x, log_y = [math.log(value) for value in x], [math.log(value) for value in y]
    mean_x, mean_y = sum(log_x) / len(x), sum(log_y) / len(y)
    products = sum((a - mean_x) * (b - mean_y) for a, b in zip(log_x, log_y, strict=True))
    return products / sum((a - mean_x) ** 2 for a in log_x)


def _in_child(job: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", json.dumps(job)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode < 0:
        return {"seconds": None, "peak_bytes": 0}
    if result.returncode:
        raise UserError(f"{job} failed:\n{result.stderr.strip()}")
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def _measure_case(job: dict[str, Any]) -> dict[str, Any]:
    limit_memory()
    if job["figure"] == "peak":
        give_back_freed_memory()
    make = _lgt if job["workload"] == "lgt" else _model
    run = make(job)
    run(65)  # threads, kernels and buffers of the libraries
    cost = measure(lambda: run(job["side"]), torch.device("cpu"))
    return {"seconds": cost.seconds, "peak_bytes": cost.peak_bytes}


def _lgt(job: dict[str, Any]) -> Callable[[int], None]:
    module = LocalGroundingTransformer(channels=_CHANNELS, key_channels=_CHANNELS // 2, ratio=1)
    whole, is_training = Area(None, None), job["phase"] == "training"

    def run(side: int) -> None:
        cells = -(-side // _STRIDE)
        fine, coarse = (torch.rand(1, _CHANNELS, cells, cells, requires_grad=is_training) for _ in range(2))
        with torch.set_grad_enabled(is_training):
            out = module(fine, coarse, whole, whole).finish()
            if is_training:
                out.sum().backward()

    return run


def _model(job: dict[str, Any]) -> Callable[[int], None]:
    cfg = load_cfg(job["cfg"], ["MODEL.LOAD_IMAGENET_PRETRAINED_WEIGHTS", "False"])
    model = build_model(cfg, num_classes=_NUM_CLASSES + 1)
    is_training = job["phase"] == "training"
    model.train(is_training)

    def run(side: int) -> None:
        image = torch.zeros(3, side, side, dtype=torch.uint8)
        target = {"classes": torch.zeros(side, side, dtype=torch.int16)}
        with torch.set_grad_enabled(is_training):
            out = model([image], [target] if is_training else None)
            if is_training:
                sum(out.values()).backward()
                model.zero_grad(set_to_none=False)

    return run


if __name__ == "__main__":
    sys.exit(main())
