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

from leadline import processes
from leadline.config import LocalLauncher
from leadline.errors import UserError
from leadline.studies.launchers.base import (
    Launcher,
    QueuedRun,
    TaskResult,
    TaskState,
    read_outcome,
    task_line,
)
from leadline.studies.launchers.execute import lost

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
        gpus = shares_of_gpus(config.gpus) if config.gpus else [{}]
        default = len(gpus) if config.gpus else processes.of_machine()
        self.n_jobs = default if config.n_jobs == -1 else config.n_jobs
        if config.gpus and self.n_jobs > len(gpus):
            raise UserError(
                "each process needs GPUs of its own",
                got=f"n_jobs={self.n_jobs} with {config.gpus} each, and GPUs for {len(gpus)}",
                remedy="lower hydra.launcher.n_jobs or hydra.launcher.gpus",
            )
        threads = config.threads or max(1, processes.of_machine() // self.n_jobs)
        self.places: list[Mapping[str, str]] = [
            {**processes.share_of(threads), **gpus[place % len(gpus)]}
            for place in range(self.n_jobs)
        ]
        self.workers: dict[int, Worker] = {}

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
            while upcoming is not None and not stop.is_set() and self.room_for(upcoming):
                self.begin(upcoming)
                upcoming = next(waiting, None)
            busy = {place: worker for place, worker in self.workers.items() if worker.task}
            if not busy:
                return
            if stop.is_set() and deadline == float("inf"):
                deadline = time.monotonic() + GRACE_SECONDS
                for worker in busy.values():
                    worker.preempt()
            if time.monotonic() > deadline:
                for worker in busy.values():
                    worker.kill()
            for place in ready(busy):
                outcome = busy[place].collect()
                yield self.after(place, outcome, stopping=stop.is_set())

    def room_for(self, task: QueuedRun) -> bool:
        """Say whether a task's ranks find a core each, or nobody else is at work."""
        taken = sum(worker.task.devices for worker in self.workers.values() if worker.task)
        free = len(self.workers) < self.n_jobs or any(not w.task for w in self.workers.values())
        return free and (not taken or taken + task.devices <= self.n_jobs)

    def begin(self, task: QueuedRun) -> None:
        """Give a task to an idle worker, warm if there is one."""
        for place, worker in list(self.workers.items()):
            if not worker.task and not worker.alive:
                self.dismiss(place)
        idle = [place for place, worker in self.workers.items() if not worker.task]
        if not idle:
            place = next(place for place in range(self.n_jobs) if place not in self.workers)
            self.workers[place] = Worker(self.places[place])
            idle = [place]
        self.workers[idle[0]].give(task)

    def after(self, place: int, outcome: TaskResult, *, stopping: bool) -> TaskResult:
        """Judge an outcome, and free the place of a worker that is at its end."""
        preempted = outcome.state is TaskState.PREEMPTED
        if preempted or not self.workers[place].alive:
            self.dismiss(place)
        if preempted and not stopping:
            # Somebody meant this worker alone; the run goes on from its checkpoint.
            message = f"{outcome.run_id}: its worker was told to stop (SIGTERM)"
            return replace(outcome, message=message, transient=True)
        if stopping and outcome.state is TaskState.FAILED and outcome.transient:
            return replace(outcome, state=TaskState.PREEMPTED)
        return outcome

    def dismiss(self, place: int) -> None:
        """Forget a worker; the next task there gets a new one."""
        worker = self.workers.pop(place)
        worker.close()


def ready(busy: Mapping[int, Worker]) -> list[int]:
    """Wait a moment for workers that have something to say."""
    with selectors.DefaultSelector() as selector:
        for place, worker in busy.items():
            selector.register(worker.answers, selectors.EVENT_READ, place)
        return [key.data for key, _ in selector.select(POLL_SECONDS)]


def shares_of_gpus(each: int) -> list[Mapping[str, str]]:
    """Divide the GPUs of this machine among processes: the environment of each."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        import torch

        visible = ",".join(str(gpu) for gpu in range(torch.cuda.device_count()))
    names = [name for name in visible.split(",") if name]
    if len(names) < each:
        raise UserError(
            f"hydra.launcher.gpus={each} needs as many GPUs on this machine",
            got=f"{len(names)} of them",
            remedy="leave hydra.launcher.gpus at 0, or choose another machine",
        )
    groups = [names[start : start + each] for start in range(0, len(names) - each + 1, each)]
    return [{"CUDA_VISIBLE_DEVICES": ",".join(group)} for group in groups]
