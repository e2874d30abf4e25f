"""A signal before the first step: a message and 128 + the signal, at any moment, and no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

BEFORE_THE_FIRST_STEP = """\
import os, sys
import fpt.run.train
from fpt.cli import train

def stop(*args, **more):
    os.kill(os.getpid(), {number})

fpt.run.train.{function} = stop
sys.exit(train.main({arguments!r}))
"""


pytestmark = pytest.mark.usefixtures("heeded_signals")


def assert_stopped(status: int, output: str, number: signal.Signals) -> None:
    assert status == 128 + number
    assert output.strip().endswith(f"stopped by {number.name}")
    assert "Traceback" not in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_amid_the_imports(root: Path, number: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}  # says on standard error what has been imported
    command = [sys.executable, str(root / "tools" / "train_net_step.py"), "--cfg", "none.yaml"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if " torch." in line:  # modules below torch come before it: its import is running
                break
        process.send_signal(number)
        output = process.stderr.read()
    assert_stopped(process.returncode, output, number)


@pytest.mark.parametrize(
    ("function", "number"),
    [
        ("seed_everything", signal.SIGINT),
        ("build_train_loader", signal.SIGTERM),
        ("start_run_folder", signal.SIGUSR1),
    ],
)
def test_a_signal_before_the_first_step(tiny, function: str, number: signal.Signals) -> None:
    arguments = tiny.arguments("--output_dir", tiny.folder / "run")
    program = BEFORE_THE_FIRST_STEP.format(number=int(number), function=function, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert_stopped(done.returncode, done.stderr, number)


def test_a_signal_that_is_ignored_stays_so(root: Path) -> None:
    program = (
        "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from fpt.cli.signals import handling_signals, stop_at_once\n"
        "with handling_signals(stop_at_once): signal.raise_signal(signal.SIGHUP)\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
