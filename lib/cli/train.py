"""Command line that trains a model."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from fpt.cli.common import (
    add_weights_options,
    make_parser,
    non_negative_int,
    number_between,
    positive_int,
    read_config,
    run_command,
)
from fpt.core.config import set_keys
from fpt.core.config_node import CfgNode
from fpt.run.options import RunOptions
from fpt.run.train import train
from fpt.solver.batch_scaling import Change
from fpt.solver.build import apply_changes
from fpt.solver.optimizer import OPTIMIZERS

_LOGGER = logging.getLogger("fpt")


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = make_parser("Train a model; the run folder gets its checkpoints, configuration, log and metrics.")
    add_weights_options(parser, required=False)
    parser.add_argument("--disp_interval", type=positive_int, default=20, help="steps between two log lines (20)")
    parser.add_argument(
        "--bs",
        dest="batch_size",
        type=positive_int,
        help="images in a batch, over all devices (TRAIN.IMS_PER_BATCH x devices); where that, times --iter_size, "
        "is not the yaml file's NUM_GPUS x TRAIN.IMS_PER_BATCH (or SOLVER.IMS_PER_UPDATE), its rates and steps are "
        "scaled; values given by --set or --lr are not",
    )
    parser.add_argument(
        "--nw", dest="num_workers", type=non_negative_int, help="loader workers (DATA_LOADER.NUM_THREADS)"
    )
    parser.add_argument("--iter_size", type=positive_int, default=1, help="batches in an update: gradients' mean (1)")
    parser.add_argument("--o", dest="optimizer", choices=tuple(OPTIMIZERS), help="optimizer")
    parser.add_argument(
        "--lr", type=number_between(0, 1e30), help="learning rate as it is used: not scaled with the batch size"
    )
    parser.add_argument("--lr_decay_gamma", type=number_between(0, 1), help="factor of each decay of the learning rate")
    parser.add_argument("--start_step", type=non_negative_int, default=0, help="steps that count as done (0)")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="yes",
        default="no",
        choices=("yes", "auto"),
        help="go on with step, optimizer and data of --load_ckpt, or of the newest checkpoint in --output_dir or of "
        "the newest run of this yaml file (the same path or content) on these data; a run of another file or of other "
        "data goes on where --output_dir or --load_ckpt names it; auto: if --output_dir holds one, else start",
    )
    parser.add_argument("--no_save", action="store_true", help="write no checkpoint")
    for name, flag, text in (
        ("tensorboard", "--use_tfboard", "TensorBoard in <run>/tensorboard"),
        ("wandb", "--use_wandb", "Weights & Biases (extra wandb)"),
        ("mlflow", "--use_mlflow", "MLflow (extra mlflow)"),
    ):
        parser.add_argument(flag, dest="writers", action="append_const", const=name, help=f"curves for {text}")
    parser.add_argument(
        "--profile", action="store_true", help="trace steps 4 to 6: <run>/profile/trace.json and the ten slowest parts"
    )
    parser.add_argument("--output_dir", type=Path, help="run folder (OUTPUT_DIR/<cfg name>/<time>)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Train; returns the exit status: 0, 1 failed, 2 wrong input, 128 + a signal (130, 143, ...)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = build_parser().parse_args(arguments)
    return run_command(partial(_run, args, arguments))


def _run(args: argparse.Namespace, arguments: Sequence[str]) -> int:
    cfg = read_config(args)
    changes = _explicit_changes(args, cfg)
    options = RunOptions(
        output_dir=args.output_dir,
        name=Path(args.cfg_file).stem,
        load_ckpt=args.load_ckpt,
        resume=args.resume,
        start_step=args.start_step,
        batch_size=args.batch_size,
        iter_size=args.iter_size,
        keep=set_keys(args.set_cfgs) | {change.key for change in changes},
        disp_interval=args.disp_interval,
        saves_checkpoints=not args.no_save,
        writers=tuple(args.writers or ()),
        profiles=args.profile,
        command=("fpt-train", *arguments),
    )
    for change in changes:
        if change.new != change.old:
            _LOGGER.info("adapted %s", change)
    return train(apply_changes(cfg, changes), options).exit_status


def _explicit_changes(args: argparse.Namespace, cfg: CfgNode) -> list[Change]:
    """What ``--o``, ``--lr``, ``--lr_decay_gamma`` and ``--nw`` say; also where it is the value that stands there."""
    overrides = {
        "SOLVER.TYPE": ("--o", args.optimizer, cfg.SOLVER.TYPE),
        "SOLVER.BASE_LR": ("--lr", args.lr, cfg.SOLVER.BASE_LR),
        "SOLVER.GAMMA": ("--lr_decay_gamma", args.lr_decay_gamma, cfg.SOLVER.GAMMA),
        "DATA_LOADER.NUM_THREADS": ("--nw", args.num_workers, cfg.DATA_LOADER.NUM_THREADS),
    }
    return [Change(key, old, new, option) for key, (option, new, old) in overrides.items() if new is not None]
