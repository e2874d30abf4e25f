"""The training command, in whose process 1 something happens within the update of a step. Run by torchrun.

rank_with_trouble.py WHAT STEP [options of the training]        WHAT: none, kill, fail or stop (torchrun itself)
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from typing import Any

from fpt.cli import train
from fpt.engine import train_loop


def main() -> int:
    """Train; in its first life, process 1 gets into trouble."""
    what, step, *arguments = sys.argv[1:]
    if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        calls, update = itertools.count(1), train_loop.update_weights

        def update_and_act(state: Any) -> None:
            update(state)
            if next(calls) == int(step):
                act(what)

        train_loop.update_weights = update_and_act
    return train.main(arguments)


def act(what: str) -> None:
    """What happens."""
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "stop":
        os.kill(os.getppid(), signal.SIGTERM)
    elif what == "fail":
        raise RuntimeError("process 1 has had enough")


if __name__ == "__main__":
    sys.exit(main())
