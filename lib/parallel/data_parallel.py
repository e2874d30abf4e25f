"""One batch on several devices of one process."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from fpt.parallel.replicas import make_replicas


class DataParallel(nn.Module):
    """Runs replicas of a module on parts of its inputs, each on its own device, and gathers what they return.

    Inputs are sequences with one entry an image (a list of images, a list of targets, ...), given by position or by
    keyword. Every device gets consecutive entries, as equal in number as can be; as images come unpadded and the
    module pads, each device has a batch of its own padded size. With fewer images than devices the last devices rest.

    Outputs are gathered on the first device: dictionaries of scalars (losses) by their mean, weighted by the numbers of
    images, so that a loss that is a mean over images is the loss of the whole batch; lists with one entry an image
    (detections) one after the other. Gradients arrive at the parameters of the wrapped module, through the copies.

    It serves a single process that sees several devices; processes (see ``processes.py``) are faster. A device may be
    named more than once, which is how it runs on a CPU. BatchNorm sees the images of its device alone, and keeps the
    statistics of the first one.

    Args:
        module: lies on the first device.
        devices: one replica each.
        cpu_keywords: names of keyword inputs whose tensors stay where they are.
    """

    def __init__(
        self, module: nn.Module, *, devices: Sequence[torch.device | str], cpu_keywords: Collection[str] = ()
    ) -> None:
        super().__init__()
        if not devices:
            raise ValueError("devices is empty; name one or more")
        self.module = module
        self.devices = [torch.device(device) for device in devices]
        self.cpu_keywords = frozenset(cpu_keywords)

    def forward(self, *inputs: Sequence[Any] | None, **keywords: Sequence[Any] | None) -> Any:
        """Inputs as the module takes them, None for one that is left out.

        Raises:
            ValueError: the inputs have different lengths, or there is none.
        """
        sizes = _part_sizes([*inputs, *keywords.values()], len(self.devices))
        devices = self.devices[: len(sizes)]
        replicas = make_replicas(self.module, devices)
        calls = []
        start = 0
        for replica, device, size in zip(replicas, devices, sizes, strict=True):
            part = slice(start, start + size)
            start += size
            own = [_to_device(_take(value, part), device) for value in inputs]
            named = {
                name: _take(value, part) if name in self.cpu_keywords else _to_device(_take(value, part), device)
                for name, value in keywords.items()
            }
            calls.append(_Call(replica, own, named, device))
        return _gather(_run_side_by_side(calls), sizes, self.devices[0])


class _Call:
    """A replica and its inputs, to be run in a thread of its own with the modes of the thread that made it."""

    def __init__(
        self, replica: nn.Module, inputs: Sequence[Any], keywords: Mapping[str, Any], device: torch.device
    ) -> None:
        self.replica = replica
        self.inputs = inputs
        self.keywords = keywords
        self.device = device
        self.is_inference = torch.is_inference_mode_enabled()
        self.has_grad = torch.is_grad_enabled()
        self.has_autocast = torch.is_autocast_enabled(device.type)
        self.autocast_dtype = torch.get_autocast_dtype(device.type)

    def __call__(self) -> Any:
        on_device = torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()
        with (
            on_device,
            torch.inference_mode(self.is_inference),
            torch.set_grad_enabled(self.has_grad),
            torch.autocast(self.device.type, dtype=self.autocast_dtype, enabled=self.has_autocast),
        ):
            return self.replica(*self.inputs, **self.keywords)


def _run_side_by_side(calls: Sequence[_Call]) -> list[Any]:
    """Results of all calls; the error of the first that failed is raised as it is."""
    if len(calls) == 1:
        return [calls[0]()]
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def _part_sizes(inputs: Sequence[Sequence[Any] | None], num_devices: int) -> list[int]:
    lengths = {len(value) for value in inputs if value is not None}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"inputs have the lengths {sorted(lengths)}; all need one length, the number of images")
    total = lengths.pop()
    num_parts = min(num_devices, total)
    return [total * (i + 1) // num_parts - total * i // num_parts for i in range(num_parts)]


def _take(value: Sequence[Any] | None, part: slice) -> Sequence[Any] | None:
    return None if value is None else value[part]


def _to_device(value: Any, device: torch.device) -> Any:
    """A copy of lists, tuples and dictionaries with their tensors on the device."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {key: _to_device(item, device) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_to_device(item, device) for item in value)
    return value


def _gather(outputs: Sequence[Any], sizes: Sequence[int], device: torch.device) -> Any:
    first = outputs[0]
    if isinstance(first, Mapping):
        return {name: _weighted_mean([output[name] for output in outputs], sizes, device) for name in first}
    return [_to_device(item, device) for output in outputs for item in output]


def _weighted_mean(values: Sequence[Tensor], sizes: Sequence[int], device: torch.device) -> Tensor:
    stacked = torch.stack([value.to(device) for value in values])
    weights = torch.tensor([size / sum(sizes) for size in sizes], dtype=stacked.dtype).to(device)
    return (stacked * weights).sum()
