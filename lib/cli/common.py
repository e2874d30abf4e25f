"""What the command lines share: options, configuration, device, errors."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from fpt import __version__
from fpt.cli.signals import handling_signals, stop_at_once
from fpt.core.config import load_cfg
from fpt.core.config_node import CfgNode
from fpt.dataloaders.catalog import dataset_names
from fpt.engine.train_step import NonFiniteLossError
from fpt.parallel.processes import process_group
from fpt.run.names import check_names
from fpt.utils.distributed import rank
from fpt.utils.errors import LoaderError, StoppedAtOnce, UserError
from fpt.utils.logging import setup_logging


def make_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the options that every tool has."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="data set: coco2017, keypoints_coco2017, or a name from DATASETS of the yaml file (NAME_train and "
        "NAME_val are found by NAME); may be left out where the yaml file names TRAIN.DATASETS and TEST.DATASETS",
    )
    parser.add_argument(
        "--cfg",
        dest="cfg_file",
        metavar="FILE",
        required=True,
        help="yaml file over the defaults, or the name of one of ours, such as e2e_fptnet_R-50_mask or paper/fpt_R-101",
    )
    add_set_option(parser)
    add_version_option(parser)
    parser.add_argument("--no_cuda", action="store_true", help="compute on the CPU even where there is a GPU")
    return parser


def add_set_option(parser: argparse.ArgumentParser) -> None:
    """``--set``."""
    parser.add_argument(
        "--set",
        dest="set_cfgs",
        metavar="KEY VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="options over the yaml file: --set TRAIN.MAX_SIZE 800 or --set TRAIN.MAX_SIZE=800, any number; all "
        "options: docs/config.md",
    )


def add_version_option(parser: argparse.ArgumentParser) -> None:
    """``--version``."""
    parser.add_argument("--version", action="version", version=f"fpt {__version__}")


def add_weights_options(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """``--load_ckpt`` or ``--load_detectron``."""
    group = parser.add_mutually_exclusive_group(required=required)
    group.add_argument("--load_ckpt", metavar="FILE", type=Path, help="checkpoint, or a model of another program")
    group.add_argument(
        "--load_detectron", metavar="FILE.pkl", type=Path, dest="load_ckpt", help="the same, as Detectron calls it"
    )


def positive_int(text: str) -> int:
    """Type of options that count from 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value


def non_negative_int(text: str) -> int:
    """Type of options that count from 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value


def number_between(low: float, high: float) -> Callable[[str], float]:
    """Type of options that take a number from `low` to `high`."""

    def number(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low:g} and {high:g}")
        return value

    return number


def run_command(command: Callable[[], int]) -> int:
    """Run `command` with logging, together with the other processes if there are any; returns the exit status.

    An error that the user can mend is printed without a traceback (status 2), so is a diverged training (1), a loader
    that hung or lost a worker (1) and a signal (128 + its number). Anything else is raised, so that the interpreter
    prints a traceback and exits with status 1.
    """
    try:
        with handling_signals(stop_at_once), process_group():
            setup_logging(process=rank())
            return command()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except LoaderError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except NonFiniteLossError as error:
        print(
            f"error: training diverged: {error}; the weights are those of the last good step. Lower SOLVER.BASE_LR "
            "(--lr), lengthen SOLVER.WARM_UP_ITERS or set SOLVER.CLIP_GRAD_NORM, and look at these images "
            "(skipped_steps.jsonl in the run folder names those of the other steps)",
            file=sys.stderr,
        )
        return 1
    except StoppedAtOnce as error:
        print(f"stopped by {signal.Signals(error.number).name}", file=sys.stderr)
        return 128 + error.number
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def read_config(args: argparse.Namespace) -> CfgNode:
    """The writable configuration of a tool: yaml file, ``--set``, ``--dataset``, ``--no_cuda``.

    Raises:
        UserError: the file is missing (the nearest names are given), wrong, or names an unknown data set or part.
    """
    cfg = load_cfg(args.cfg_file, args.set_cfgs).clone()
    check_names(cfg)
    if args.dataset is not None:
        cfg.TRAIN.DATASETS, cfg.TEST.DATASETS = dataset_names(args.dataset, cfg.DATASETS)
    if args.no_cuda:
        cfg.DEVICE = "cpu"
    return cfg
