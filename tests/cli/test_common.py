"""What every command line takes."""

from __future__ import annotations

import pytest

import fpt
from fpt.cli import attention, check_data, infer, shapes, test, train


@pytest.mark.parametrize("command", [train, test, infer, attention, check_data, shapes])
def test_version(command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"fpt {fpt.__version__}\n"


def test_unknown_parts_are_refused_by_the_check_of_data_too(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--cfg", str(tiny.cfg), "--set", "MODEL.CONV_BODY=FPN.ResNet51_conv5_body"]
    assert check_data.main(arguments) == 2
    assert "its backbone is 'ResNet51_conv5_body'" in capsys.readouterr().err


def test_pairs_of_both_forms_reach_the_run(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--bs", "1", "--no_save", "--output_dir", tiny.folder / "run")
    pairs = ("SOLVER.MAX_ITER=1", "SOLVER.BASE_LR", "0.002", "TRAIN.USE_FLIPPED=no", "SOLVER.WARM_UP_ITERS=0")
    assert train.main(tiny.arguments(*more, "--set", *pairs)) == 0
    (written,) = [path.read_text() for path in (tiny.folder / "run").glob("*.yaml")]
    assert "MAX_ITER: 1\n" in written  # as given: not scaled with the batch
    assert "BASE_LR: 0.002" in written
