"""Processes that train one model together: started by torchrun, SLURM or Kubernetes, on one or several computers."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fpt.utils.distributed import is_distributed, local_rank, local_world_size
from fpt.utils.errors import UserError

TIMEOUT = datetime.timedelta(minutes=30)
"""Longer than any process is waited for: the main process evaluates a whole data set meanwhile."""


@contextmanager
def process_group() -> Iterator[None]:
    """Join the process group that the environment describes, and leave it at the end.

    Where there is but one process, or where the group has been joined already, nothing is done.

    torchrun sets RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT; any other launcher may.
    Tensors on the CPU and Python objects travel by gloo, tensors on GPUs by NCCL. A process that doesn't answer for
    TIMEOUT is taken for lost.

    Raises:
        UserError: the variables are incomplete, or the group is unreachable.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise UserError(f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but {', '.join(missing)} is not set; use torchrun")
    has_gpus = torch.cuda.is_available() and dist.is_nccl_available()
    try:
        _join("cpu:gloo,cuda:nccl" if has_gpus else "gloo")
    except (dist.DistError, TimeoutError) as error:
        address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise UserError(f"process {os.environ['RANK']} cannot reach the others by {address}: {error}") from error
    try:
        yield
    finally:
        dist.destroy_process_group()


def _join(backend: str) -> None:
    """Find the other processes by a store, in which every restart has its own keys.

    On a single machine torchrun keeps one store over all restarts; the addresses of processes that are gone are in it.
    On several the counts of restarts differ; TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 gives every restart a store there.
    """
    store, number, count = next(dist.rendezvous("env://", timeout=TIMEOUT))
    own = dist.PrefixStore(f"restart{0 if num_machines() > 1 else restart_count()}", store)
    dist.init_process_group(backend, store=own, rank=number, world_size=count, timeout=TIMEOUT)


def use_own_gpu() -> None:
    """Make ``cuda`` mean this process's GPU.

    Raises:
        UserError: this computer has more processes than GPUs.
    """
    if not is_distributed():
        return
    count = torch.cuda.device_count()
    if local_rank() >= count:
        raise UserError(f"{local_world_size()} processes need as many GPUs, but {count} are visible; or use --no_cuda")
    torch.cuda.set_device(local_rank())


def distribute(model: nn.Module) -> nn.Module:
    """The model as the processes train it together: its gradients become their mean; alone, the model itself.

    Weights and buffers are the main process's from here on, and so are the statistics of BatchNorm (SyncBN has those of
    all). Parameters may go without a gradient in a step, on some or on all processes; a process must have one at least.
    """
    if not is_distributed():
        return model
    return DistributedDataParallel(model, find_unused_parameters=True, gradient_as_bucket_view=True)


def num_machines() -> int:
    """Machines of this training, as torchrun counts them."""
    return int(os.environ.get("GROUP_WORLD_SIZE", "1"))


def restart_count() -> int:
    """How often torchrun has restarted this training on this machine, after a process was lost."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def max_restarts() -> int:
    """How often torchrun may restart this training."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0"))
