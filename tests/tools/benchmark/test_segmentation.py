"""The script that measures semantic segmentation."""

from __future__ import annotations

import re

import pytest

from segmentation import main, slope


def test_a_slope_is_the_exponent() -> None:
    assert slope([1, 10, 100], [3, 300, 30_000]) == pytest.approx(2)


def test_memory_of_lgt_grows_with_the_pixels(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--sides", "513", "1025", "--phases", "forward"]) == 0
    found = re.search(r"slope of log\(peak\) on log\(pixels\): ([\d.]+)", capsys.readouterr().out)
    assert found is not None
    assert float(found[1]) <= 1.05
