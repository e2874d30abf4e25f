"""Trainings in processes that are killed. Run as a program with a json file; prints a line of json for each training.

The program forks before torch has started any thread, so that a training starts in a fraction of a second.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fpt.checkpoint import checkpoint
from fpt.checkpoint.store import checkpoints_in
from fpt.cli import train
from fpt.engine import train_step


def main() -> None:
    """Run the trainings of the file: ``{"arguments": [...], "trainings": [{"run": ..., "kill": None or see below}]}``.

    kill is ``{"seconds": t}`` after the start, or ``{"at": name, "call": n}``: in the n-th call of that function.
    A training that has ended before its moment starts anew, with half of it.
    """
    work = json.loads(Path(sys.argv[1]).read_text())
    for training in work["trainings"]:
        run, kill = Path(training["run"]), training["kill"]
        record = _run(run, kill, work)
        while kill is not None and "seconds" in kill and record["status"] == 0:
            shutil.rmtree(run)
            kill["seconds"] /= 2
            record = _run(run, kill, work)
        sys.stdout.write(json.dumps(record) + "\n")
        sys.stdout.flush()


def _run(run: Path, kill: dict[str, Any] | None, work: dict[str, Any]) -> dict[str, Any]:
    """One training in a child; what became of it."""
    resume = ["--resume"] if checkpoints_in(run / "ckpt") else []
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _train(run, kill, [*work["arguments"], "--output_dir", str(run), *resume, *work["options"]])
    _, status = os.waitpid(child, 0)
    return {
        "run": str(run),
        "status": os.waitstatus_to_exitcode(status),
        "resumed": bool(resume),
        "seconds": time.monotonic() - started,
        "half_written": bool(list(run.glob("ckpt/.*.tmp"))),
    }


def _train(run: Path, kill: dict[str, Any] | None, arguments: list[str]) -> None:
    """In the child: train, die at the given moment, leave the output in a file."""
    run.mkdir(parents=True, exist_ok=True)
    output = os.open(run / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if kill is not None and "seconds" in kill:
        timer = threading.Timer(kill["seconds"], _die)
        timer.daemon = True
        timer.start()
    elif kill is not None:
        module = train_step if hasattr(train_step, kill["at"]) else checkpoint
        setattr(module, kill["at"], _dying(getattr(module, kill["at"]), kill["call"]))
    status = 1
    try:
        status = train.main(arguments)
    finally:
        sys.stdout.flush()
        os._exit(status)


def _dying(function: Callable[..., Any], last: int) -> Callable[..., Any]:
    """`function` up to its call number `last`, in which the process dies; a writer dies half way."""
    calls = itertools.count(1)

    def call(*args: Any, **more: Any) -> Any:
        if next(calls) < last:
            return function(*args, **more)
        if function.__name__ == "_save":
            args[1].write(b"PK" * 5000)
            args[1].flush()
        _die()

    return call


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
