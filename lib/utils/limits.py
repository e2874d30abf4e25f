"""Limits that the system sets a process."""

from __future__ import annotations

import contextlib

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

ENOUGH_OPEN_FILES = 65536


def open_files_limit() -> int | None:
    """Files that the process may have open at a time (``ulimit -n``); None where there is no such limit."""
    return None if resource is None else resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def raise_open_files_limit() -> None:
    """Raise the limit of open files as far as the system allows without asking anyone."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, ENOUGH_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
