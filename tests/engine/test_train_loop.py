"""The loop on a toy model: order of things, mean over iter_size, stop, steps that are left out or taken back."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fpt.engine.state import TrainState
from fpt.engine.train_loop import LoopSettings, train
from fpt.engine.train_step import NonFiniteLossError
from fpt.solver.moving_average import MovingAverage

CPU = torch.device("cpu")


@dataclass
class ToyBatch:
    images: list[Tensor]
    targets: list[dict[str, Tensor]] | None = None
    image_ids: list[int] = field(default_factory=lambda: [7])

    def to(self, device: torch.device) -> ToyBatch:
        return self


class ToyModel(nn.Module):
    """loss_a is w x, loss_b is 2 w x: the gradient of w is 3 x."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(1.0))

    def forward(self, images: list[Tensor], targets: object) -> dict[str, Tensor]:
        x = images[0]
        return {"loss_a": self.w * x, "loss_b": 2 * self.w * x}


def batches(*values: float) -> Iterator[ToyBatch]:
    return (ToyBatch([torch.tensor(value)]) for value in itertools.cycle(values))


def make_state(model: nn.Module, **more: object) -> TrainState:
    return TrainState(model=model, **{"optimizer": torch.optim.SGD(model.parameters(), lr=0.1), **more})


def run(model: nn.Module, data: Iterator[ToyBatch], **more: object) -> tuple[TrainState, list[dict[str, float]]]:
    records: list[dict[str, float]] = []
    settings = {name: more.pop(name) for name in list(more) if name in LoopSettings.__dataclass_fields__}
    state = more.pop("state", None) or make_state(model)
    arguments = {"schedule": lambda step: 0.1, "writers": [records.append], **more}
    train(model=model, state=state, batches=data, settings=LoopSettings(device=CPU, **settings), **arguments)
    return state, records


def test_one_step_by_hand() -> None:
    model = ToyModel()
    state, records = run(model, batches(2.0), max_iter=1, images_per_step=4)
    assert (state.step, state.images, state.skipped) == (1, 4, 0)
    assert model.w.item() == pytest.approx(1.0 - 0.1 * 6.0)
    assert (records[0]["loss_a"], records[0]["loss_b"], records[0]["loss"]) == (2.0, 4.0, 6.0)
    assert {"step", "lr", "seconds_per_step", "data_seconds", "eta_seconds", "memory_mib"} <= set(records[0])


def test_iter_size_takes_the_mean_of_the_gradients() -> None:
    model = ToyModel()
    _, records = run(model, batches(2.0, 4.0), max_iter=1, iter_size=2)
    assert model.w.item() == pytest.approx(1.0 - 0.1 * 9.0)
    assert records[0]["loss"] == pytest.approx((6.0 + 12.0) / 2)


def test_gradient_is_clipped_and_its_norm_recorded() -> None:
    model = ToyModel()
    _, records = run(model, batches(2.0), max_iter=1, clip_norm=1.0)
    assert model.w.item() == pytest.approx(0.9, abs=1e-4)
    assert records[0]["gradient_norm"] == pytest.approx(6.0)


def test_rate_follows_the_schedule_and_the_factor_of_the_group() -> None:
    model = ToyModel()
    optimizer = torch.optim.SGD([{"params": [model.w], "lr_factor": 2.0}], lr=9.0)
    state = make_state(model, optimizer=optimizer, step=2)
    run(model, batches(1.0), max_iter=3, state=state, schedule=lambda step: step / 100)
    assert model.w.item() == pytest.approx(1.0 - 2 * 0.02 * 3)


def test_records_come_after_the_first_each_interval_and_the_last_step() -> None:
    _, records = run(ToyModel(), batches(0.0), max_iter=11, disp_interval=4)
    assert [record["step"] for record in records] == [1, 4, 8, 11]


def test_hooks_see_every_finished_step_and_a_stop_ends_the_loop_before_them() -> None:
    seen: list[int] = []
    asked = itertools.count(1)
    more = {"hooks": [seen.append], "should_stop": lambda: next(asked) == 5}  # after each step, and after its hooks
    state, records = run(ToyModel(), batches(0.0), max_iter=9, **more)
    assert (state.step, seen) == (3, [1, 2])
    assert records[-1]["step"] == 3


