"""Command line that writes the built-in data set ``shapes``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fpt.cli.common import add_version_option, run_command
from fpt.synthetic.shapes import generate_shapes


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(description="Write the built-in data set `shapes` in COCO's format.")
    parser.add_argument("--output_dir", type=Path, default=Path("data/shapes"), help="folder to write (%(default)s)")
    parser.add_argument("--num_train", type=int, default=800, help="training images (%(default)s)")
    parser.add_argument("--num_val", type=int, default=100, help="validation images (%(default)s)")
    parser.add_argument("--size", type=int, default=160, help="longer side of the images in pixels (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="what the images are drawn from (%(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace a set that was made with other parameters")
    add_version_option(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Write the data set; returns the exit status."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    is_new = generate_shapes(
        args.output_dir,
        num_train=args.num_train,
        num_val=args.num_val,
        size=args.size,
        seed=args.seed,
        overwrite=args.overwrite,
    )
    verb = "wrote" if is_new else "found"
    print(f"{verb} {args.num_train} training and {args.num_val} validation images: {args.output_dir}")
    return 0
