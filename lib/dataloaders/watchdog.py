"""A loader that hangs or whose workers die ends the program in bounded time, and shows where each process was."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from multiprocessing.process import BaseProcess

from fpt.utils.errors import LoaderError

logger = logging.getLogger(__name__)

_STDERR = 2
_STACKS_SIGNAL = getattr(signal, "SIGUSR2", None)
_SECONDS_TO_ANSWER = 0.5
_SECONDS_TO_LEAVE = 10.0
_CAUSES = {
    "SIGKILL": "most likely memory ran out: use fewer workers (DATA_LOADER.NUM_THREADS, --nw) or smaller pictures",
    "SIGBUS": "most likely shared memory (/dev/shm) ran out, or a file was cut while it was read",
    "SIGSEGV": "a decoder crashed; tools/check_dataset.py --read_pictures crashes at the same picture",
}


def answer_with_stacks() -> None:
    """Make this process, a worker, write the stacks of its threads to standard error when the main process asks."""
    if _STACKS_SIGNAL is not None:
        faulthandler.register(_STACKS_SIGNAL, file=_STDERR, all_threads=True)


@contextlib.contextmanager
def watch_workers(workers: Sequence[BaseProcess], timeout: float = 0.0) -> Iterator[None]:
    """Context that is left with an error when a worker dies, or after `timeout` seconds (0 = never).

    The stacks of all processes are written to standard error then, and the workers are killed. Where that doesn't help
    either, or without workers, the process ends itself with status 1: there is no other way out of a call of the system
    that doesn't return. torch's own time limit doesn't hold while it fetches a batch from a worker that has stopped.

    Raises:
        LoaderError: instead of what a dead or killed worker makes torch raise; other errors pass.
    """
    alarm = _Alarm(workers, timeout)
    if timeout:
        alarm.start()
    try:
        yield
    except LoaderError:
        raise
    except Exception as error:
        if alarm.has_rung:
            raise LoaderError(_stalled(timeout)) from error
        dead = [worker for worker in workers if worker.exitcode]
        if not dead or not isinstance(error, (RuntimeError, OSError, EOFError)):
            raise
        _show_stacks(workers)
        _kill(workers)
        raise LoaderError("; ".join(_obituary(worker) for worker in dead)) from error
    finally:
        alarm.is_left.set()
    if alarm.has_rung:
        raise LoaderError(_stalled(timeout))


class _Alarm(threading.Thread):
    """Rings after `timeout` seconds unless the context is left before."""

    def __init__(self, workers: Sequence[BaseProcess], timeout: float) -> None:
        super().__init__(name="watchdog", daemon=True)
        self.workers = workers
        self.timeout = timeout
        self.is_left = threading.Event()
        self.has_rung = False

    def run(self) -> None:
        if self.is_left.wait(self.timeout):
            return
        self.has_rung = True
        _show_stacks(self.workers)
        for worker in self.workers:
            worker.kill()
        if not self.workers or not self.is_left.wait(_SECONDS_TO_LEAVE):
            logger.error("%s", _stalled(self.timeout))
            os._exit(1)


def _stalled(timeout: float) -> str:
    return (
        f"the loader has made no batch for {timeout:g} seconds (DATA_LOADER.TIMEOUT); the stacks on standard error "
        "show where it hangs: a disk that doesn't answer, or pictures that take so long"
    )


def _obituary(worker: BaseProcess) -> str:
    status = worker.exitcode or 0
    if status >= 0:
        return f"loader worker {worker.pid} ended with status {status}"
    name = {item.value: item.name for item in signal.Signals}.get(-status, f"signal {-status}")
    cause = f": {_CAUSES[name]}" if name in _CAUSES else ""
    return f"loader worker {worker.pid} was killed by {name}{cause}"


def _show_stacks(workers: Sequence[BaseProcess]) -> None:
    os.write(_STDERR, b"stacks of the main process:\n")
    faulthandler.dump_traceback(file=_STDERR, all_threads=True)
    for worker in workers:
        if _STACKS_SIGNAL is not None and worker.pid is not None and worker.is_alive():
            os.write(_STDERR, f"stacks of loader worker {worker.pid} (none if it is stopped):\n".encode())
            os.kill(worker.pid, _STACKS_SIGNAL)
            time.sleep(_SECONDS_TO_ANSWER)


def _kill(workers: Sequence[BaseProcess]) -> None:
    """Kill the workers; torch's handler of SIGCHLD, which would raise once more for each, is set aside meanwhile."""
    is_main_thread = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if is_main_thread else None
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join(_SECONDS_TO_ANSWER)
    if is_main_thread:
        signal.signal(signal.SIGCHLD, previous)
