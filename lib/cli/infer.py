"""Command line that draws what a checkpoint finds in images."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from fpt.cli.common import (
    add_weights_options,
    make_parser,
    number_between,
    read_config,
    run_command,
)
from fpt.cli.images import add_image_options, read_images
from fpt.run.folder import log_files, start_log
from fpt.run.image_files import IDS
from fpt.run.predict_files import predict_files, result_files
from fpt.run.predictor import Predictor
from fpt.utils.distributed import from_main
from fpt.utils.errors import UserError
from fpt.utils.own_files import check_outputs
from fpt.utils.seeding import seed_everything
from fpt.visualization.image_output import FORMATS


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = make_parser("Draw what a checkpoint finds: one result for every image, even when nothing is found.")
    add_weights_options(parser, required=True)
    add_image_options(parser)
    parser.add_argument("--output_dir", type=Path, default=Path("infer_outputs"), help="where to (%(default)s)")
    parser.add_argument(
        "--output_format",
        nargs="+",
        choices=(*FORMATS, "json", IDS),
        help="one or more files for each image (png json; of a segmentor ids too, the map of its classes)",
    )
    parser.add_argument(
        "--merge_pdfs", type=_truth, nargs="?", const=True, default=False, help="also one results.pdf of all images"
    )
    parser.add_argument(
        "--colour_by",
        choices=("class", "object"),
        default="class",
        help="a class has the same colour everywhere, or each object its own (%(default)s)",
    )
    parser.add_argument(
        "--thresh",
        type=number_between(0, 1),
        help="lowest score of a detection that is shown (VIS_TH); below TEST.SCORE_THRESH it lowers that, too",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Detect and draw; returns the exit status: 0, 1 when some image could not be read, 2 for wrong input."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = build_parser().parse_args(arguments)
    return run_command(partial(_run, args, arguments))


def _run(args: argparse.Namespace, arguments: Sequence[str]) -> int:
    cfg = read_config(args).freeze()
    is_semantic = cfg.MODEL.TYPE == "semantic_segmentor"
    formats = args.output_format or ["png", "json", *([IDS] if is_semantic else [])]
    if IDS in formats and not is_semantic:
        raise UserError("--output_format ids: a map of classes comes from a segmentor, and this model is a detector")
    found = read_images(args)
    command = ("fpt-infer", *arguments)
    targets = result_files(found.names, args.output_dir, formats=formats, merges_pdfs=args.merge_pdfs) + log_files(
        args.output_dir, command=command
    )
    from_main(lambda: check_outputs(targets, inputs=found.images))
    seed_everything(cfg.RNG_SEED)
    predictor = Predictor(args.load_ckpt, cfg=cfg, score_threshold=args.thresh)
    from_main(lambda: start_log(args.output_dir, command=command))
    done = predict_files(
        predictor,
        found.images,
        args.output_dir,
        names=found.names,
        formats=formats,
        merges_pdfs=args.merge_pdfs,
        colour_by=args.colour_by,
    )
    if done.failures:
        print(f"error: no result for {', '.join(str(path) for path in done.failures)}", file=sys.stderr)
    return 1 if done.failures else 0


def _truth(text: str) -> bool:
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return known[text.lower()]
