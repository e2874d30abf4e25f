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
for _ in range(3):
    torch.ones(1 << 22)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(1 << 22)
print(is_kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _run(**environment: str) -> tuple[bool, int]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    is_kept, faults = done.stdout.split()
    return is_kept == "True", int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="an allocator of Linux")
def test_large_tensors_take_the_memory_of_those_before() -> None:
    is_kept, faults = _run()
    if not is_kept:
        pytest.skip("another C library than glibc, or settings of its allocator in the environment")
    assert faults < 100  # 20 x 16 MiB are 81,920 pages of 4 KiB, or 160 huge ones


def test_settings_of_the_environment_stay() -> None:
    assert not _run(MALLOC_TRIM_THRESHOLD_="1000000")[0]
