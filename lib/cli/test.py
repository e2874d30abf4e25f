"""Command line that evaluates a checkpoint."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from fpt.cli.common import add_weights_options, make_parser, read_config, run_command
from fpt.run.evaluate import evaluate_checkpoint
from fpt.run.options import EvaluationOptions


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = make_parser("Evaluate a checkpoint; the output folder gets metrics.json and results in COCO's format.")
    add_weights_options(parser, required=True)
    parser.add_argument("--output_dir", type=Path, help="folder of the results (test/ in the checkpoint's run folder)")
    parser.add_argument("--range", type=int, nargs=2, metavar=("START", "END"), help="only these images, by index")
    parser.add_argument(
        "--multi-gpu-testing",
        action="store_true",
        help="use every visible GPU in this process; torchrun, with a process a GPU, is faster and needs no option",
    )
    parser.add_argument("--vis", action="store_true", help="draw each image beside its ground truth into vis/")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate; returns the exit status: 0, 1 when a drawing could not be written, 2 for wrong input."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = build_parser().parse_args(arguments)
    return run_command(partial(_run, args, arguments))


def _run(args: argparse.Namespace, arguments: Sequence[str]) -> int:
    cfg = read_config(args)
    cfg.VIS = cfg.VIS or args.vis
    options = EvaluationOptions(
        output_dir=args.output_dir,
        index_range=args.range,
        uses_all_gpus=args.multi_gpu_testing,
        command=("fpt-test", *arguments),
    )
    return 1 if evaluate_checkpoint(cfg.freeze(), args.load_ckpt, options).failures else 0
