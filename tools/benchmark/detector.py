"""Measures whole detectors side by side: torchvision's Mask R-CNN, ours on FPN, and ours with FPT."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from fpt.cli.common import positive_int, run_command
from fpt.core.config import load_cfg
from fpt.modeling.build import build_model
from fpt.structures.paste import paste_masks
from fpt.utils.errors import UserError
from fpt.utils.heap import keep_freed_memory
from measure import give_back_freed_memory, limit_memory, measure
from neck import image_size

PHASES = ("forward", "training")
_FPT = ("MODEL.CONV_BODY", "FPN.ResNet50_conv5_body_fpt")
_OWN = ("MODEL.FPT.SHARE_DOWNSAMPLING", "False")
_PUBLISHED = (*_OWN, *("MODEL.FPT.FUSION", "concat", "MODEL.FPT.QUERY_STRIDE", "1", "MODEL.FPT.MAX_KEYS", "1024"))
CASES: dict[str, tuple[str, ...] | None] = {
    "torchvision": None,
    "FPN": ("MODEL.CONV_BODY", "FPN.ResNet50_conv5_body"),
    "FPT": _FPT,
    "FPT-16": (*_FPT, "MODEL.FPT.QUERY_STRIDE", "16"),
    "FPT-1024": (*_FPT, "MODEL.FPT.MAX_KEYS", "1024"),
    "FPT-exact-keys": (*_FPT, "MODEL.FPT.MAX_KEYS", "0"),
    "FPT-coarse": (*_FPT, "MODEL.FPT.FUSION", "coarse"),
    "FPT-own": (*_FPT, *_OWN),
    "FPT-bottleneck": (*_FPT, *_OWN, "MODEL.FPT.FUSION", "bottleneck"),
    "FPT-concat": (*_FPT, *_PUBLISHED),
    "FPT-paper": (*_FPT, *_PUBLISHED, "MODEL.FPT.START", "paper"),
    "FPT-paper-exact": (*_FPT, *_PUBLISHED, "MODEL.FPT.START", "paper", "MODEL.FPT.MAX_KEYS", "0"),
}
"""Options of each detector; None = torchvision's."""

