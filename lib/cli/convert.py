"""Command line that converts weight files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fpt.cli.common import add_version_option, run_command
from fpt.run.convert import TARGETS, convert


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(
        description="Convert weights between this program, Detectron, Detectron2, Detectron.pytorch and torchvision."
    )
    parser.add_argument("source", type=Path, help="checkpoint or weight file of any of them")
    parser.add_argument("target", type=Path, help="file to write: .pkl, .pth or .safetensors")
    parser.add_argument("--to", choices=TARGETS, default="", help="whose names (detectron for .pkl, else fpt)")
    parser.add_argument("--half", action="store_true", help="write float16: half the size, for publishing")
    add_version_option(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Convert; returns the exit status."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    left_out = convert(args.source, args.target, program=args.to, is_half=args.half)
    print(f"wrote {args.target}")
    if left_out:
        shown = ", ".join(left_out[:6]) + (f" and {len(left_out) - 6} more" if len(left_out) > 6 else "")
        print(f"without a place there, and left out: {shown}")
    return 0
