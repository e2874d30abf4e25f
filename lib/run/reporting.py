"""Where a training run reports: its log and json lines, curves, a profile."""

from __future__ import annotations

from pathlib import Path

from fpt.core.config_node import CfgNode
from fpt.engine.curves import CurveWriter, CurveWriters, MlflowWriter, TensorboardWriter, WandbWriter, optional_package
from fpt.engine.profiling import StepProfile
from fpt.engine.state import TrainState
from fpt.engine.train_loop import Writer
from fpt.engine.writers import JsonlWriter, ProgressWriter
from fpt.run.options import RunOptions
from fpt.utils.distributed import is_main

_WARM_UP_STEPS = 3


def check_packages(options: RunOptions) -> None:
    """Raise UserError where the options ask for the curves of a package that is not installed."""
    for name in options.writers:
        if name in ("wandb", "mlflow"):
            optional_package(name, option=f"--use_{name}")


def make_curves(cfg: CfgNode, options: RunOptions, folder: Path, *, start_step: int) -> CurveWriters:
    """The curves that the options ask for; the main process draws."""
    if not is_main():
        return CurveWriters([])
    writers: list[CurveWriter] = []
    if "tensorboard" in options.writers:
        writers.append(TensorboardWriter(folder, start_step=start_step))
    if "wandb" in options.writers:
        writers.append(WandbWriter(folder, config=cfg.to_dict(), start_step=start_step))
    if "mlflow" in options.writers:
        writers.append(MlflowWriter(folder, config=cfg.to_dict(), start_step=start_step))
    return CurveWriters(writers)


def make_writers(
    cfg: CfgNode, options: RunOptions, folder: Path, curves: CurveWriter, *, start_step: int
) -> list[Writer]:
    """What gets the records of the loop, on the main process."""
    if not is_main():
        return []
    writers: list[Writer] = [ProgressWriter(max_iter=cfg.SOLVER.MAX_ITER)]
    writers.append(JsonlWriter(folder / "metrics.jsonl", start_step=start_step, interval=options.disp_interval))
    return [*writers, curves]


def make_profile(options: RunOptions, state: TrainState, folder: Path) -> StepProfile | None:
    """The trace that the options ask for, on the main process."""
    if not options.profiles or not is_main():
        return None
    return StepProfile(folder / "profile", state.model, first=state.step + _WARM_UP_STEPS + 1)
