"""How a run is to be made, beside what the configuration says of the model, the data and the schedule."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fpt.utils.errors import UserError

RESUME = ("no", "yes", "auto")
CURVES = ("tensorboard", "wandb", "mlflow")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of a training.

    Attributes:
        output_dir: the run folder; None makes a new one, ``<cfg.OUTPUT_DIR>/<name>/<time>``.
        name: of the runs with one configuration.
        load_ckpt: checkpoint to start from: its weights alone, or with `resume` everything.
        resume: "yes" goes on from `load_ckpt`, or from the newest checkpoint in `output_dir` or of the newest run of
            the yaml file that was loaded (the same path or content) on the same data; "auto" does so where
            `output_dir` holds one, and else starts, with the weights of `load_ckpt`; "no" starts.
        start_step: steps that count as done.
        batch_size: images in a batch, over all devices; None = cfg.TRAIN.IMS_PER_BATCH for each device. Where it is
            not, times `iter_size`, what cfg.SOLVER.IMS_PER_UPDATE says, rates and steps of the schedule are scaled.
        iter_size: batches in an update; their gradients are averaged.
        keep: names of options, such as SOLVER.BASE_LR, whose values are not scaled with the batch size.
        disp_interval: steps between two log lines.
        saves_checkpoints: False writes none.
        writers: where curves and images go beside the run folder's own files: "tensorboard", "wandb", "mlflow".
        profiles: trace steps 4 to 6 into ``profile/``.
        command: program and arguments that environment.json records.

    Raises:
        UserError: a value is not legal.
    """

    output_dir: Path | None = None
    name: str = "run"
    load_ckpt: Path | None = None
    resume: str = "no"
    start_step: int = 0
    batch_size: int | None = None
    iter_size: int = 1
    keep: frozenset[str] = field(default_factory=frozenset)
    disp_interval: int = 20
    saves_checkpoints: bool = True
    writers: tuple[str, ...] = ()
    profiles: bool = False
    command: tuple[str, ...] = ("fpt.train",)

    def __post_init__(self) -> None:
        """Take text as paths and any sequence as a tuple, and check the values."""
        _convert(self, output_dir=Path, load_ckpt=Path, writers=tuple, keep=frozenset, command=tuple)
        if self.resume not in RESUME:
            raise UserError(f"resume is {self.resume!r}, must be one of {', '.join(RESUME)}")
        unknown = [name for name in self.writers if name not in CURVES]
        if unknown:
            raise UserError(f"writers names {', '.join(unknown)}; there are {', '.join(CURVES)}")
        for name in ("batch_size", "iter_size", "disp_interval"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}, must be at least 1")
        if self.start_step < 0:
            raise UserError(f"start_step is {self.start_step}, must not be negative")


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """Options of an evaluation.

    Attributes:
        output_dir: gets metrics.json and the results in COCO's format; None writes nothing.
        index_range: index of the first image, and of the one after the last; None = all.
        draws: draw each image beside its ground truth into ``vis/`` of `output_dir`.
        uses_all_gpus: use every visible GPU in this process.
        class_names: of the model, label i + 1 is class_names[i]; None = those of the data set, in its order. Classes
            that only one side has do not count.
        command: program and arguments that the output folder records.
    """

    output_dir: Path | None = None
    index_range: tuple[int, int] | None = None
    draws: bool = False
    uses_all_gpus: bool = False
    class_names: tuple[str, ...] | None = None
    command: tuple[str, ...] = ("fpt.evaluate",)

    def __post_init__(self) -> None:
        """Take text as a path and any sequence as a tuple; UserError for drawings without a folder."""
        _convert(self, output_dir=Path, index_range=tuple, class_names=tuple, command=tuple)
        if self.draws and self.output_dir is None:
            raise UserError("draws is True, but there is no output_dir to draw into")


def _convert(options: object, **kinds: type) -> None:
    """Give attributes of a frozen dataclass their type, unless they are None."""
    for name, kind in kinds.items():
        value = getattr(options, name)
        if value is not None:
            object.__setattr__(options, name, kind(value))
