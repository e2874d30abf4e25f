"""Options of a run: what they take, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from fpt.run.options import RunOptions
from fpt.utils.errors import UserError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resume": "maybe"}, "resume is 'maybe', must be one of no, yes, auto"),
        ({"writers": ("tfboard",)}, "writers names tfboard; there are tensorboard, wandb, mlflow"),
        ({"batch_size": 0}, "batch_size is 0, must be at least 1"),
        ({"iter_size": 0}, "iter_size is 0, must be at least 1"),
        ({"disp_interval": -1}, "disp_interval is -1, must be at least 1"),
        ({"start_step": -1}, "start_step is -1, must not be negative"),
    ],
)
def test_illegal_values_are_named_with_the_legal_ones(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        RunOptions(**options)


def test_text_and_lists_are_taken() -> None:
    options = RunOptions(output_dir="a/b", load_ckpt="c.pth", writers=["wandb"], keep=["SOLVER.BASE_LR"])
    assert (options.output_dir, options.load_ckpt) == (Path("a/b"), Path("c.pth"))
    assert (options.writers, options.keep) == (("wandb",), frozenset({"SOLVER.BASE_LR"}))
    assert hash(options) == hash(RunOptions(**vars(options)))
