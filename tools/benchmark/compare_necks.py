"""Trains a recipe with several necks and seeds, and tables the average precisions."""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fpt.cli.common import non_negative_int, run_command
from fpt.core.config import load_cfg
from fpt.engine.writers import read_records
from fpt.modeling.backbone_name import BackboneName, parse_backbone_name
from fpt.modeling.neck.build import NECKS
from fpt.run.options import RunOptions
from fpt.run.train import train
from fpt.utils.errors import StoppedAtOnce, UserError
from fpt.utils.files import write_text
from fpt.utils.own_files import claim_outputs, recorded

_LOGGER = logging.getLogger("fpt")

_INTERACTIONS, _START = "MODEL.FPT.INTERACTIONS", "MODEL.FPT.START"
_FUSION, _QUERY_STRIDE, _SHARE = "MODEL.FPT.FUSION", "MODEL.FPT.QUERY_STRIDE", "MODEL.FPT.SHARE_DOWNSAMPLING"

VARIANTS: dict[str, dict[str, str] | None] = {
    "FPN": None,
    "FPN+ST": {_INTERACTIONS: "('self',)"},
    "FPN+GT": {_INTERACTIONS: "('grounding',)"},
    "FPN+RT": {_INTERACTIONS: "('rendering',)"},
    "FPN+FPT": {},
    "FPN+FPT-paper": {_START: "paper", _FUSION: "concat", _QUERY_STRIDE: "1", _SHARE: "False"},
    "FPN+FPT-concat": {_START: "identity", _FUSION: "concat", _QUERY_STRIDE: "1", _SHARE: "False"},
    "FPN+FPT-bottleneck": {_START: "identity", _FUSION: "bottleneck", _QUERY_STRIDE: "8", _SHARE: "False"},
    "FPN+FPT-coarse": {_START: "identity", _FUSION: "coarse", _QUERY_STRIDE: "8", _SHARE: "True"},
    "FPN+FPT-default": {_START: "identity", _FUSION: "separable", _QUERY_STRIDE: "8", _SHARE: "True"},
}
"""Options of each neck; None = the base pyramid alone."""

DEFAULT_VARIANTS = ("FPN", "FPN+ST", "FPN+GT", "FPN+RT", "FPN+FPT")

KINDS = {"bbox": "box AP", "segm": "mask AP"}


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(
        description="Train one recipe with several necks and seeds, evaluate each run at its end, and write a table of "
        "means and standard deviations. Start it again after an interruption: finished runs are not repeated, "
        "others go on.",
        allow_abbrev=False,
    )
    parser.add_argument("--cfg", required=True, help="yaml file, or the name of one of ours, with data sets")
    parser.add_argument(
        "--variants", nargs="+", choices=VARIANTS, default=list(DEFAULT_VARIANTS), help="necks (the recipe's own start)"
    )
    parser.add_argument("--seeds", nargs="+", type=non_negative_int, default=[0, 1, 2], help="RNG_SEED of runs (0 1 2)")
    parser.add_argument("--classes", nargs="+", default=[], help="classes whose AP is tabled too")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder of the runs and of table.md")
    parser.add_argument(
        "--set", dest="set_cfgs", nargs="+", default=[], metavar="KEY VALUE", help="options of all runs"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing and write the table; returns the exit status."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    cfg = load_cfg(args.cfg, args.set_cfgs)
    backbone = parse_backbone_name(cfg.MODEL.CONV_BODY, necks=NECKS)
    if not backbone.has_transformer:
        raise UserError(f"MODEL.CONV_BODY is {cfg.MODEL.CONV_BODY}; it must end with _fpt, which FPN's runs leave out")
    if not cfg.TEST.DATASETS:
        raise UserError(f"{args.cfg} names no TEST.DATASETS to compare on")
    target = args.output_dir / "table.md"
    claim_outputs([target])
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in args.variants}
    for seed in args.seeds:
        for name in args.variants:
            folder = args.output_dir / f"{name}-{seed}"
            found = _read(folder, cfg.SOLVER.MAX_ITER)
            if found is None:
                _train(args, name, seed, folder, backbone=backbone, last_step=cfg.SOLVER.MAX_ITER)
                found = _read(folder, cfg.SOLVER.MAX_ITER)
            if found is None:
                raise UserError(f"{folder} has no evaluation of step {cfg.SOLVER.MAX_ITER}; see its log.txt")
            _LOGGER.info("%s, seed %d: %s", name, seed, _summary(found))
            results[name].append(found)
    table = make_table(results, args.classes)
    with recorded(target):
        write_text(target, table)
    print(table, end="")
    return 0


def _train(
    args: argparse.Namespace, name: str, seed: int, folder: Path, *, backbone: BackboneName, last_step: int
) -> None:
    """One run, from its beginning or from where it was stopped.

    Raises:
        StoppedAtOnce: a signal has stopped it, so that no other begins.
    """
    of_neck = VARIANTS[name]
    options = {"RNG_SEED": str(seed), "TRAIN.EVAL_PERIOD": str(last_step), **(of_neck or {})}
    options["MODEL.CONV_BODY"] = str(replace(backbone, has_transformer=of_neck is not None))
    pairs = [text for pair in options.items() for text in pair]
    cfg = load_cfg(args.cfg, [*args.set_cfgs, *pairs])
    result = train(cfg, RunOptions(output_dir=folder, resume="auto", command=("compare_necks.py", name, str(seed))))
    if result.signal is not None:
        raise StoppedAtOnce(result.signal)


def _read(folder: Path, step: int) -> dict[str, Any] | None:
    """The evaluation at `step` of a run, None where there is none."""
    records = read_records(folder / "eval.jsonl")
    return next((record for record in reversed(records) if record["step"] == step), None)


def _summary(record: dict[str, Any]) -> str:
    return ", ".join(f"{KINDS[kind]} {record[kind]['AP']:.3f}" for kind in KINDS if kind in record)


def make_table(results: dict[str, list[dict[str, Any]]], classes: Sequence[str] = ()) -> str:
    """A markdown table: mean, sample standard deviation and every seed's value of each AP.

    Args:
        results: evaluations of each neck, one a seed, as ``eval.jsonl`` holds them.
        classes: classes whose AP (of boxes) follows.

    Raises:
        UserError: a class that the evaluations do not know.
    """
    first = next(iter(results.values()))[0]
    unknown = sorted(set(classes) - set(first["bbox"]["per_class"]))
    if unknown:
        raise UserError(f"--classes {', '.join(unknown)}: there are {', '.join(first['bbox']['per_class'])}")
    columns = [KINDS[kind] for kind in KINDS if kind in first] + [f"{name}, box AP" for name in classes]
    lines = ["| neck | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, records in results.items():
        cells = [_cell([record[kind]["AP"] for record in records]) for kind in KINDS if kind in first]
        cells += [_cell([record["bbox"]["per_class"][label] for record in records]) for label in classes]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float]) -> str:
    """ "0.612 ± 0.031 (0.58, 0.61, 0.64)"."""
    mean = f"{statistics.mean(values):.3f}"
    if len(values) == 1:
        return mean
    each = ", ".join(f"{value:.3f}" for value in values)
    return f"{mean} ± {statistics.stdev(values):.3f} ({each})"


if __name__ == "__main__":
    sys.exit(main())
