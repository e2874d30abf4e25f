"""Optimizers with Detectron's parameter groups: weights, biases, parameters of normalisation layers."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import nn

from fpt.utils.errors import UserError
from fpt.utils.parts import find_part

_BACKBONE = "backbone "
_NORMS = (nn.GroupNorm, nn.LayerNorm, nn.modules.batchnorm._NormBase)


def freeze_parameters(model: nn.Module, patterns: Sequence[str]) -> None:
    """Let no parameter be trained whose name fits one of `patterns` (``backbone.*``: * is any text).

    Raises:
        UserError: no name fits a pattern.
    """
    names = dict(model.named_parameters())
    for pattern in patterns:
        chosen = fnmatch.filter(names, pattern)
        if not chosen:
            parts = ", ".join(f"{part}.*" for part in dict.fromkeys(name.split(".")[0] for name in names))
            raise UserError(f"TRAIN.FREEZE: no parameter has a name like {pattern!r}; there are {parts}")
        for name in chosen:
            names[name].requires_grad_(False)


def parameter_groups(
    model: nn.Module,
    *,
    weight_decay: float,
    weight_decay_norm: float,
    bias_double_lr: bool,
    bias_weight_decay: bool,
    backbone_factor: float = 1.0,
) -> list[dict[str, Any]]:
    """Trainable parameters in three groups, and where the backbone has a factor of its own in three more for it.

    Frozen parameters are left out, shared ones appear once. Each group has `params`, `weight_decay`, `lr_factor` (times
    the schedule's rate) and `name`. The biases of normalisation layers belong to the group `norm`; empty groups are
    dropped.
    """
    kinds = ("weight", "bias", "norm")
    sorted_params: dict[str, list[nn.Parameter]] = {f"{part}{kind}": [] for part in ("", _BACKBONE) for kind in kinds}
    backbone = getattr(model, "backbone", None) if backbone_factor != 1 else None
    of_backbone = set() if backbone is None else set(backbone.parameters())
    seen: set[nn.Parameter] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:
                continue
            seen.add(parameter)
            kind = "norm" if isinstance(module, _NORMS) else "bias" if name.endswith("bias") else "weight"
            sorted_params[f"{_BACKBONE}{kind}" if parameter in of_backbone else kind].append(parameter)
    decays = {"weight": weight_decay, "bias": weight_decay if bias_weight_decay else 0.0, "norm": weight_decay_norm}
    factors = {"weight": 1.0, "bias": 2.0 if bias_double_lr else 1.0, "norm": 1.0}
    groups = []
    for name, params in sorted_params.items():
        kind, factor = name.removeprefix(_BACKBONE), backbone_factor if name.startswith(_BACKBONE) else 1.0
        if params:
            lr_factor = factors[kind] * factor
            groups.append({"params": params, "weight_decay": decays[kind], "lr_factor": lr_factor, "name": name})
    return groups


class OptimizerFactory(Protocol):
    """Makes an optimizer over groups as `parameter_groups` returns them; they hold their own `weight_decay`."""

    def __call__(self, groups: list[dict[str, Any]], *, lr: float, momentum: float) -> torch.optim.Optimizer:
        """The optimizer."""


def _make_sgd(groups: list[dict[str, Any]], *, lr: float, momentum: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, fused=True)


def _make_adam(groups: list[dict[str, Any]], *, lr: float, momentum: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, lr=lr, betas=(momentum, 0.999), fused=True)


def _make_adamw(groups: list[dict[str, Any]], *, lr: float, momentum: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=lr, betas=(momentum, 0.999), fused=True)


OPTIMIZERS: dict[str, OptimizerFactory] = {"SGD": _make_sgd, "Adam": _make_adam, "AdamW": _make_adamw}


def make_optimizer(kind: str, groups: list[dict[str, Any]], *, lr: float, momentum: float) -> torch.optim.Optimizer:
    """The optimizer `kind` over `groups`.

    Args:
        kind: name in OPTIMIZERS.
        groups: as `parameter_groups` returns them.
        lr: rate of the first step.
        momentum: of SGD; beta1 of Adam and AdamW.

    Raises:
        UserError: the name is unknown, or there is no parameter to train.
    """
    make = find_part(OPTIMIZERS, kind, option="SOLVER.TYPE")
    if not groups:
        raise UserError("nothing to train: every parameter is frozen (TRAIN.FREEZE_CONV_BODY, RESNETS.FREEZE_AT)")
    optimizer = make(groups, lr=lr, momentum=momentum)
    set_learning_rate(optimizer, lr)
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give each group `lr` times its `lr_factor`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_factor", 1.0)
