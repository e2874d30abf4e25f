"""BatchNorm over processes against BatchNorm2d on the whole batch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from fpt.layers.sync_batch_norm import SyncBatchNorm2d

SHARES = (3, 1)


def layer(kind: type[nn.BatchNorm2d]) -> nn.BatchNorm2d:
    torch.manual_seed(1)
    made = kind(5)
    nn.init.uniform_(made.weight)
    nn.init.uniform_(made.bias)
    return made


def data() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    return 50 + 2 * torch.randn(4, 5, 3, 2), torch.randn(4, 5, 3, 2)


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    norm = layer(SyncBatchNorm2d)
    model = nn.parallel.DistributedDataParallel(norm)
    x, weights = (part.split(SHARES)[rank].clone() for part in data())
    y = model(x.requires_grad_())
    (y * weights).sum().backward()
    one_cell = norm(torch.full((1, 5, 1, 1), float(rank)))
    result = {"y": y.detach(), "grad": x.grad, "parameters": [p.grad for p in norm.parameters()], "one": one_cell}
    torch.save(result | {"state": norm.state_dict()}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()
    os._exit(0)  # the model still holds the group, whose threads can abort a Python that ends (pytorch PR 179291)


@pytest.mark.usefixtures("_importable_tests")
def test_two_processes_equal_one_with_the_whole_batch(tmp_path: Path) -> None:
    mp.spawn(work, args=(str(tmp_path),), nprocs=2)
    results = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    reference = layer(nn.BatchNorm2d)
    x, weights = data()
    y = reference(x.requires_grad_())
    (y * weights).sum().backward()
    close = {"rtol": 1e-3, "atol": 1e-4}
    torch.testing.assert_close(torch.cat([r["y"] for r in results]), y.detach(), **close)
    torch.testing.assert_close(torch.cat([r["grad"] for r in results]), x.grad, **close)
    for i, parameter in enumerate(reference.parameters()):  # DistributedDataParallel means over the processes
        torch.testing.assert_close(results[0]["parameters"][i] * 2, parameter.grad, **close)
    reference(torch.arange(2.0).view(2, 1, 1, 1).expand(2, 5, 1, 1))
    for result in results:
        torch.testing.assert_close(result["state"], reference.state_dict(), **close)
        assert torch.isfinite(result["one"]).all()


def test_alone_it_is_batch_norm() -> None:
    x, _ = data()
    ours, theirs = layer(SyncBatchNorm2d), layer(nn.BatchNorm2d)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))
