"""SIGTERM, which a scheduler sends before it takes the machine away: stop at once, but tidily."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], object]

# sysexits.h calls it EX_TEMPFAIL; SLURM's --requeue scripts and most schedulers can test for it.


class Preempted(BaseException):
    """SIGTERM ended the work; like KeyboardInterrupt, it is no error."""


class StopRequest:
    """SIGTERM arrived: `requested`, which the training loop checks after each step."""

    def __init__(self) -> None:
        self.requested = self.deferred = False

    @contextmanager
    def finish_step_first(self) -> Iterator[None]:
        """Let the current step finish first: SIGTERM only sets `requested`, to be checked often."""
        self.deferred = True
        try:
            yield
        finally:
            self.deferred = False

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Note the signal; raise Preempted unless a step is to be finished first."""
        self.requested = True
        if not self.deferred:
            raise Preempted


@contextmanager
def signal_handlers(
    *numbers: int, handler: Callable[[int, FrameType | None], object] | None = None
) -> Iterator[None]:
    """Handle these signals inside the block, and put the previous handlers back after it.

    Without a handler the block, a library perhaps, sets its own. Outside the main thread, where
    Python lets nobody set a handler, nothing happens.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        if handler is not None:
            for number in numbers:
                signal.signal(number, handler)
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous or signal.SIG_DFL)


@contextmanager
def sigterm_as_stop() -> Iterator[StopRequest]:
    """Answer SIGTERM with Preempted for as long as this lasts (main thread only)."""
    request = StopRequest()
    with signal_handlers(signal.SIGTERM, handler=request.on_signal):
        yield request


SHARE = "LEADLINE_CORES"


def available() -> int:
    """Count the cores for this process: its share, if a launcher gave it one."""
    share = os.environ.get(SHARE, "")
    return int(share) if share.isdigit() and int(share) > 0 else of_machine()


def of_machine() -> int:
    """Count the cores that the system lets this process use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def one_thread_of_blas() -> Iterator[None]:
    """Let the BLAS of numpy and scipy use one thread, while this lasts.

    Eigenvectors and singular vectors differ in their last bits with the number of threads; a run
    must not depend on how many cores its machine has. torch has a BLAS and threads of its own.
    """
    # scipy has a BLAS of its own, which can only be told once it is loaded.
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield


def share_of(threads: int) -> dict[str, str]:
    """Give the environment in which a new process uses so many threads, libraries included."""
    libraries = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {name: str(threads) for name in (SHARE, *libraries)}
