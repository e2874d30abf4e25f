"""The schedule of the recipes (16 images, rate 0.05) on other batch sizes."""

import pytest
import torch

from fpt.core.config import get_cfg, load_cfg, parse_cfg
from fpt.solver.batch_scaling import scale_schedule
from fpt.solver.build import amp_dtype, apply_changes, batch_changes, build_optimizer, build_schedule

VALUES = {
    "SOLVER.BASE_LR": 0.05,
    "SOLVER.STEPS": (0, 80000, 100000),
    "SOLVER.STEP_SIZE": 30000,
    "SOLVER.MAX_ITER": 120000,
    "SOLVER.WARM_UP_ITERS": 500,
}


def test_same_batch_changes_nothing() -> None:
    assert scale_schedule(VALUES, original_batch=16, batch_size=16, iter_size=1) == []


def test_smaller_batch() -> None:
    changes = scale_schedule(VALUES, original_batch=16, batch_size=4, iter_size=1)
    assert {change.key: change.new for change in changes} == {
        "SOLVER.BASE_LR": 0.0125,
        "SOLVER.STEPS": (0, 320000, 400000),
        "SOLVER.STEP_SIZE": 120000,
        "SOLVER.MAX_ITER": 480000,
    }
    assert str(changes[0]) == "SOLVER.BASE_LR: 0.05 -> 0.0125 (x 0.25: images an update 16 -> 4)"


def test_iter_size_counts_like_a_larger_batch() -> None:
    one = scale_schedule(VALUES, original_batch=16, batch_size=8, iter_size=1)
    two = scale_schedule(VALUES, original_batch=16, batch_size=4, iter_size=2)
    assert two == one
    assert {change.key: change.new for change in two}["SOLVER.BASE_LR"] == 0.025
    assert scale_schedule(VALUES, original_batch=16, batch_size=2, iter_size=8) == []


def test_updates_of_two_batches_end_where_those_of_one_do() -> None:
    """Least squares on 16 images an update, as 16 x 1 and as 2 x 8, 60 updates each: the same path."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 16, 4, generator=generator, dtype=torch.float64)
    truth = inputs @ torch.tensor([3.0, -5.0, 2.0, 7.0], dtype=torch.float64)

    def final(batch_size: int, iter_size: int) -> torch.Tensor:
        changes = scale_schedule(VALUES, original_batch=16, batch_size=batch_size, iter_size=iter_size)
        rate = {change.key: change.new for change in changes}.get("SOLVER.BASE_LR", VALUES["SOLVER.BASE_LR"])
        weight = torch.zeros(4, dtype=torch.float64, requires_grad=True)
        for x, y in zip(inputs, truth, strict=True):
            for part_x, part_y in zip(x.split(batch_size), y.split(batch_size), strict=True):
                ((part_x @ weight - part_y).square().mean() / iter_size).backward()
            with torch.no_grad():
                weight -= rate * weight.grad
            weight.grad = None
        return weight.detach()

    assert torch.allclose(final(16, 1), final(2, 8), rtol=0, atol=1e-12)


def test_values_of_the_command_line_stay() -> None:
    changes = scale_schedule(
        VALUES, original_batch=16, batch_size=4, iter_size=1, given={"SOLVER.MAX_ITER", "SOLVER.BASE_LR"}
    )
    assert {change.key for change in changes} == {"SOLVER.STEPS", "SOLVER.STEP_SIZE"}


def test_configuration_gets_the_new_batch_and_schedule() -> None:
    cfg = get_cfg()
    cfg.NUM_GPUS, cfg.TRAIN.IMS_PER_BATCH, cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER = 8, 2, 0.05, 100
    changes = batch_changes(cfg.freeze(), batch_size=2, iter_size=1, num_devices=1, given=())
    new = apply_changes(cfg, changes)
    assert (new.NUM_GPUS, new.TRAIN.IMS_PER_BATCH, new.SOLVER.MAX_ITER) == (1, 2, 800)
    assert build_schedule(new).base_lr == 0.05 / 8
    assert cfg.SOLVER.MAX_ITER == 100
    assert new.is_frozen
    assert batch_changes(new, batch_size=2, iter_size=1, num_devices=1, given=()) == []


@pytest.mark.parametrize("iter_size", [1, 2, 8])
def test_an_adapted_configuration_is_not_adapted_again(iter_size: int) -> None:
    """What a run writes as its config.yaml is for the same --bs and --iter_size."""
    cfg = load_cfg(None, ["SOLVER.MAX_ITER", "100", "SOLVER.STEPS", "(60, 80)", "SOLVER.BASE_LR", "0.02"])
    asked = {"batch_size": 4, "iter_size": iter_size, "num_devices": 1, "given": ()}
    new = apply_changes(cfg, batch_changes(cfg, **asked))
    again = parse_cfg(new.dump(), source="config.yaml")
    assert batch_changes(again, **asked) == []
    back = apply_changes(again, batch_changes(again, batch_size=1, iter_size=1, num_devices=1, given=()))
    assert back.SOLVER.BASE_LR == pytest.approx(0.02 / (cfg.NUM_GPUS * cfg.TRAIN.IMS_PER_BATCH))


def test_steps_that_would_fall_together_stay_apart() -> None:
    cfg = load_cfg(None, ["SOLVER.MAX_ITER", "20", "SOLVER.STEPS", "(15, 17, 18)", "TRAIN.IMS_PER_BATCH", "2"])
    new = apply_changes(cfg, batch_changes(cfg, batch_size=2, iter_size=8, num_devices=1, given=()))
    assert new.SOLVER.STEPS == (2, 3, 4)
    assert parse_cfg(new.dump(), source="config.yaml").SOLVER.STEPS == (2, 3, 4)


def test_builders_read_the_configuration() -> None:
    cfg = get_cfg()
    assert amp_dtype(cfg) is None
    cfg.SOLVER.AMP, cfg.SOLVER.TYPE, cfg.SOLVER.BASE_LR, cfg.SOLVER.WARM_UP_ITERS = "bf16", "AdamW", 0.3, 0
    optimizer = build_optimizer(cfg, torch.nn.Linear(2, 2))
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.param_groups[0]["lr"] == 0.3
    assert amp_dtype(cfg) is torch.bfloat16
