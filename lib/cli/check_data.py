"""Command line that says what is wrong with data sets, all of it at once."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from fpt.cli.common import add_set_option, add_version_option, run_command
from fpt.core.config import load_cfg
from fpt.dataloaders.catalog import dataset_names
from fpt.run.check_data import DataChecker
from fpt.run.names import check_names
from fpt.run.remark import Remark
from fpt.utils.errors import UserError


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(
        description="Check data sets and say what is wrong with them, all of it at once; exit status 1 if anything is.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--cfg",
        dest="cfg_file",
        metavar="FILE",
        help="yaml file, or the name of one of ours; its data sets are checked unless --dataset names others",
    )
    parser.add_argument("--dataset", metavar="NAME", help="data set, by a name as fpt-train takes it")
    add_set_option(parser)
    add_version_option(parser)
    parser.add_argument("--read_images", action="store_true", help="load every image and mask too")
    parser.add_argument(
        "--draw",
        type=Path,
        metavar="DIR",
        help="draw every image with its ground truth into this folder",
    )
    parser.add_argument("--read_pictures", dest="read_images", action="store_true", help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Print the reports; returns the exit status: 0, 1 when something is wrong with the data, 2 for wrong input."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    cfg = load_cfg(args.cfg_file, args.set_cfgs)
    check_names(cfg)
    train, test = cfg.TRAIN.DATASETS, cfg.TEST.DATASETS
    if args.dataset is not None:
        train, test = dataset_names(args.dataset, cfg.DATASETS)
    names = list(dict.fromkeys([*train, *test]))
    if not names:
        raise UserError("no data set is named: give --cfg or --dataset")
    checker = DataChecker(cfg)
    for name in names:
        if (folder := _drawings(args.draw, name, names)) is not None:
            checker.check_drawings(name, folder)
    faults = [
        _print(checker.check(name, reads_images=args.read_images, draw_dir=_drawings(args.draw, name, names)))
        for name in names
    ]
    return int(any([*faults, _print(checker.compare_classes(train, test))]))


def _drawings(folder: Path | None, name: str, names: Sequence[str]) -> Path | None:
    """Where the drawings of a data set go: into a folder of its own where there are several."""
    return folder if folder is None or len(names) == 1 else folder / name


def _print(remarks: Iterator[Remark]) -> bool:
    """Print what is found as it is found; whether anything is wrong."""
    is_faulty = False
    try:
        for remark in remarks:
            print(remark.text, flush=True)
            is_faulty |= remark.is_fault
    except UserError as error:
        print(error)
        return True
    return is_faulty
