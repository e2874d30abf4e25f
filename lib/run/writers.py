"""Where a training run reports: its log and json lines, curves, a profile."""

from __future__ import annotations

import argparse
from pathlib import Path

from fpt.core.config_node import CfgNode
from fpt.engine.curves import CurveWriter, CurveWriters, MlflowWriter, TensorboardWriter, WandbWriter, optional_package
from fpt.engine.profiling import StepProfile
from fpt.engine.state import TrainState
from fpt.engine.train_loop import Writer
from fpt.engine.writers import JsonlWriter, ProgressWriter
from fpt.utils.distributed import is_main

_WARM_UP_STEPS = 3


def check_packages(args: argparse.Namespace) -> None:
    """Raise UserError where ``--use_wandb`` or ``--use_mlflow`` asks for what is not installed."""
    for name in ("wandb", "mlflow"):
        if getattr(args, f"use_{name}"):
            optional_package(name, option=f"--use_{name}")


def make_curves(cfg: CfgNode, args: argparse.Namespace, folder: Path, *, start_step: int) -> CurveWriters:
    """What ``--use_tfboard``, ``--use_wandb`` and ``--use_mlflow`` ask for; the main process draws."""
    writers: list[CurveWriter] = []
    if args.use_tfboard and is_main():
        writers.append(TensorboardWriter(folder, start_step=start_step))
    if args.use_wandb and is_main():
        writers.append(WandbWriter(folder, config=cfg.to_dict(), start_step=start_step))
    if args.use_mlflow and is_main():
        writers.append(MlflowWriter(folder, config=cfg.to_dict(), start_step=start_step))
    return CurveWriters(writers)


def make_writers(
    cfg: CfgNode, args: argparse.Namespace, folder: Path, curves: CurveWriter, *, start_step: int
) -> list[Writer]:
    """What gets the records of the loop, on the main process."""
    if not is_main():
        return []
    writers: list[Writer] = [ProgressWriter(max_iter=cfg.SOLVER.MAX_ITER)]
    writers.append(JsonlWriter(folder / "metrics.jsonl", start_step=start_step, interval=args.disp_interval))
    return [*writers, curves]


def make_profile(args: argparse.Namespace, state: TrainState, folder: Path) -> StepProfile | None:
    """What ``--profile`` asks for, on the main process."""
    if not args.profile or not is_main():
        return None
    return StepProfile(folder / "profile", state.model, first=state.step + _WARM_UP_STEPS + 1)
