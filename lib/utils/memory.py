"""How much memory the process holds."""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


def memory_mib(device: torch.device) -> float:
    """Memory in MiB: the largest allocation so far on a CUDA device, else the resident set of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resident_mib()


def resident_mib() -> float:
    """Resident set of this process in MiB; where the system does not tell it, the largest one so far."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


@contextmanager
def frozen_objects() -> Iterator[None]:
    """Within the block the garbage collector leaves alone what exists at its beginning.

    A full collection writes into every object. Of the pages that loader workers share with the main process, that would
    give each process a copy of its own: some 80 MiB, at any time.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
