"""The values of DEVICE on computers with and without GPUs."""

from __future__ import annotations

import pytest
import torch

from fpt.core.config import load_cfg
from fpt.run.adapt import resolve_config
from fpt.run.devices import describe_devices, own_devices, resolve_device
from fpt.solver.build import build_scaler
from fpt.utils.errors import UserError


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A computer with two GPUs of CUDA, as far as resolving goes; the list gets those that were chosen."""
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A computer without GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda", "DEVICE is cuda, but torch sees no GPU here; use --no_cuda"),
        ("cuda:1", "DEVICE is cuda:1, but torch sees no GPU here"),
        ("mps", "DEVICE is mps, but torch sees no Apple GPU here; use --no_cuda or --set DEVICE auto"),
    ],
)
def test_absent_devices_are_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve_config(load_cfg(None, ["DEVICE", name]))


@pytest.mark.usefixtures("no_gpu")
def test_auto_is_the_cpu_without_gpu() -> None:
    assert [resolve_device(name) for name in ("auto", "cpu")] == ["cpu", "cpu"]


def test_one_of_several_gpus(two_gpus: list[int]) -> None:
    cfg = resolve_config(load_cfg(None, ["DEVICE=cuda:1", "SOLVER.AMP=fp16"]))
    assert (cfg.DEVICE, two_gpus) == ("cuda:1", [1])
    assert own_devices(cfg) == [torch.device("cuda", 1)]
    assert describe_devices(cfg) == "cuda:1"
    assert build_scaler(cfg) is not None
    assert own_devices(resolve_config(load_cfg(None))) == [torch.device("cuda", 0), torch.device("cuda", 1)]
    with pytest.raises(UserError, match="DEVICE is cuda:2, but torch sees 2 GPUs here, cuda:0 to cuda:1"):
        resolve_device("cuda:2")


def test_one_gpu_for_several_processes_is_refused(two_gpus: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fpt.run.devices.is_distributed", lambda: True)
    monkeypatch.setattr("fpt.run.devices.world_size", lambda: 2)
    with pytest.raises(UserError, match="DEVICE is cuda:0, but each of 2 processes needs its own"):
        resolve_device("cuda:0")
    assert not two_gpus


def test_apple(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    cfg = resolve_config(load_cfg(None, ["DEVICE", "mps"]))
    assert own_devices(cfg) == [torch.device("mps")]
