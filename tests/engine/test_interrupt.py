"""The first signal is noted, the second stops at once, the old handlers come back."""

import os
import signal

import pytest

from fpt.engine.interrupt import StopSignals
from fpt.utils.errors import StoppedAtOnce


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGUSR1, 138)]
)
def test_signal_is_noted(number: int, status: int, heeded_signals: None) -> None:
    before = signal.getsignal(number)
    with StopSignals() as stop:
        assert (stop.received, stop.exit_status) == (None, 0)
        os.kill(os.getpid(), number)
        assert (stop.received, stop.exit_status) == (number, status)
    assert signal.getsignal(number) is before


def test_sighup_stays_ignored_under_nohup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.received is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_stops_at_once(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with StopSignals() as stop:
        os.kill(os.getpid(), number)
        now += 0.5
        os.kill(os.getpid(), number)  # a launcher repeats it
        now += 0.6
        os.kill(os.getpid(), signal.SIGUSR1)
        with pytest.raises(StoppedAtOnce) as caught:
            os.kill(os.getpid(), number)
    assert caught.value.number == number
    assert stop.received == number


def test_sigterm_is_never_urgent_under_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        now += 60
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.received == signal.SIGTERM
