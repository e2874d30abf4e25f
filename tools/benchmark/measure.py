"""Seconds and peak memory of one function, in this process."""

from __future__ import annotations

import ctypes
import gc
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

_MMAP_THRESHOLD = -3  # of glibc's malloc.h
_SHARE_OF_MEMORY = 0.9
_MIN_SECONDS = 2.0
_MAX_RUNS = 5


@dataclass(frozen=True)
class Cost:
    """Of one run.

    Attributes:
        seconds: the fastest run; None where memory did not suffice.
        peak_bytes: largest memory above what was held before the run.
    """

    seconds: float | None
    peak_bytes: int


def measure(function: Callable[[], object], device: torch.device) -> Cost:
    """Run `function` up to 5 times, for at least 2 seconds; the first run tells the memory.

    On a CPU memory is the growth of the resident set's peak; without enough of it, the cost has no seconds.
    """
    gc.collect()
    base = _reset_peak(device)
    seconds: list[float] = []
    peak = 0
    try:
        while len(seconds) < _MAX_RUNS and sum(seconds) < _MIN_SECONDS:
            start = time.perf_counter()
            function()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds.append(time.perf_counter() - start)
            peak = peak or _peak(device) - base
    except (MemoryError, RuntimeError) as error:
        if "memory" not in str(error) and not isinstance(error, MemoryError):
            raise
        return Cost(None, _peak(device) - base)
    return Cost(min(seconds), peak)


def limit_memory() -> None:
    """Let allocations beyond 90 % of the memory that is free now fail, rather than have the system kill processes."""
    status, available = _status("/proc/self/status"), _status("/proc/meminfo")
    if "VmSize" in status and "MemAvailable" in available:
        limit = status["VmSize"] + int(_SHARE_OF_MEMORY * available["MemAvailable"])
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def give_back_freed_memory() -> None:
    """Let glibc take each tensor of a mebibyte or more from the system, and give it back when it is freed.

    The peak is that of the tensors then; otherwise it holds the gaps between them too, which depend on the order of the
    allocations, and differ between two runs of one program by hundreds of mebibytes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 1 << 20)


def _reset_peak(device: torch.device) -> int:
    """Begin to note the peak anew; returns the memory that is held now, in bytes."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return _peak(device)
    return _status("/proc/self/status")["VmRSS"]


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = _status("/proc/self/status")
    return status["VmHWM"] if "VmHWM" in status else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _status(path: str) -> dict[str, int]:
    """Bytes by name, of a file in which the system tells sizes in kB; empty where there is none."""
    try:
        lines = Path(path).read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    pairs = [line.split(":", 1) for line in lines if line.endswith(" kB")]
    return {name: int(rest.split()[0]) * 1024 for name, rest in pairs}
