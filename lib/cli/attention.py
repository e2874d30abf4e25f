"""Command line that shows where the transformers of a trained model look."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fpt.cli.common import add_weights_options, make_parser, read_config, run_command
from fpt.cli.images import add_image_options, read_images
from fpt.run.attention_maps import draw_attention_files, figure_files
from fpt.run.trained_model import load_trained_model
from fpt.utils.own_files import check_outputs


def point(text: str) -> tuple[float, float]:
    """Type of ``--points``: "120,80" -> (120.0, 80.0)."""
    try:
        x, y = (float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not X,Y, as in 120,80") from None
    return x, y


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = make_parser(
        "Show, for points of an image, where the self- and grounding transformers look on each level, and the channel "
        "weights of the rendering transformers: one figure for each image and point."
    )
    add_weights_options(parser, required=True)
    add_image_options(parser)
    parser.add_argument("--points", type=point, nargs="+", required=True, metavar="X,Y", help="in pixels of the image")
    parser.add_argument("--output_dir", type=Path, default=Path("attention_outputs"), help="where to (%(default)s)")
    parser.add_argument("--output_format", choices=("png", "jpg", "pdf"), default="png", help="type (%(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the figures; returns the exit status."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    cfg = read_config(args).freeze()
    found = read_images(args)
    figures = [figure_files(name, args.points, args.output_dir, suffix=args.output_format) for name in found.names]
    check_outputs(sum(figures, []), inputs=found.images)
    draw_attention_files(
        load_trained_model(args.load_ckpt, cfg),
        found.images,
        args.points,
        args.output_dir,
        names=found.names,
        suffix=args.output_format,
    )
    return 0
