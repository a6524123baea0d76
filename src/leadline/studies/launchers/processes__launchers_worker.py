"""The handle of a warm worker on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import IO

from leadline.studies.launchers.base import Outcome, Task
from leadline.studies.launchers.base__launchers_wire import read_outcome, task_line
from leadline.studies.launchers.execute import lost

LAST_WORDS = 2000


class Worker:
    """A process that does one task at a time; starting it costs a second, a task nothing."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.task: Task | None = None
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

    def give(self, task: Task) -> None:
        """Hand over a task; if the worker is dead, `collect` will say so."""
        assert self.task is None and self.process.stdin is not None
        self.task = task
        self._said.seek(0, os.SEEK_END)
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(task_line(task))

    def collect(self) -> Outcome:
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
