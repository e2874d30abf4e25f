"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from fpt.utils.errors import UserError
from fpt.utils.parts import find_part


@dataclass(frozen=True, kw_only=True)
class LearningRateSchedule:
    """Warm-up times policy: ``schedule(step)`` is the rate of the update that follows `step` finished ones.

    Attributes:
        policy: name in LR_POLICIES.
        base_lr: rate before any decay.
        max_iter: steps of the whole schedule.
        gamma: factor of each decay (steps_with_decay, step).
        steps: where the rate changes; a leading 0, as Detectron's files write it, changes nothing (steps_with_decay).
        lrs: rates from each of `steps` (steps_with_lrs).
        step_size: distance of the decays (step).
        poly_power: exponent (poly).
        warm_up_iters: steps of warm-up; 0 = none.
        warm_up_factor: share of the rate at the first step of the warm-up.
        warm_up_method: linear, or constant at the factor.

    Raises:
        UserError: the values contradict one another.
    """

    policy: str
    base_lr: float
    max_iter: int
    gamma: float = 0.1
    steps: tuple[int, ...] = ()
    lrs: tuple[float, ...] = ()
    step_size: int = 30000
    poly_power: float = 0.9
    warm_up_iters: int = 0
    warm_up_factor: float = 1.0 / 3.0
    warm_up_method: str = "linear"

    def __post_init__(self) -> None:
        find_part(LR_POLICIES, self.policy, option="SOLVER.LR_POLICY")
        if list(self.steps) != sorted(self.steps):
            raise UserError(f"SOLVER.STEPS must rise, not {self.steps}")
        if self.policy == "steps_with_lrs" and len(self.lrs) != len(self.steps):
            raise UserError(
                f"SOLVER.LRS has {len(self.lrs)} values and SOLVER.STEPS {len(self.steps)}: steps_with_lrs needs one "
                "rate for each step"
            )
        if self.policy == "steps_with_lrs" and self.steps[:1] != (0,):
            raise UserError(f"SOLVER.STEPS is {self.steps}, but steps_with_lrs needs a rate from step 0: begin with 0")

    def __call__(self, step: int) -> float:
        return LR_POLICIES[self.policy](self, step) * self._warm_up(step)

    def _warm_up(self, step: int) -> float:
        if step >= self.warm_up_iters:
            return 1.0
        if self.warm_up_method == "constant":
            return self.warm_up_factor
        done = step / self.warm_up_iters
        return self.warm_up_factor * (1.0 - done) + done


def _steps_with_decay(schedule: LearningRateSchedule, step: int) -> float:
    decays = sum(1 for start in schedule.steps if 0 < start <= step)
    return schedule.base_lr * schedule.gamma**decays


def _step(schedule: LearningRateSchedule, step: int) -> float:
    return schedule.base_lr * schedule.gamma ** (step // schedule.step_size)


def _steps_with_lrs(schedule: LearningRateSchedule, step: int) -> float:
    passed = [rate for start, rate in zip(schedule.steps, schedule.lrs, strict=True) if start <= step]
    return passed[-1] if passed else schedule.base_lr


def _remaining(schedule: LearningRateSchedule, step: int) -> float:
    return max(0.0, 1.0 - step / schedule.max_iter)


def _cosine(schedule: LearningRateSchedule, step: int) -> float:
    return schedule.base_lr * 0.5 * (1.0 - math.cos(math.pi * _remaining(schedule, step)))


def _poly(schedule: LearningRateSchedule, step: int) -> float:
    return float(schedule.base_lr * _remaining(schedule, step) ** schedule.poly_power)


LrPolicy = Callable[[LearningRateSchedule, int], float]
"""Rate after so many finished steps, before warm-up; the schedule holds the numbers of the configuration."""

LR_POLICIES: dict[str, LrPolicy] = {
    "steps_with_decay": _steps_with_decay,
    "step": _step,
    "steps_with_lrs": _steps_with_lrs,
    "cosine": _cosine,
    "poly": _poly,
}
