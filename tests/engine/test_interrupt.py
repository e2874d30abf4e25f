"""The first signal is noted, the second interrupts, the old handlers come back."""

import os
import signal

import pytest

from fpt.engine.interrupt import StopSignals


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_is_noted(number: int, status: int) -> None:
    before = signal.getsignal(number)
    with StopSignals() as stop:
        assert (stop.received, stop.exit_status) == (None, 0)
        os.kill(os.getpid(), number)
        assert (stop.received, stop.exit_status) == (number, status)
    assert signal.getsignal(number) is before


def test_second_signal_interrupts() -> None:
    with StopSignals():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
