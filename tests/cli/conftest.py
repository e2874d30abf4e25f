"""What tests of the command lines share."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def check_dataset(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable:
    """Runs tools/check_dataset.py on a folder of this kind: ``(tiny) -> (exit status, what it prints)``."""
    spec = importlib.util.spec_from_file_location("check_dataset", root / "tools" / "check_dataset.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def check(tiny: Any) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["check_dataset.py", *tiny.arguments("--read_images")])
        capsys.readouterr()
        status = tool.main()
        shown = capsys.readouterr()
        return status, shown.out + shown.err

    return check
