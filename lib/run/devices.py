"""The devices that a command computes on: those of this process, or one in each of several processes."""

from __future__ import annotations

import logging

import torch
from torch import nn

from fpt.core.config_node import CfgNode
from fpt.parallel.data_parallel import DataParallel
from fpt.parallel.processes import distribute, use_own_gpu
from fpt.utils.distributed import is_distributed, world_size
from fpt.utils.errors import UserError

_LOGGER = logging.getLogger("fpt")


def resolve_device(name: str) -> str:
    """The device of this computer for a value of DEVICE; among several processes ``cuda`` means the GPU of each.

    Args:
        name: auto (a GPU of CUDA if there is one, else the CPU), cpu, cuda, cuda:N or mps.

    Raises:
        UserError: the device is not here, there are fewer GPUs than processes, or several processes ask for one.
    """
    kind, _, number = name.partition(":")
    advice = "use --no_cuda or --set DEVICE auto"
    if kind == "mps":
        if not torch.backends.mps.is_available():
            raise UserError(f"DEVICE is mps, but torch sees no Apple GPU here; {advice}")
        return name
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError(f"DEVICE is {name}, but torch sees no GPU here; {advice}")
    if kind == "cpu" or not torch.cuda.is_available():
        return "cpu"
    if number:
        count = torch.cuda.device_count()
        if int(number) >= count:
            raise UserError(f"DEVICE is {name}, but torch sees {count} GPUs here, cuda:0 to cuda:{count - 1}; {advice}")
        if is_distributed():
            raise UserError(f"DEVICE is {name}, but each of {world_size()} processes needs its own: --set DEVICE cuda")
        torch.cuda.set_device(int(number))
        return name
    use_own_gpu()
    return "cuda"


def own_devices(cfg: CfgNode) -> list[torch.device]:
    """The devices of this process: the CPU, its GPU, or every visible GPU where there is but one process."""
    if cfg.DEVICE != "cuda" or is_distributed():
        return [torch.device(cfg.DEVICE)]
    return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]


def count_devices(cfg: CfgNode) -> int:
    """Devices of all processes."""
    return len(own_devices(cfg)) * world_size()


def describe_devices(cfg: CfgNode) -> str:
    """The devices of all processes, as a message names them."""
    processes = f", one for each of {world_size()} processes" if world_size() > 1 else ""
    names = ", ".join(str(device) for device in own_devices(cfg))
    return f"{count_devices(cfg)} devices ({names}{processes})" if count_devices(cfg) > 1 else names


def parallelize(model: nn.Module, cfg: CfgNode) -> nn.Module:
    """The model as all devices run it together; the model itself where there is one. See ``fpt.parallel``."""
    devices = own_devices(cfg)
    if len(devices) > 1:
        _LOGGER.info("one process runs on %d devices; one process a device (torchrun) is faster", len(devices))
        return DataParallel(model, devices=devices)
    return distribute(model)
