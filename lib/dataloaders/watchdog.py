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
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from fpt.utils.errors import LoaderError

logger = logging.getLogger(__name__)

_STDERR = 2
_SECONDS_TO_ANSWER = 0.5
_SECONDS_TO_LEAVE = 2.0
SECONDS_BETWEEN_LOOKS = 0.5
_CAUSES = {
    "SIGKILL": "most likely memory ran out: use fewer workers (DATA_LOADER.NUM_THREADS, --nw) or smaller images",
    "SIGBUS": "most likely shared memory (/dev/shm) ran out (docker: --shm-size 8g; or --nw 0), or a file was cut "
    "while it was read",
    "SIGSEGV": "a decoder crashed; fpt-check-data --read_images crashes at the same image",
}


def answer_with_stacks() -> None:
    """Make this process, a worker, write the stacks of its threads to standard error when the main process asks."""
    faulthandler.register(signal.SIGUSR2, file=_STDERR, all_threads=True)


@contextlib.contextmanager
def watch_workers(workers: Sequence[BaseProcess], timeout: float = 0.0) -> Iterator[None]:
    """Context of waiting for a batch: it is left with an error when a worker dies or after `timeout` seconds.

    The stacks of all processes are written to standard error then, and the workers are killed. Where the wait goes on
    even so, or without workers, the process ends itself with status 1: there is no other way out of a call of the
    system that doesn't return. torch alone waits for ever when a worker stops amid a batch.

    Args:
        workers: the processes that make batches.
        timeout: seconds; 0 = any time, and only torch looks for dead workers.

    Raises:
        LoaderError: instead of what a dead worker makes torch raise; other errors pass.
    """
    alarm = _Alarm(workers, timeout)
    if timeout:
        alarm.start()
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:
        alarm.is_left.set()
        reason = alarm.reason or _describe_deaths(workers)
        if not reason:
            raise
        if not alarm.reason:
            _show_stacks(workers)
        _kill(workers)
        raise LoaderError(reason) from error
    finally:
        alarm.is_left.set()
    if alarm.reason:
        raise LoaderError(alarm.reason)


class _Alarm(threading.Thread):
    """Rings after `timeout` seconds, or when a worker has died and torch hasn't noticed; `reason` says why it did."""

    def __init__(self, workers: Sequence[BaseProcess], timeout: float) -> None:
        super().__init__(name="watchdog", daemon=True)
        self.workers = workers
        self.timeout = timeout
        self.is_left = threading.Event()
        self.reason = ""

    def run(self) -> None:
        end = time.monotonic() + self.timeout
        while (remaining := end - time.monotonic()) > 0 and not self._has_death():
            if self.is_left.wait(min(remaining, SECONDS_BETWEEN_LOOKS)):
                return
        if remaining > 0 and self.is_left.wait(_SECONDS_TO_LEAVE):
            return
        self.reason = _describe_deaths(self.workers) if remaining > 0 else _stalled(self.timeout)
        _show_stacks(self.workers)
        for worker in self.workers:
            worker.kill()
        if not self.workers or not self.is_left.wait(_SECONDS_TO_LEAVE):
            logger.error("%s", self.reason)
            os._exit(1)

    def _has_death(self) -> bool:
        """Whether a worker has died; unlike ``exitcode`` it may be asked beside the main thread."""
        return bool(wait([worker.sentinel for worker in self.workers], timeout=0))


def _stalled(timeout: float) -> str:
    return (
        f"the loader has made no batch for {timeout:g} seconds (DATA_LOADER.TIMEOUT); the stacks on standard error "
        "show where it hangs: a disk that doesn't answer, or images that take so long"
    )


def _describe_deaths(workers: Sequence[BaseProcess]) -> str:
    """How the workers that have died did; empty while all live."""
    return "; ".join(_describe_death(worker.pid, worker.exitcode) for worker in workers if worker.exitcode is not None)


def _describe_death(process_id: int | None, status: int) -> str:
    if status >= 0:
        return f"loader worker {process_id} ended with status {status}"
    name = {item.value: item.name for item in signal.Signals}.get(-status, f"signal {-status}")
    cause = f": {_CAUSES[name]}" if name in _CAUSES else ""
    return f"loader worker {process_id} was killed by {name}{cause}"


def _show_stacks(workers: Sequence[BaseProcess]) -> None:
    os.write(_STDERR, b"stacks of the main process:\n")
    faulthandler.dump_traceback(file=_STDERR, all_threads=True)
    for worker in workers:
        if worker.pid is None:
            continue
        os.write(_STDERR, f"stacks of loader worker {worker.pid} (none if it is stopped or dead):\n".encode())
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGUSR2)
            time.sleep(_SECONDS_TO_ANSWER)


def _kill(workers: Sequence[BaseProcess]) -> None:
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join(_SECONDS_TO_ANSWER)
