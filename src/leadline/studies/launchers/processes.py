"""Warm processes on this machine: `hydra/launcher=local`.

A pool of joblib or of concurrent.futures is broken as a whole when one of its processes is
killed. Here that costs one task, and the process is replaced.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import IO

from leadline.config import LocalLauncher
from leadline.studies.launchers.base import (
    Launcher,
    QueuedRun,
    TaskResult,
    TaskState,
    read_outcome,
    task_line,
)
from leadline.studies.launchers.execute import lost
from leadline.studies.launchers.places import choose_places, environment, places_of

LAST_WORDS = 2000


class Worker:
    """A process that does one task at a time; starting it costs a second, a task nothing."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.task: QueuedRun | None = None
        # A worker's progress is nobody's; its last words are kept for when it dies.
        self._said = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "leadline.studies.launchers.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env={**os.environ, **environment},
            bufsize=0,
            # Out of the terminal's group: Ctrl-C is for the sweeper.
            process_group=0,
        )

    @property
    def answers(self) -> IO[bytes]:
        """Give what can be waited on for an outcome."""
        assert self.process.stdout is not None
        return self.process.stdout

    def give(self, task: QueuedRun) -> None:
        """Hand over a task; if the worker is dead, `collect` will say so."""
        assert self.task is None and self.process.stdin is not None
        self.task = task
        self._said.seek(0, os.SEEK_END)
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(task_line(task))

    def collect(self) -> TaskResult:
        """Wait for the outcome of the task in hand."""
        assert self.task is not None
        task, self.task = self.task, None
        line = self.answers.readline()
        if line.endswith(b"\n"):
            return read_outcome(line)
        self.process.wait()
        return lost(task, self.end())

    def preempt(self) -> None:
        """Ask for a checkpoint, and for the end."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    @property
    def alive(self) -> bool:
        """Say whether the process is there."""
        return self.process.poll() is None

    def end(self) -> str:
        """Say how the process ended."""
        code = self.process.wait()
        if code == -signal.SIGKILL:
            return "its worker was killed (SIGKILL); the kernel does so when memory runs out"
        if code < 0:
            return f"its worker was ended by {signal.Signals(-code).name}"
        words = self.last_words()
        return f"its worker ended with exit code {code}" + (f": {words}" if words else "")

    def last_words(self) -> str:
        """Give the last line that the process wrote to stderr."""
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, size - LAST_WORDS))
        lines = self._said.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def close(self) -> None:
        """Let it end, which it does when it is idle; what it runs is checkpointed."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=90)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()
        self.answers.close()
        self._said.close()


# How soon a stop is noticed while everybody works.
POLL_SECONDS = 0.2
# What runs get to write a checkpoint in when the sweep is stopped; then they are killed.
GRACE_SECONDS = 60.0


class Processes(Launcher):
    """Workers in places; each place has its share of cores and GPUs, whoever works there."""

    def __init__(self, config: LocalLauncher) -> None:
        self.places = places_of(config)
        # Each worker by the places that it has: several, if it does runs of several ranks.
        self.workers: dict[tuple[int, ...], Worker] = {}

    def close(self) -> None:
        """Let the workers end; what still runs is checkpointed."""
        for worker in self.workers.values():
            worker.preempt()
        for worker in self.workers.values():
            worker.close()
        self.workers.clear()

    def run(self, tasks: Iterable[QueuedRun], stop: threading.Event) -> Iterator[TaskResult]:
        """Compute tasks, as many at once as there are places; see `base.Launcher`."""
        waiting = iter(tasks)
        upcoming = next(waiting, None)
        deadline = float("inf")
        while True:
            while upcoming is not None and not stop.is_set():
                chosen = self.room_for(upcoming)
                if chosen is None:
                    break
                self.begin(upcoming, chosen)
                upcoming = next(waiting, None)
            busy = {held: worker for held, worker in self.workers.items() if worker.task}
            if not busy:
                return
            if stop.is_set() and deadline == float("inf"):
                deadline = time.monotonic() + GRACE_SECONDS
                for worker in busy.values():
                    worker.preempt()
            if time.monotonic() > deadline:
                for worker in busy.values():
                    worker.kill()
            for held in ready(busy):
                outcome = busy[held].collect()
                yield self.after(held, outcome, stopping=stop.is_set())

    def room_for(self, task: QueuedRun) -> tuple[int, ...] | None:
        """Choose places for a run's ranks: a warm worker's if they fit, else any that are free."""
        idle = [held for held, worker in self.workers.items() if not worker.task]
        busy = {place for held in self.workers if held not in idle for place in held}
        rested = {place for held in idle for place in held}
        free = [place for place in range(len(self.places)) if place not in busy]
        chosen = choose_places(self.places, sorted(free, key=rested.__contains__), task.devices)
        if chosen is None:
            return None
        return next((held for held in idle if len(held) == len(chosen)), chosen)

    def begin(self, task: QueuedRun, chosen: tuple[int, ...]) -> None:
        """Give a task to the worker in these places, or to a new one."""
        for held, worker in list(self.workers.items()):
            if not worker.task and not (held == chosen and worker.alive):
                if not set(held).isdisjoint(chosen):
                    self.dismiss(held)
        if chosen not in self.workers:
            self.workers[chosen] = Worker(environment([self.places[k] for k in chosen]))
        self.workers[chosen].give(task)

    def after(self, held: tuple[int, ...], outcome: TaskResult, *, stopping: bool) -> TaskResult:
        """Judge an outcome, and free the places of a worker that is at its end."""
        preempted = outcome.state is TaskState.PREEMPTED
        if preempted or not self.workers[held].alive:
            self.dismiss(held)
        if preempted and not stopping:
            # Somebody meant this worker alone; the run goes on from its checkpoint.
            message = f"{outcome.run_id}: its worker was told to stop (SIGTERM)"
            return replace(outcome, message=message, transient=True)
        if stopping and outcome.state is TaskState.FAILED and outcome.transient:
            return replace(outcome, state=TaskState.PREEMPTED)
        return outcome

    def dismiss(self, held: tuple[int, ...]) -> None:
        """Forget a worker; the next task there gets a new one."""
        worker = self.workers.pop(held)
        worker.close()


def ready(busy: Mapping[tuple[int, ...], Worker]) -> list[tuple[int, ...]]:
    """Wait a moment for workers that have something to say."""
    with selectors.DefaultSelector() as selector:
        for held, worker in busy.items():
            selector.register(worker.answers, selectors.EVENT_READ, held)
        return [key.data for key, _ in selector.select(POLL_SECONDS)]
