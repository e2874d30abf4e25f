"""The fields of a checkpoint: types and ranges, so that a wrong one is found when it is read, not amid a training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from fpt.checkpoint.checkpoint import Checkpoint

_MAX_COUNT = 10**15


def find_fault(checkpoint: Checkpoint) -> str | None:
    """What is wrong with a field of a checkpoint, as "its <field> ..."; None where all are right."""
    fault = (
        _count(checkpoint.step, "step")
        or _count(checkpoint.images, "images")
        or _weights(checkpoint.model, "model")
        or _classes(checkpoint.classes)
        or _plain_fields(checkpoint)
        or _average(checkpoint.average, checkpoint.model)
        or _optimizer(checkpoint.optimizer)
        or _scaler(checkpoint.scaler)
        or _loop(checkpoint.loop)
    )
    return f"its {fault}" if fault else None


def _plain_fields(checkpoint: Checkpoint) -> str | None:
    if not isinstance(checkpoint.config, str):
        return f"config is {_shown(checkpoint.config)}, not text"
    if not isinstance(checkpoint.metrics, dict):
        return f"metrics is {_shown(checkpoint.metrics)}, not a dict"
    if checkpoint.best is not None and not _is_number(checkpoint.best):
        return f"best is {_shown(checkpoint.best)}, not a number"
    return None


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"a {type(value).__name__}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _count(value: Any, name: str) -> str | None:
    if type(value) is int and 0 <= value <= _MAX_COUNT:
        return None
    return f"{name} is {_shown(value)}, not a number from 0"


def _weights(values: Any, name: str) -> str | None:
    if not isinstance(values, dict) or not values:
        return f"{name} does not hold tensors by name"
    for key, value in values.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            return f"{name} does not hold tensors by name: {_shown(key)}"
        if value.is_complex():
            return f"{name} holds complex numbers: {key}"
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            return f"{name} holds NaN or infinite numbers: {key}"
    return None


def _classes(values: Any) -> str | None:
    if isinstance(values, list) and values and all(isinstance(name, str) for name in values):
        return None
    return f"classes is {_shown(values)}, not a list of names"


def _average(values: Any, model: dict[str, Tensor]) -> str | None:
    if values is None:
        return None
    fault = _weights(values, "average")
    if fault:
        return fault
    wrong = [name for name, value in values.items() if name not in model or model[name].shape != value.shape]
    return f"average does not fit its model: {wrong[0]}" if wrong else None


def _optimizer(state: Any) -> str | None:
    if state is None:
        return None
    if not isinstance(state, dict) or not isinstance(state.get("type", ""), str):
        return f"optimizer is {_shown(state)}, not the state of one"
    groups, values = state.get("param_groups"), state.get("state")
    if not isinstance(groups, list) or not all(isinstance(group, dict) and _is_group(group) for group in groups):
        return "optimizer has no groups of parameters"
    known = {index for group in groups for index in group["params"]}
    if not isinstance(values, dict) or not all(isinstance(value, dict) for value in values.values()):
        return "optimizer has no state by parameter"
    if not set(values) <= known:
        return "optimizer has a state for parameters that it does not list"
    for value in values.values():
        for name, item in value.items():
            if not isinstance(name, str) or not (item is None or _is_number(item) or _is_real(item)):
                return f"optimizer has a state {_shown(name)} of {_shown(item)}"
    return None


def _is_group(group: Mapping[str, Any]) -> bool:
    params = group.get("params")
    return isinstance(params, list) and all(type(index) is int for index in params)


def _is_real(value: Any) -> bool:
    return isinstance(value, Tensor) and not value.is_complex() and bool(torch.isfinite(value).all())


def _scaler(state: Any) -> str | None:
    if state is None:
        return None
    keys = ("scale", "growth_factor", "backoff_factor")
    if isinstance(state, dict) and (not state or all(_is_number(state.get(key)) and state[key] > 0 for key in keys)):
        return None
    return f"scaler is {_shown(state)}, not the state of one"


def _loop(state: Any) -> str | None:
    if not isinstance(state, dict):
        return f"loop is {_shown(state)}, not a dict"
    for name in ("skipped", "skipped_in_row", "evaluated"):
        if name in state and (fault := _count(state[name], f"loop's {name}")):
            return fault
    window = state.get("window", {})
    losses = window.get("losses", {}) if isinstance(window, dict) else None
    norms = window.get("norms", []) if isinstance(window, dict) else None
    if not isinstance(losses, dict) or not all(_are_numbers(values) for values in losses.values()):
        return "loop's window does not hold losses by name"
    return None if _are_numbers(norms) else "loop's window does not hold numbers"


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(_is_number(value) for value in values)
