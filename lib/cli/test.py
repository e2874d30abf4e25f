"""Command line that evaluates a checkpoint."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from fpt.checkpoint.checkpoint import load_checkpoint
from fpt.cli.common import add_weights_options, make_parser, read_config, refuse_detectron, run_command
from fpt.core.config_node import CfgNode
from fpt.dataloaders.coco import CocoDataset
from fpt.engine.resume import check_classes
from fpt.run.detect import detect_dataset, evaluate_detections, open_test_dataset
from fpt.run.devices import own_devices, parallelize
from fpt.run.draw_dataset import draw_dataset
from fpt.run.folder import start_log
from fpt.run.trained_model import build_trained_model
from fpt.utils.distributed import from_main, is_distributed, is_main, world_size
from fpt.utils.errors import UserError
from fpt.utils.seeding import seed_everything

_LOGGER = logging.getLogger("fpt")


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
    """Evaluate; returns the exit status: 0, or 2 for wrong input."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = build_parser().parse_args(arguments)
    return run_command(partial(_run, args, arguments))


def _run(args: argparse.Namespace, arguments: Sequence[str]) -> int:
    refuse_detectron(args.load_detectron)
    cfg = read_config(args)
    cfg.VIS = cfg.VIS or args.vis
    cfg.freeze()
    if not cfg.TEST.DATASETS:
        raise UserError("no data set to evaluate on: give --dataset NAME, or set TEST.DATASETS in the yaml file")
    seed_everything(cfg.RNG_SEED)
    checkpoint = from_main(lambda: load_checkpoint(args.load_ckpt))
    datasets = [open_test_dataset(cfg, name) for name in cfg.TEST.DATASETS]
    for dataset in datasets:
        check_classes(checkpoint, dataset.class_names, source=args.load_ckpt, dataset=dataset.name)
    model = build_trained_model(cfg, checkpoint, source=args.load_ckpt)
    output_dir = args.output_dir or default_output_dir(args.load_ckpt)
    from_main(lambda: start_log(output_dir, program="fpt-test", arguments=arguments))
    _LOGGER.info("evaluating on %s", _describe_devices(cfg, uses_all=args.multi_gpu_testing))
    if args.multi_gpu_testing and not is_distributed():
        model = parallelize(model, cfg).eval()
    _LOGGER.info("checkpoint %s: %d steps", args.load_ckpt, checkpoint.step)
    for dataset in datasets:
        folder = output_dir / dataset.name if len(datasets) > 1 else output_dir
        _evaluate(cfg, model, dataset, folder, args.range)
    return 0


def _evaluate(
    cfg: CfgNode, model: torch.nn.Module, dataset: CocoDataset, folder: Path, index_range: Sequence[int] | None
) -> None:
    chosen = None if index_range is None else (index_range[0], index_range[1])
    detections = detect_dataset(cfg, model, dataset, index_range=chosen)
    evaluate_detections(cfg, dataset, detections, folder)
    _LOGGER.info("results: %s", folder)
    if cfg.VIS and is_main():
        draw_dataset(dataset, detections, folder / "vis", score_threshold=cfg.VIS_TH)


def _describe_devices(cfg: CfgNode, *, uses_all: bool) -> str:
    if is_distributed():
        return f"{cfg.DEVICE}, {world_size()} processes with a part of the images each"
    devices = own_devices(cfg)
    used = ", ".join(str(device) for device in (devices if uses_all else devices[:1]))
    rest = len(devices) - 1
    return used if uses_all or not rest else f"{used}; {rest} more GPUs are visible (--multi-gpu-testing or torchrun)"


def default_output_dir(checkpoint: Path) -> Path:
    """``test`` in the run folder of ``<run>/ckpt/<file>``, else beside the file."""
    folder = checkpoint.parent
    return (folder.parent if folder.name == "ckpt" else folder) / "test"
