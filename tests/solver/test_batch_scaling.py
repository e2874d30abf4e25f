"""The schedule of the recipes (16 images, rate 0.05) on other batch sizes."""

import torch

from fpt.core.config import get_cfg
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
    assert str(changes[0]) == "SOLVER.BASE_LR: 0.05 -> 0.0125 (x 0.25: batch 16 -> 4)"


def test_iter_size_shortens_the_schedule_but_leaves_the_rate() -> None:
    changes = scale_schedule(VALUES, original_batch=16, batch_size=4, iter_size=2)
    assert {change.key: change.new for change in changes} == {
        "SOLVER.BASE_LR": 0.0125,
        "SOLVER.STEPS": (0, 160000, 200000),
        "SOLVER.STEP_SIZE": 60000,
        "SOLVER.MAX_ITER": 240000,
    }


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


def test_builders_read_the_configuration() -> None:
    cfg = get_cfg()
    assert amp_dtype(cfg) is None
    cfg.SOLVER.AMP, cfg.SOLVER.TYPE, cfg.SOLVER.BASE_LR, cfg.SOLVER.WARM_UP_ITERS = "bf16", "AdamW", 0.3, 0
    optimizer = build_optimizer(cfg, torch.nn.Linear(2, 2))
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.param_groups[0]["lr"] == 0.3
    assert amp_dtype(cfg) is torch.bfloat16
