"""What ``import fpt`` offers, and what it costs."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import fpt


def test_each_name_is_found_where_it_is_defined() -> None:
    assert set(fpt.__all__) == {"__version__", *fpt._MODULE_OF}
    for name, module in fpt._MODULE_OF.items():
        assert getattr(fpt, name) is getattr(importlib.import_module(module), name)
    assert dir(fpt) == sorted(fpt.__all__)


def test_an_unknown_name_is_an_attribute_error_that_lists_the_names() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'Predicter'; it offers .*build_model"):
        _ = fpt.Predicter


def test_the_import_is_fast_and_loads_neither_torch_nor_numpy() -> None:
    program = (
        "import sys, time; start = time.perf_counter(); import fpt; seconds = time.perf_counter() - start\n"
        "print(seconds, sorted({'torch', 'numpy', 'cv2', 'yaml'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    seconds, _, loaded = shown.strip().partition(" ")
    assert float(seconds) < 0.2
    assert loaded == "[]"
