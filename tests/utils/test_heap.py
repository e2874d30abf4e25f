"""Freed memory is used again without page faults."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from fpt.utils.heap import keep_freed_memory
is_kept = keep_freed_memory()
held = [torch.ones(1 << 20) for _ in range(10)]
def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(40):
        [torch.ones(1 << 20) for _ in range(4)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
pages()
print(is_kept, pages())
"""


def _run(**environment: str) -> tuple[bool, int]:
    """Whether memory is kept, and page faults of 40 x 4 tensors of 4 MiB."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "FPT_KEEP_MEMORY": "1", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    is_kept, faults = done.stdout.split()
    return is_kept == "True", int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="an allocator of Linux")
def test_tensors_take_the_memory_of_those_before() -> None:
    is_kept, faults = _run()
    if not is_kept:
        pytest.skip("another C library than glibc, or settings of its allocator in the environment")
    is_off, many = _run(FPT_KEEP_MEMORY="0")
    assert not is_off
    assert faults < max(100, many / 10)


def test_settings_of_the_environment_stay() -> None:
    assert not _run(MALLOC_TRIM_THRESHOLD_="1000000")[0]
