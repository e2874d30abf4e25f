"""The training command, in whose process 1 something happens within the update of a step. Run by torchrun.

rank_with_trouble.py WHAT STEP [options of the training]        WHAT: none, kill, fail or stop (torchrun itself)

Where it fails, process 0 takes two seconds to write a checkpoint: longer than torchrun takes to end it.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

from fpt.checkpoint import checkpoint
from fpt.cli import train
from fpt.engine import train_step
from fpt.engine.interrupt import StopSignals


def main() -> int:
    """Train; in its first life, process 1 gets into trouble."""
    what, step, *arguments = sys.argv[1:]
    arrived = note_signals()
    if what == "fail":
        write_slowly()
    if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        calls, update = itertools.count(1), train_step.update_weights

        def update_and_act(state: Any) -> None:
            update(state)
            if next(calls) == int(step):
                act(what, arrived)

        train_step.update_weights = update_and_act
    return train.main(arguments)


def write_slowly() -> None:
    """As a large model on a shared disk does."""
    save = checkpoint._save

    def wait_and_save(content: Any, file: Any) -> None:
        time.sleep(2)
        save(content, file)

    checkpoint._save = wait_and_save


def note_signals() -> threading.Event:
    """Set when a signal has reached this process."""
    arrived, handle = threading.Event(), StopSignals._handle

    def handle_and_note(stop: StopSignals, number: int, frame: FrameType | None) -> None:
        handle(stop, number, frame)
        arrived.set()

    StopSignals._handle = handle_and_note
    return arrived


def act(what: str, arrived: threading.Event) -> None:
    """What happens."""
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "stop":
        os.kill(os.getppid(), signal.SIGTERM)
        assert arrived.wait(30)  # until torchrun has passed it on: steps may be faster
    elif what == "fail":
        raise RuntimeError("process 1 has had enough")


if __name__ == "__main__":
    sys.exit(main())
