"""How the C library's allocator treats freed memory."""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # of glibc's malloc.h
_SWITCH = "FPT_KEEP_MEMORY"
_VARIABLES = ("GLIBC_TUNABLES", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
_PAD_BYTES = 64 << 20


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for the next tensors; without, each large one is mapped afresh, page by page.

    A training step on a CPU has thousands of page faults less then. The peak stays; it is not given back afterwards.

    Returns:
        Whether that is so now: not with another C library, nor where the environment says FPT_KEEP_MEMORY=0 or has
        settings of the allocator.
    """
    is_off = os.environ.get(_SWITCH) == "0" or any(name in os.environ for name in _VARIABLES)
    if is_off or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, _PAD_BYTES))
    return all([mallopt(option, value) == 1 for option, value in settings])
