"""Measures the neck: time and peak memory of FPN, FPT and the dense formula; parameters and FLOPs by part."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fpt.cli.common import positive_int, run_command
from fpt.core.config import load_cfg
from fpt.modeling.backbone_name import parse_backbone_name
from fpt.modeling.build import build_model
from fpt.modeling.detector import GeneralizedRCNN
from fpt.modeling.neck.build import NECKS
from fpt.utils.errors import UserError
from measure import limit_memory, measure
from parts import count_parts, time_neck
from workloads import PHASES, WORKLOADS

SIZES = ("256x320", "512x640", "800x1088")
RECIPE = "e2e_fptnet_R-50_mask"
_NUM_CLASSES = 81
_MIB = 2**20


def image_size(text: str) -> tuple[int, int]:
    """Type of ``--sizes``: "512x640" -> (512, 640)."""
    try:
        height, width = (int(number) for number in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH, as in 512x640") from None
    if min(height, width) < 32:
        raise argparse.ArgumentTypeError(f"{text}: the coarsest level has a stride of 32 pixels")
    return height, width


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--workload",
        choices=(*WORKLOADS, "detector"),
        default="neck",
        help="neck: FPN, FPT with MAX_KEYS, FPT exact, FPT by the dense formula; attention: the ten attentions of a "
        "pyramid, ours and dense; detector: time of the neck in a detector, parameters and FLOPs by part (%(default)s)",
    )
    parser.add_argument("--sizes", type=image_size, nargs="+", default=[image_size(x) for x in SIZES])
    parser.add_argument("--phases", choices=PHASES, nargs="+", default=list(PHASES))
    parser.add_argument("--cases", nargs="+", help="only these cases")
    parser.add_argument("--rounds", type=positive_int, default=1, help="turns; cases take turns in each (%(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    parser.add_argument("--cfg", default=RECIPE, help="recipe of the workload detector (%(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"--device {args.device}: torch sees no GPU here; leave it out to measure on the CPU")
    if args.child:
        print(json.dumps(_measure_case(json.loads(args.child))))
        return 0
    print(_machine())
    figures = _detector(args) if args.workload == "detector" else _cases(args)
    if args.json:
        args.json.write_text(json.dumps({"machine": _machine(), "figures": figures}, indent=1) + "\n", encoding="utf-8")
    return 0


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _cases(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Each case in a process of its own, the cases of a size in turn."""
    known = WORKLOADS[args.workload][1]
    unknown = sorted(set(args.cases or ()) - set(known))
    if unknown:
        raise UserError(f"--cases {', '.join(unknown)}: {args.workload} has {', '.join(known)}")
    cases = args.cases or known
    figures: list[dict[str, Any]] = []
    for phase in args.phases:
        print(f"\n{args.workload}, {phase}\n{_header(cases[0])}")
        for size in args.sizes:
            jobs = [
                {"workload": args.workload, "case": case, "size": size, "phase": phase, "device": args.device}
                for case in cases
            ]
            costs: list[list[dict[str, Any]]] = [[] for _ in jobs]
            for _ in range(args.rounds):
                for job, results in zip(jobs, costs, strict=True):
                    results.append(_measure_in_child(job))
            rows = [{**job, **_best(results)} for job, results in zip(jobs, costs, strict=True)]
            figures += rows
            for row in rows:
                print(_line(row, rows[0]), flush=True)
    return figures


def _best(results: list[dict[str, Any]]) -> dict[str, Any]:
    """The fastest of several turns, with the memory of the largest; no seconds if any ran out of memory."""
    seconds = [result["seconds"] for result in results]
    peak = max(result["peak_bytes"] for result in results)
    return {"seconds": None if None in seconds else min(seconds), "peak_bytes": peak}


def _header(first: str) -> str:
    return f"{'size':>9}  {'case':<10} {'seconds':>8}  {'x ' + first:>9}  {'MiB':>7}  {'bytes/pixel':>11}"


def _line(row: dict[str, Any], first: dict[str, Any]) -> str:
    """A row of the table; memory is what the run needs above its operands."""
    height, width = row["size"]
    start = f"{f'{height}x{width}':>9}  {row['case']:<10} "
    if row["seconds"] is None:
        return start + "out of memory"
    ratio = f"{row['seconds'] / first['seconds']:.2f}" if first["seconds"] else ""
    peak = row["peak_bytes"]
    return start + f"{row['seconds']:8.2f}  {ratio:>9}  {peak / _MIB:7.0f}  {peak / (height * width):11.0f}"


def _measure_in_child(job: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", json.dumps(job)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode < 0:
        return {"seconds": None, "peak_bytes": 0}  # the system killed it for its memory
    if result.returncode:
        raise UserError(f"{job['case']} at {job['size']} failed:\n{result.stderr.strip()}")
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def _measure_case(job: dict[str, Any]) -> dict[str, Any]:
    device = torch.device(job["device"])
    if device.type == "cpu":
        limit_memory()
    make_case, _ = WORKLOADS[job["workload"]]
    make_case(job["case"], (64, 64), job["phase"], device)()  # threads, kernels and buffers of the libraries
    cost = measure(make_case(job["case"], tuple(job["size"]), job["phase"], device), device)
    return {"seconds": cost.seconds, "peak_bytes": cost.peak_bytes}


def _detector(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time of the neck in the recipe's detector, with and without the transformer; parameters and FLOPs by part."""
    parsed = parse_backbone_name(load_cfg(args.cfg).MODEL.CONV_BODY, necks=NECKS)
    backbone, with_transformer = (str(replace(parsed, has_transformer=value)) for value in (False, True))
    models = {name: _build(args, name) for name in (backbone, with_transformer)}
    figures: list[dict[str, Any]] = []
    for size in args.sizes:
        image = torch.rand((3, *size), generator=torch.Generator().manual_seed(0)).to(args.device) * 255
        print(f"\n{size[0]}x{size[1]}, forward")
        times = {name: [time_neck(model, image) for _ in range(args.rounds + 1)][1:] for name, model in models.items()}
        plain = min(total for _, total in times[backbone])
        for name, model in models.items():
            neck, total = (min(column) for column in zip(*times[name], strict=True))
            print(f"{name}: detector {total:.2f} s, its neck {neck:.2f} s = {neck / plain:.2f} x the plain detector")
            parts = count_parts(model, image)
            for part in parts:
                print(f"  {part.name:<8} {part.parameters / 1e6:8.2f} M parameters {part.flops / 1e9:9.1f} GFLOPs")
            figures.append(
                {
                    "size": size,
                    "backbone": name,
                    "neck_seconds": neck,
                    "seconds": total,
                    "parts": [vars(p) for p in parts],
                }
            )
    return figures


def _build(args: argparse.Namespace, backbone: str) -> GeneralizedRCNN:
    cfg = load_cfg(args.cfg, ["MODEL.CONV_BODY", backbone, "RESNETS.IMAGENET_PRETRAINED_WEIGHTS", ""])
    torch.manual_seed(0)
    return build_model(cfg, num_classes=_NUM_CLASSES).to(args.device).eval()


if __name__ == "__main__":
    sys.exit(main())
