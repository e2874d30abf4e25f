"""How the C library's allocator treats freed memory."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable

from fpt.utils.memory import resident_mib

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # of glibc's malloc.h
_SWITCH = "FPT_KEEP_MEMORY"
_VARIABLES = ("GLIBC_TUNABLES", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
_PAD_BYTES = 64 << 20
_GROWTH, _ITEMS_BETWEEN = 1.25, 20


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


class HeapGaps:
    """Gives freed memory back to the system where the heap has grown by gaps that nothing fits into.

    Kept memory (see ``keep_freed_memory``) grows beyond what any step needs when small objects that stay come to lie
    between the large tensors that go. What an image or a step needs is measured by the second one after the start and
    by the one after each giving back, which then finds a heap without gaps.

    Args:
        resident_mib: memory of the process now.
        give_back: returns the free pages of the heap; None = malloc_trim where the C library has it.
    """

    def __init__(
        self, resident_mib: Callable[[], float] = resident_mib, give_back: Callable[[], None] | None = None
    ) -> None:
        self._resident_mib = resident_mib
        self._give_back = give_back or _malloc_trim()
        self._needed_mib = 0.0
        self._since = -1  # items since memory was given back

    def after_item(self) -> None:
        """To be called after each image or step, when its tensors are free."""
        if self._give_back is None:
            return
        self._since += 1
        if self._since == 1:
            self._needed_mib = max(self._needed_mib, self._resident_mib())
        elif self._since >= _ITEMS_BETWEEN and self._resident_mib() > _GROWTH * self._needed_mib:
            self._give_back()
            self._since = 0


def _malloc_trim() -> Callable[[], None] | None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") else None
    return None if trim is None else lambda: trim(ctypes.c_size_t(0))
