"""Optimizer and schedule as the configuration asks for them."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn

from fpt.core.config_node import CfgNode
from fpt.solver.batch_scaling import Change, scale_schedule
from fpt.solver.lr_schedule import LR_POLICIES, LearningRateSchedule
from fpt.solver.optimizer import OPTIMIZERS, freeze_parameters, make_optimizer, parameter_groups
from fpt.utils.parts import find_part


def check_solver_names(cfg: CfgNode) -> None:
    """Raise UserError where SOLVER.TYPE or SOLVER.LR_POLICY is unknown."""
    find_part(OPTIMIZERS, cfg.SOLVER.TYPE, option="SOLVER.TYPE")
    find_part(LR_POLICIES, cfg.SOLVER.LR_POLICY, option="SOLVER.LR_POLICY")


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Optimizer over the trainable parameters of `model`, its rate set for step 0."""
    solver = cfg.SOLVER
    freeze_parameters(model, cfg.TRAIN.FREEZE)
    groups = parameter_groups(
        model,
        weight_decay=solver.WEIGHT_DECAY,
        weight_decay_norm=solver.WEIGHT_DECAY_GN,
        bias_double_lr=solver.BIAS_DOUBLE_LR,
        bias_weight_decay=solver.BIAS_WEIGHT_DECAY,
        backbone_factor=solver.BACKBONE_LR_FACTOR,
    )
    return make_optimizer(solver.TYPE, groups, lr=build_schedule(cfg)(0), momentum=solver.MOMENTUM)


def build_schedule(cfg: CfgNode) -> LearningRateSchedule:
    """Learning rate of each step."""
    solver = cfg.SOLVER
    return LearningRateSchedule(
        policy=solver.LR_POLICY,
        base_lr=solver.BASE_LR,
        max_iter=solver.MAX_ITER,
        gamma=solver.GAMMA,
        steps=tuple(solver.STEPS),
        lrs=tuple(solver.LRS),
        step_size=solver.STEP_SIZE,
        poly_power=solver.POLY_POWER,
        warm_up_iters=solver.WARM_UP_ITERS,
        warm_up_factor=solver.WARM_UP_FACTOR,
        warm_up_method=solver.WARM_UP_METHOD,
    )


def amp_dtype(cfg: CfgNode) -> torch.dtype | None:
    """Type of autocast, None when it is off."""
    return {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}[cfg.SOLVER.AMP]


def build_scaler(cfg: CfgNode) -> torch.amp.GradScaler | None:
    """The scaler of the gradients, which float16 needs; None otherwise."""
    return torch.amp.GradScaler(torch.device(cfg.DEVICE).type) if cfg.SOLVER.AMP == "fp16" else None


def batch_changes(
    cfg: CfgNode, *, batch_size: int, iter_size: int, num_devices: int, given: Collection[str]
) -> list[Change]:
    """What the options become for a batch of `batch_size` images on `num_devices` devices.

    Args:
        cfg: written for SOLVER.IMS_PER_UPDATE images, or NUM_GPUS x TRAIN.IMS_PER_BATCH.
        batch_size: images in one batch, over all devices.
        iter_size: batches in one update.
        num_devices: devices that compute.
        given: options whose value the command line gives; they aren't scaled.
    """
    original = cfg.SOLVER.IMS_PER_UPDATE or cfg.NUM_GPUS * cfg.TRAIN.IMS_PER_BATCH
    values = {f"SOLVER.{key}": value for key, value in cfg.SOLVER.items()}
    reason = f"batch of {batch_size} on {num_devices} device{'s' if num_devices > 1 else ''}"
    wanted = [("NUM_GPUS", cfg.NUM_GPUS, num_devices)]
    wanted += [("TRAIN.IMS_PER_BATCH", cfg.TRAIN.IMS_PER_BATCH, batch_size // num_devices)]
    accumulated = batch_size * iter_size if iter_size > 1 else 0
    wanted += [("SOLVER.IMS_PER_UPDATE", cfg.SOLVER.IMS_PER_UPDATE, accumulated)]
    changes = [Change(key, old, new, reason) for key, old, new in wanted if old != new]
    return changes + scale_schedule(
        values, original_batch=original, batch_size=batch_size, iter_size=iter_size, given=given
    )


def apply_changes(cfg: CfgNode, changes: Collection[Change]) -> CfgNode:
    """A frozen copy of `cfg` with the changes made."""
    copy = cfg.clone()
    for change in changes:
        *groups, name = change.key.split(".")
        node = copy
        for group in groups:
            node = node[group]
        node[name] = change.new
    return copy.freeze()