_COMMON = (
    *("MODEL.MASK_ON", "True", "TEST.SCORE_THRESH", "0.0", "RESNETS.STRIDE_1X1", "False"),
    *("TRAIN.RPN_POST_NMS_TOP_N", "2000", "MRCNN.ROI_MASK_HEAD", "mask_rcnn_heads.mask_rcnn_fcn_head_v1up4convs"),
)
_NUM_CLASSES, _NUM_OBJECTS, _MASK_SIDE = 91, 8, 28
_MIB = 2**20
_SETTLING_SIDE = 256  # pixels


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--size", type=image_size, default=(800, 1088), help="of the image, HEIGHTxWIDTH (800x1088)")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["torchvision", "FPN", "FPT", "FPT-paper"])
    parser.add_argument("--phases", nargs="+", choices=PHASES, default=list(PHASES))
    parser.add_argument(
        "--rounds", type=positive_int, default=4, help="turns, the first of which warms up (%(default)s)"
    )
    parser.add_argument("--amp", action="store_true", help="in bfloat16 (automatic mixed precision)")
    parser.add_argument("--no_memory", action="store_true", help="leave out peak memory, each in a process of its own")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    args = build_parser().parse_args(argv)
    if args.child:
        print(json.dumps(_peak(json.loads(args.child))))
        return 0
    return run_command(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    print(f"{args.size[0]}x{args.size[1]}, one image, {torch.get_num_threads()} threads, torch {torch.__version__}")
    figures = []
    for phase in args.phases:
        rows = _time(args, phase)
        for row in rows if not args.no_memory else ():
            row["peak_bytes"] = _peak_in_child(row["case"], args, phase)
        figures += rows
        print(f"\n{phase}{', bfloat16' if args.amp else ''}")
        first = f"x {rows[0]['case']}"
        print(f"{'case':<16} {'seconds':>8}  {first:>13}  {'page faults':>11}  {'MiB':>6}")
        for row in rows:
            ratio, peak = row["seconds"] / rows[0]["seconds"], row.get("peak_bytes")
            memory = "" if peak is None else f"{peak / _MIB:6.0f}"
            print(f"{row['case']:<16} {row['seconds']:8.2f}  {ratio:13.2f}  {row['faults']:11d}  {memory}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


def _time(args: argparse.Namespace, phase: str) -> list[dict[str, Any]]:
    """Each case's fastest pass after the first, the cases in turn, and the page faults of its last."""
    keep_freed_memory()  # as the programs do
    runs = {case: make_run(case, args.size, phase, is_half=args.amp) for case in args.cases}
    seconds: dict[str, list[float]] = {case: [] for case in runs}
    faults = dict.fromkeys(runs, 0)
    for _ in range(args.rounds + 1):
        for case, run in runs.items():
            before, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
            run()
            seconds[case].append(time.perf_counter() - start)
            faults[case] = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return [
        {"case": case, "phase": phase, "seconds": min(seconds[case][1:]), "faults": faults[case]} for case in args.cases
    ]


def make_run(case: str, size_hw: tuple[int, int], phase: str, *, is_half: bool) -> Callable[[], object]:
    """One pass of a detector with random weights: detections, masks pasted into the image, or losses and gradients."""
    torch.manual_seed(0)
    is_training, options = phase == "training", CASES[case]
    if options is None:
        model: nn.Module = torchvision.models.detection.maskrcnn_resnet50_fpn(
            weights=None,
            weights_backbone=None,
            num_classes=_NUM_CLASSES,
            box_score_thresh=0.0,
            min_size=min(size_hw),
            max_size=max(size_hw),
        )
    else:
        cfg = load_cfg(None, [*_COMMON, *options])
        model = build_model(cfg, num_classes=_NUM_CLASSES)
    image = torch.randint(0, 256, (3, *size_hw), generator=torch.Generator().manual_seed(0)).float()
    if options is not None:
        _settle(model, image[:, :_SETTLING_SIDE, :_SETTLING_SIDE])
    model.train(is_training)
    target = _target(size_hw, whole_masks=options is None)
    images = [image / 255 if options is None else image]

    def run() -> None:
        with torch.set_grad_enabled(is_training):
            with _half(is_half):
                out = model(images, [target]) if is_training else model(images)
            if is_training:
                torch.stack([loss.float() for loss in out.values()]).sum().backward()
                model.zero_grad(set_to_none=True)
            elif options is not None:  # torchvision's masks are pasted already
                for found in out:
                    for _mask in paste_masks(found["masks"].numpy(), found["boxes"].numpy(), size_hw):
                        pass

    return run


@torch.no_grad()
def _settle(model: nn.Module, image: Tensor) -> None:
    """Give the pyramid's maps the size of trained ones, a standard deviation of 1: random ones are hundreds of times as
    large, and the logits of such maps need float64. A small image does: what a large one leaves to the allocator would
    hide in the peaks of memory."""
    model.eval()
    for output in model.get_submodule("neck.pyramid.outputs"):  # type: ignore[union-attr]
        handle = output.register_forward_hook(_divide)
        try:
            model([image])
        finally:
            handle.remove()


def _divide(module: nn.Module, args: object, out: Tensor) -> None:
    for parameter in module.parameters():
        parameter /= out.std()


def _half(is_on: bool) -> AbstractContextManager[object]:
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_on)


def _target(size_hw: tuple[int, int], *, whole_masks: bool) -> dict[str, Tensor]:
    """Objects of many sizes; masks of the whole image, or of each object's own box."""
    height, width = size_hw
    corner = torch.arange(_NUM_OBJECTS, dtype=torch.float32)[:, None] / (2 * _NUM_OBJECTS)
    share = torch.logspace(-1.2, -0.35, _NUM_OBJECTS)[:, None]
    scale = torch.tensor([[width, height]], dtype=torch.float32)
    boxes = torch.cat([corner * scale, (corner + share) * scale], dim=1)
    labels = torch.arange(1, _NUM_OBJECTS + 1)
    if not whole_masks:
        return {"boxes": boxes, "labels": labels, "masks": torch.ones(_NUM_OBJECTS, _MASK_SIDE, _MASK_SIDE).byte()}
    masks = torch.zeros(_NUM_OBJECTS, height, width, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.long().tolist(), strict=True):
        mask[y0:y1, x0:x1] = 1
    return {"boxes": boxes, "labels": labels, "masks": masks}


def _peak_in_child(case: str, args: argparse.Namespace, phase: str) -> int:
    job = {"case": case, "size": args.size, "phase": phase, "amp": args.amp}
    result = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(job)], capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise UserError(f"{job} failed:\n{result.stderr.strip()}")
    return int(result.stdout.splitlines()[-1])


def _peak(job: dict[str, Any]) -> int:
    """Largest memory of the tensors of a pass above what was held before, in bytes."""
    limit_memory()
    give_back_freed_memory()
    make_run(job["case"], (64, 64), job["phase"], is_half=job["amp"])()  # kernels and buffers of the libraries
    run = make_run(job["case"], tuple(job["size"]), job["phase"], is_half=job["amp"])
    return measure(run, torch.device("cpu")).peak_bytes


if __name__ == "__main__":
    sys.exit(main())