def test_a_stop_in_a_hook_ends_the_loop_there() -> None:
    seen: list[int] = []
    state, _ = run(ToyModel(), batches(0.0), max_iter=9, hooks=[seen.append], should_stop=lambda: len(seen) == 2)
    assert (state.step, seen) == (2, [1, 2])


def test_the_record_of_a_stop_leaves_the_window_to_the_next_one() -> None:
    asked = itertools.count(1)
    data = batches(1.0, 2.0, 3.0, 4.0)
    model = ToyModel()
    state, stopped = run(
        model, data, max_iter=9, disp_interval=4, should_stop=lambda: next(asked) == 5, schedule=lambda step: 0
    )
    assert [record["step"] for record in stopped] == [1, 3]
    fresh = make_state(model, step=3)
    fresh.window.load_state_dict(state.window.state_dict())
    _, resumed = run(model, data, max_iter=9, disp_interval=4, state=fresh, schedule=lambda step: 0)
    assert resumed[0]["step"] == 4
    assert resumed[0]["loss_a"] == 3.0  # the median of 2, 3 and 4; 1 went into the first record


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_step_without_finite_loss_is_left_out_and_reported(value: float) -> None:
    model, skipped = ToyModel(), []
    state, records = run(
        model, batches(value, 2.0), max_iter=2, iter_size=1, on_skip=lambda step, error: skipped.append((step, error))
    )
    assert model.w.item() == pytest.approx(1.0 - 0.1 * 6.0)
    assert (state.step, state.skipped, state.skipped_in_row) == (2, 1, 0)
    ((step, error),) = skipped
    assert (step, error.image_ids) == (1, [7])
    assert error.reason.startswith(f"loss_a = {value}")
    assert records[-1]["skipped_steps"] == 1
    assert records[-1]["loss"] == 6.0


def test_one_batch_without_finite_loss_leaves_out_the_whole_step() -> None:
    model = ToyModel()
    data = batches(1.0, float("nan"), 5.0, 2.0, 2.0, 2.0)
    state, _ = run(model, data, max_iter=2, iter_size=3)
    assert state.skipped == 1
    assert model.w.item() == pytest.approx(1.0 - 0.1 * 6.0)  # the step of the three twos


def test_many_such_steps_in_a_row_end_the_training_with_the_weights_of_the_last_good_step() -> None:
    model = ToyModel()
    state = make_state(model)
    with pytest.raises(NonFiniteLossError, match=r"3 steps in a row .* the last: loss_a = nan"):
        run(model, batches(2.0, *[float("nan")] * 3), max_iter=9, max_skipped=3, state=state)
    assert model.w.item() == pytest.approx(1.0 - 0.1 * 6.0)
    assert (state.step, state.skipped, state.is_consistent) == (3, 2, True)


class DrawingModel(ToyModel):
    """Notes what it draws."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[float] = []

    def forward(self, images: list[Tensor], targets: object) -> dict[str, Tensor]:
        self.drawn.append(torch.rand(1).item() + np.random.rand() + random.random())
        return super().forward(images, targets)


def test_what_a_step_draws_depends_on_seed_and_step_alone() -> None:
    whole, later, other = DrawingModel(), DrawingModel(), DrawingModel()
    run(whole, batches(0.0), max_iter=4, seed=3)
    torch.manual_seed(1234)
    run(later, batches(0.0), max_iter=4, seed=3, state=make_state(later, step=2))
    run(other, batches(0.0), max_iter=4, seed=4)
    assert later.drawn == whole.drawn[2:]
    assert len({*whole.drawn, *other.drawn}) == 8


class NormModel(ToyModel):
    """A running mean that follows the images."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1, momentum=0.5)

    def forward(self, images: list[Tensor], targets: object) -> dict[str, Tensor]:
        self.norm(images[0].expand(2, 1) + torch.rand(2, 1))
        return super().forward(images, targets)


