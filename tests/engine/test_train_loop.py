"""The loop on a toy model: order of things, mean over iter_size, stop, non-finite losses."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from fpt.engine.train_loop import LoopSettings, train
from fpt.engine.train_step import NonFiniteLossError

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


def run(model: nn.Module, data: Iterator[ToyBatch], **more: object) -> tuple[int, list[dict[str, float]]]:
    records: list[dict[str, float]] = []
    settings = {name: more.pop(name) for name in list(more) if name in LoopSettings.__dataclass_fields__}
    arguments = {
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "schedule": lambda step: 0.1,
        "writers": [records.append],
        **more,
    }
    steps = train(model=model, batches=data, settings=LoopSettings(device=CPU, **settings), **arguments)
    return steps, records


def test_one_step_by_hand() -> None:
    model = ToyModel()
    steps, records = run(model, batches(2.0), max_iter=1)
    assert steps == 1
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
    run(model, batches(1.0), max_iter=3, start_step=2, optimizer=optimizer, schedule=lambda step: step / 100)
    assert model.w.item() == pytest.approx(1.0 - 2 * 0.02 * 3)


def test_records_come_after_the_first_each_interval_and_the_last_step() -> None:
    _, records = run(ToyModel(), batches(0.0), max_iter=11, disp_interval=4)
    assert [record["step"] for record in records] == [1, 4, 8, 11]


def test_hooks_see_every_finished_step_and_a_stop_ends_the_loop() -> None:
    seen: list[int] = []
    steps, records = run(ToyModel(), batches(0.0), max_iter=9, hooks=[seen.append], should_stop=lambda: len(seen) == 2)
    assert (steps, seen) == (3, [1, 2, 3])
    assert records[-1]["step"] == 3


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_loss_names_pictures_and_spares_the_weights(value: float) -> None:
    model = ToyModel()
    with pytest.raises(NonFiniteLossError, match=r"loss_a = (nan|inf).*image ids \[7\].*BASE_LR"):
        run(model, batches(value), max_iter=1)
    assert model.w.item() == 1.0
    assert model.w.grad is None


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
    model = SteepModel()
    with pytest.raises(NonFiniteLossError, match="norm of the gradients is inf|norm of the gradients is nan"):
        run(model, batches(2.0), max_iter=1, clip_norm=clip_norm)
    assert model.w.item() == 0
