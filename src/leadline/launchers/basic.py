"""One run after the other, in this process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

from leadline.launchers.base import Ending, Outcome, Task
from leadline.launchers.execute import execute


class Basic:
    """Computes here; stays warm because the process does."""

    def __enter__(self) -> Basic:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is held."""

    def run(self, tasks: Iterable[Task], stop: threading.Event) -> Iterator[Outcome]:
        """Compute tasks in order; see `base.Launcher`."""
        for task in tasks:
            if stop.is_set():
                return
            with stoppable(stop):
                outcome = execute(task)
            if outcome.state is Ending.PREEMPTED:
                # Whoever sent SIGTERM means the sweep, not this one run of it.
                stop.set()
            yield outcome


@contextmanager
def stoppable(stop: threading.Event) -> Iterator[None]:
    """Turn `stop` into the SIGTERM that a run answers with a checkpoint, while this lasts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def heard(number: int, frame: FrameType | None) -> None:
        # Between two runs, where no run answers.
        stop.set()

    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            if stop.is_set():
                os.kill(os.getpid(), signal.SIGTERM)
                return

    previous = signal.signal(signal.SIGTERM, heard)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)