def test_a_skipped_step_leaves_running_statistics_as_they_were() -> None:
    model = NormModel()
    run(model, batches(float("nan")), max_iter=2)
    assert torch.equal(model.norm.running_mean, torch.zeros(1))
    assert model.norm.num_batches_tracked == 0


def test_an_error_takes_the_step_back() -> None:
    def data() -> Iterator[ToyBatch]:
        yield ToyBatch([torch.tensor(1.0)])
        raise OSError("no such image")

    model = NormModel()
    state = make_state(model, step=4)
    with pytest.raises(OSError, match="no such image"):
        run(model, data(), max_iter=9, iter_size=2, state=state)
    assert (state.step, state.is_consistent) == (4, True)
    assert torch.equal(model.norm.running_mean, torch.zeros(1))


class BrokenOptimizer(torch.optim.SGD):
    def step(self, closure: object = None) -> None:
        raise MemoryError


def test_an_update_that_fails_leaves_no_consistent_state() -> None:
    model = ToyModel()
    state = make_state(model, optimizer=BrokenOptimizer(model.parameters(), lr=0.1))
    with pytest.raises(MemoryError):
        run(model, batches(1.0), max_iter=1, state=state)
    assert not state.is_consistent


def test_float16_gradients_that_overflow_lower_the_scale_and_are_no_skipped_step() -> None:
    model = ToyModel()
    state = make_state(model, scaler=torch.amp.GradScaler("cpu", init_scale=2.0**127))
    run(model, batches(2.0), max_iter=8, max_skipped=1, state=state, amp_dtype=torch.float16)
    assert state.skipped == 0
    assert state.scaler.get_scale() == 2.0**125  # 6 x 2^126 is beyond float32
    assert model.w.item() == pytest.approx(1.0 - 6 * 0.1 * 6.0)


@pytest.mark.parametrize("scale", [4.0, 1.0])
def test_float16_goes_on_after_a_step_whose_gradients_no_scale_makes_finite(scale: float) -> None:
    model = ToyModel()
    state = make_state(model, scaler=torch.amp.GradScaler("cpu", init_scale=scale))
    hook = model.w.register_hook(lambda grad: grad * math.inf)
    run(model, batches(2.0), max_iter=4, max_skipped=9, state=state, amp_dtype=torch.float16)
    lowered = int(math.log2(scale))
    assert (state.skipped, state.scaler.get_scale(), model.w.item()) == (4 - lowered, 1.0, 1.0)
    hook.remove()
    run(model, batches(2.0), max_iter=6, max_skipped=9, state=state, amp_dtype=torch.float16)
    assert (state.skipped, model.w.item()) == (4 - lowered, pytest.approx(1.0 - 2 * 0.1 * 6.0))


def test_average_follows_the_weights() -> None:
    model = ToyModel()
    average = MovingAverage(model, decay=0.5)
    run(model, batches(1.0), max_iter=3, state=make_state(model, average=average))
    weights, expected = [0.7, 0.4, 0.1], 1.0
    for number, value in enumerate(weights):
        decay = min(0.5, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * value
    assert average.values["w"].item() == pytest.approx(expected)
    with average.applied():
        assert model.w.item() == pytest.approx(expected)
    assert model.w.item() == pytest.approx(0.1)


def test_half_precision_keeps_float_parameters() -> None:
    model = ToyModel()
    _, records = run(model, batches(2.0), max_iter=1, amp_dtype=torch.bfloat16)
    assert model.w.dtype == torch.float32
    assert records[0]["loss"] == pytest.approx(6.0)


class SteepModel(nn.Module):
    """A finite loss whose gradient is not: the square root at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.0))

    def forward(self, images: list[Tensor], targets: object) -> dict[str, Tensor]:
        return {"loss_a": self.w.sqrt() * images[0]}


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_a_gradient_that_is_not_finite_never_reaches_the_weights(clip_norm: float) -> None:
    model, reasons = SteepModel(), []
    run(model, batches(2.0), max_iter=1, clip_norm=clip_norm, on_skip=lambda step, error: reasons.append(error.reason))
    assert model.w.item() == 0
    assert reasons[0] in ("norm of the gradients = inf", "norm of the gradients = nan")
