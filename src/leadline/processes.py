"""SIGTERM, which a scheduler sends before it takes the machine away: stop at once, but tidily."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# sysexits.h calls it EX_TEMPFAIL; SLURM's --requeue scripts and most schedulers can test for it.
REQUEUE = 75


class Preempted(BaseException):
    """The machine is wanted back; like KeyboardInterrupt, it is nobody's mistake."""


class Notice:
    """Whether the machine is wanted back, and whether somebody will look in time."""

    def __init__(self) -> None:
        self.requested = self.deferred = False

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """Let the work in hand come to a good place; it must look at `requested` often."""
        self.deferred = True
        try:
            yield
        finally:
            self.deferred = False

    def answer(self, number: int, frame: FrameType | None) -> None:
        """Take note of a signal, and stop unless somebody will look."""
        self.requested = True
        if not self.deferred:
            raise Preempted


@contextmanager
def heeded() -> Iterator[Notice]:
    """Answer SIGTERM with Preempted for as long as this lasts (main thread only)."""
    notice = Notice()
    if threading.current_thread() is not threading.main_thread():
        yield notice
        return
    previous = signal.signal(signal.SIGTERM, notice.answer)
    try:
        yield notice
    finally:
        signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)
