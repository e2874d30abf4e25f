"""Every policy at hand-computed steps."""

import pytest

from fpt.solver.lr_schedule import LearningRateSchedule
from fpt.utils.errors import UserError


@pytest.mark.parametrize("steps", [(4, 8), (0, 4, 8)])
def test_steps_with_decay_with_and_without_a_leading_zero(steps: tuple[int, ...]) -> None:
    schedule = LearningRateSchedule(policy="steps_with_decay", base_lr=1.0, max_iter=10, gamma=0.5, steps=steps)
    assert [schedule(step) for step in (0, 3, 4, 7, 8, 9)] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


def test_step() -> None:
    schedule = LearningRateSchedule(policy="step", base_lr=1.0, max_iter=10, gamma=0.5, step_size=3)
    assert [schedule(step) for step in (0, 2, 3, 6)] == [1.0, 1.0, 0.5, 0.25]


def test_steps_with_lrs() -> None:
    schedule = LearningRateSchedule(policy="steps_with_lrs", base_lr=9.0, max_iter=10, steps=(0, 4), lrs=(0.3, 0.1))
    assert [schedule(step) for step in (0, 3, 4, 9)] == [0.3, 0.3, 0.1, 0.1]


def test_cosine_and_poly_fall_to_zero() -> None:
    cosine = LearningRateSchedule(policy="cosine", base_lr=2.0, max_iter=10)
    assert [cosine(step) for step in (0, 5, 10, 12)] == pytest.approx([2.0, 1.0, 0.0, 0.0])
    poly = LearningRateSchedule(policy="poly", base_lr=2.0, max_iter=4, poly_power=2.0)
    assert [poly(step) for step in (0, 2, 4, 9)] == pytest.approx([2.0, 0.5, 0.0, 0.0])


@pytest.mark.parametrize(("method", "rates"), [("linear", [0.2, 0.6, 1.0]), ("constant", [0.2, 0.2, 1.0])])
def test_warm_up(method: str, rates: list[float]) -> None:
    schedule = LearningRateSchedule(
        policy="steps_with_decay", base_lr=1.0, max_iter=9, warm_up_iters=4, warm_up_factor=0.2, warm_up_method=method
    )
    assert [schedule(step) for step in (0, 2, 4)] == pytest.approx(rates)


def test_contradictions_are_named() -> None:
    with pytest.raises(UserError, match="LR_POLICY is 'stair'; legal: steps_with_decay"):
        LearningRateSchedule(policy="stair", base_lr=1.0, max_iter=1)
    with pytest.raises(UserError, match=r"STEPS must rise, not \(8, 4\)"):
        LearningRateSchedule(policy="step", base_lr=1.0, max_iter=1, steps=(8, 4))
    with pytest.raises(UserError, match="LRS has 1 values and SOLVER.STEPS 2"):
        LearningRateSchedule(policy="steps_with_lrs", base_lr=1.0, max_iter=1, steps=(0, 4), lrs=(1.0,))
    with pytest.raises(UserError, match=r"STEPS is \(5,\), but steps_with_lrs needs a rate from step 0: begin with 0"):
        LearningRateSchedule(policy="steps_with_lrs", base_lr=1.0, max_iter=1, steps=(5,), lrs=(1.0,))
