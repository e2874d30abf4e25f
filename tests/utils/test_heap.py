"""Freed memory is used again without page faults, and gaps are given back."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fpt.utils.heap import HeapGaps

MAPPED = """
import ctypes
ctypes.CDLL(None).mallopt(-3, 1 << 20)  # each tensor of a mebibyte is mapped afresh; glibc may choose so, or not
"""
FAULTS = """
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


def _run(program: str, **environment: str) -> tuple[bool, float]:
    """Whether memory is kept, and the number that a program prints."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "FPT_KEEP_MEMORY": "1", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    is_kept, number = done.stdout.split()
    return is_kept == "True", float(number)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="an allocator of Linux")
def test_tensors_take_the_memory_of_those_before() -> None:
    is_kept, faults = _run(FAULTS)
    if not is_kept:
        pytest.skip("another C library than glibc, or settings of its allocator in the environment")
    is_off, many = _run(MAPPED + FAULTS, FPT_KEEP_MEMORY="0")
    assert not is_off
    assert many > 100_000
    assert faults < many / 10


def test_settings_of_the_environment_stay() -> None:
    assert not _run(FAULTS, MALLOC_TRIM_THRESHOLD_="1000000")[0]


def _given_back(memory: list[float]) -> list[int]:
    """Items after which memory is given back."""
    seen: list[float] = []
    given: list[int] = []
    gaps = HeapGaps(lambda: seen[-1], lambda: given.append(len(seen) - 1))
    for value in memory:
        seen.append(value)
        gaps.after_item()
    return given


def test_gaps_are_given_back_when_memory_has_grown_by_a_quarter() -> None:
    assert _given_back([90, *[100] * 100]) == []
    assert _given_back([90, 100, *[124] * 100]) == []
    assert _given_back([90, 100, *[126] * 100])[0] == 20


def test_what_one_item_needs_after_giving_back_is_what_counts_then() -> None:
    needed = [90, 100, *[130] * 19, 120]  # the last one, after giving back, shows that 120 are needed
    assert _given_back([*needed, *[140] * 50]) == [20]
    assert _given_back([*needed, *[160] * 50])[1] == 40


GAPS = """
import torch
from fpt.utils.heap import HeapGaps, keep_freed_memory
from fpt.utils.memory import resident_mib
is_kept = keep_freed_memory()
gaps = HeapGaps()
for _ in range(2):
    gaps.after_item()
tensors = [torch.ones(1 << 18) for _ in range(600)]
kept = tensors[::2]
del tensors
before = resident_mib()
for _ in range(40):
    gaps.after_item()
print(is_kept, before - resident_mib())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="an allocator of Linux")
def test_free_memory_between_tensors_that_stay_goes_back_to_the_system() -> None:
    is_kept, given_mib = _run(GAPS)
    if not is_kept:
        pytest.skip("another C library than glibc, or settings of its allocator in the environment")
    assert given_mib > 200  # of 300
