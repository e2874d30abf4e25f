"""Copies of a module on other devices that give their gradients to the original."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def make_replicas(module: nn.Module, devices: Sequence[torch.device]) -> list[nn.Module]:
    """The module itself for the first device, where it must lie, and a replica for each of the others.

    A replica's parameters are differentiable copies, so that gradients add up in the module's own; its buffers are
    copies that are thrown away with it. It lives for one forward.
    """
    return [module, *(_replicate(module, device) for device in devices[1:])]


def _replicate(module: nn.Module, device: torch.device) -> nn.Module:
    parameters: dict[Tensor, Tensor] = {}  # a parameter that two modules share is copied once
    return _copy_tree(module, device, parameters, {})


def _copy_tree(
    module: nn.Module, device: torch.device, parameters: dict[Tensor, Tensor], modules: dict[nn.Module, nn.Module]
) -> nn.Module:
    if module in modules:
        return modules[module]
    replica = modules[module] = module._replicate_for_data_parallel()  # shallow
    for name, parameter in module._parameters.items():
        if parameter is not None and parameter not in parameters:
            parameters[parameter] = parameter.to(device, non_blocking=True, copy=True)
        # by hand: a copy is no leaf, and __setattr__ takes leaves alone
        replica._parameters[name] = None if parameter is None else parameters[parameter]
    for name, buffer in module._buffers.items():
        replica._buffers[name] = None if buffer is None else buffer.to(device, copy=True)
    for name, child in module._modules.items():
        replica._modules[name] = None if child is None else _copy_tree(child, device, parameters, modules)
    return replica
