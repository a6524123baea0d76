"""One run after the other, in this process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from leadline.processes import signals_answered
from leadline.studies.launchers.base import Launcher, QueuedRun, TaskResult, TaskState
from leadline.studies.launchers.execute import execute


class Basic(Launcher):
    """Computes here; stays warm because the process does."""

    def run(self, tasks: Iterable[QueuedRun], stop: threading.Event) -> Iterator[TaskResult]:
        """Compute tasks in order; see `base.Launcher`."""
        for task in tasks:
            if stop.is_set():
                return
            with stoppable(stop) as signals:
                outcome = execute(task)
            if signals.came or (outcome.state is TaskState.PREEMPTED and not signals.sent):
                # Whoever sent SIGTERM means the sweep, not this one run of it.
                stop.set()
                pass_on()
            yield outcome


class Signals:
    """Whether SIGTERM came where no run answered it, and whether it was sent from here."""

    came = sent = False


@contextmanager
def stoppable(stop: threading.Event) -> Iterator[Signals]:
    """Turn `stop` into the SIGTERM that a run answers with a checkpoint, while this lasts."""
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    over = threading.Event()

    def heard(number: int, frame: FrameType | None) -> None:
        # Before the run or after it.
        signals.came = not signals.sent

    def watch() -> None:
        while not over.wait(0.1):
            if stop.is_set():
                signals.sent = True
                os.kill(os.getpid(), signal.SIGTERM)
                return

    with signals_answered({signal.SIGTERM: heard}):
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield signals
        finally:
            over.set()
            watcher.join()


def pass_on() -> None:
    """Let the sweeper answer SIGTERM too, if it does: its exit code tells the scheduler."""
    handler = signal.getsignal(signal.SIGTERM)
    if callable(handler):
        handler(signal.SIGTERM, None)
