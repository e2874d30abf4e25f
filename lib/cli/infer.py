"""Command line that draws what a checkpoint finds in images."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fpt.checkpoint.checkpoint import load_checkpoint
from fpt.cli.common import (
    add_weights_options,
    make_parser,
    number_between,
    read_config,
    refuse_detectron,
    run_command,
)
from fpt.core.config_node import CfgNode
from fpt.dataloaders.build import build_transform
from fpt.dataloaders.collate import Batch
from fpt.dataloaders.image_io import read_image
from fpt.dataloaders.transforms import resize_image
from fpt.engine.inference import detect_batch
from fpt.run.folder import start_log
from fpt.run.image_files import find_images, output_names
from fpt.run.trained_model import build_trained_model
from fpt.solver.build import amp_dtype
from fpt.structures.detections import Detections
from fpt.utils.distributed import from_main, gather_on_main, share_of_range
from fpt.utils.errors import UserError
from fpt.utils.files import write_json
from fpt.utils.seeding import seed_everything
from fpt.visualization.draw import detections_to_json, draw_detections
from fpt.visualization.image_output import FORMATS, merge_pdfs, save_image

_LOGGER = logging.getLogger("fpt")


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = make_parser("Draw what a checkpoint finds: one result for every image, even when nothing is found.")
    add_weights_options(parser, required=True)
    images = parser.add_mutually_exclusive_group(required=True)
    images.add_argument("--image_dir", type=Path, metavar="DIR", help="all images of this folder")
    images.add_argument("--images", type=Path, metavar="FILE", nargs="+", help="these images")
    parser.add_argument("--output_dir", type=Path, default=Path("infer_outputs"), help="where to (%(default)s)")
    parser.add_argument(
        "--output_format",
        nargs="+",
        choices=(*FORMATS, "json"),
        default=["png", "json"],
        help="one or more files for each image (png json)",
    )
    parser.add_argument(
        "--merge_pdfs", type=_truth, nargs="?", const=True, default=False, help="also one results.pdf of all images"
    )
    parser.add_argument(
        "--thresh", type=number_between(0, 1), help="lowest score of a detection that is shown (VIS_TH)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Detect and draw; returns the exit status: 0, 1 when some image could not be read, 2 for wrong input."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = build_parser().parse_args(arguments)
    return run_command(partial(_run, args, arguments))


def _run(args: argparse.Namespace, arguments: Sequence[str]) -> int:
    refuse_detectron(args.load_detectron)
    cfg = read_config(args).freeze()
    threshold = cfg.VIS_TH if args.thresh is None else args.thresh
    images = find_images(args.image_dir) if args.image_dir is not None else args.images
    formats = list(dict.fromkeys([*args.output_format, *(["pdf"] if args.merge_pdfs else [])]))
    seed_everything(cfg.RNG_SEED)
    checkpoint = from_main(lambda: load_checkpoint(args.load_ckpt))
    model = build_trained_model(cfg, checkpoint, source=args.load_ckpt)
    from_main(lambda: start_log(args.output_dir, program="fpt-infer", arguments=arguments))
    written: list[Path] = []
    failures = []
    names = output_names(images)
    for index in range(*share_of_range(0, len(images))):
        path, name = images[index], names[index]
        try:
            written += _process(cfg, model, path, args.output_dir / name, checkpoint.classes, formats, threshold, index)
        except UserError as error:
            failures.append(path)
            _LOGGER.error("%s", error)
    gathered = gather_on_main((written, failures))
    if gathered is None:
        return 1 if failures else 0
    written, failures = (sum(parts, []) for parts in zip(*gathered, strict=True))
    pages = [path for path in written if path.suffix == ".pdf"]
    if args.merge_pdfs and pages:
        merge_pdfs(pages, args.output_dir / "results.pdf")
    _LOGGER.info("%d of %d images done: %s", len(images) - len(failures), len(images), args.output_dir)
    if failures:
        print(f"error: not readable: {', '.join(str(path) for path in failures)}", file=sys.stderr)
    return 1 if failures else 0


def _process(
    cfg: CfgNode,
    model: nn.Module,
    path: Path,
    target: Path,
    class_names: Sequence[str],
    formats: Sequence[str],
    threshold: float,
    index: int,
) -> list[Path]:
    """Detect in one image and write `target` in each format; returns the files."""
    image = read_image(path)
    detections = _detect(cfg, model, image, index).above(threshold)
    counts = f"{len(detections)} detection{'' if len(detections) == 1 else 's'}"
    _LOGGER.info("%s: %s", path, counts)
    files = []
    drawing = draw_detections(image, detections, class_names, score_threshold=threshold)
    for suffix in formats:
        file = target.with_name(f"{target.name}.{suffix}")
        if suffix == "json":
            write_json(file, {"file": str(path), **detections_to_json(detections, class_names)})
        else:
            save_image(file, drawing)
        files.append(file)
    return files


def _detect(cfg: CfgNode, model: nn.Module, image: np.ndarray, image_id: int) -> Detections:
    size_hw = (image.shape[0], image.shape[1])
    input_hw, _ = build_transform(cfg, is_train=False).draw(size_hw, None)
    tensor = torch.from_numpy(resize_image(image, input_hw)).permute(2, 0, 1)
    batch = Batch([tensor], None, [image_id], [size_hw], [min(input_hw) / min(size_hw)])
    return detect_batch(
        model,
        batch,
        device=torch.device(cfg.DEVICE),
        amp_dtype=amp_dtype(cfg),
        mask_threshold=cfg.MRCNN.THRESH_BINARIZE,
    )[0]


def _truth(text: str) -> bool:
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return known[text.lower()]
