"""What tests of the command lines share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fpt.cli import check_data


@pytest.fixture
def check_dataset(capsys: pytest.CaptureFixture[str]) -> Callable:
    """Runs fpt-check-data on a folder of this kind: ``(tiny) -> (exit status, what it prints)``."""

    def check(tiny: Any) -> tuple[int, str]:
        capsys.readouterr()
        status = check_data.main(tiny.arguments("--read_images"))
        shown = capsys.readouterr()
        return status, shown.out + shown.err

    return check
