"""What every launcher promises: tasks in, one outcome for each, whatever dies in between.

A sweeper says *what* is missing; a launcher only says *where* it is computed. The record on disk
is the truth: an outcome is a message about it, and whoever loses the message reads the record.
"""

from __future__ import annotations

import json
import threading
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path


class TaskState(StrEnum):
    """How a task ended."""

    DONE = "done"
    FAILED = "failed"
    PREEMPTED = "preempted"
    BUSY = "busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedRun:
    """One run to be computed, described so that any process on any machine can do it.

    Attributes
    ----------
    run_id
        Name of the run, and of its folder in `runs_dir`.
    words
        Overrides as on the command line of `leadline run`, with absolute `runs_dir` and
        `data_dir`.
    runs_dir
        Absolute folder of the records.
    attempt
        1 at first; a retry counts up.
    devices
        Ranks that work on the run together (`train.devices`; 1 for a model without epochs).
    """

    run_id: str
    words: tuple[str, ...]
    runs_dir: str
    attempt: int = 1
    devices: int = 1

    @property
    def folder(self) -> Path:
        """Give the folder of the record."""
        return Path(self.runs_dir) / self.run_id


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """What became of a task.

    Attributes
    ----------
    message
        First line of the error; empty when the run is done.
    transient
        The run itself may be sound, and another attempt may succeed: its worker was killed, its
        machine went away, or memory ran out.
    memory
        Memory ran out, surely or probably: another attempt should hold fewer cells at a time.
    """

    run_id: str
    state: TaskState
    message: str = ""
    transient: bool = False
    memory: bool = False


class Launcher(AbstractContextManager["Launcher"]):
    """Computes tasks somewhere. Workers stay warm from one batch to the next, until the exit."""

    def __exit__(self, *ignored: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what is held: nothing, where work is done here or outlives the sweeper."""

    @abstractmethod
    def run(self, tasks: Iterable[QueuedRun], stop: threading.Event) -> Iterator[TaskResult]:
        """Compute tasks in any order; give an outcome for each, as they end.

        Once `stop` is set nothing new begins, what runs writes a checkpoint and ends as
        preempted, and tasks that never began give no outcome. A run that another worker computes
        is busy, and nobody waits for it. Called from the main thread; `stop` may be set by a
        signal handler.
        """


def task_line(task: QueuedRun) -> bytes:
    """Write a task."""
    return json.dumps(asdict(task)).encode() + b"\n"


def packed(tasks: list[QueuedRun]) -> tuple[bytes, ...]:
    """Write the tasks of one job."""
    return tuple(task_line(task) for task in tasks)


def read_task(line: bytes) -> QueuedRun:
    """Read a task."""
    told = json.loads(line)
    return QueuedRun(**{**told, "words": tuple(told["words"])})


def outcome_line(outcome: TaskResult) -> bytes:
    """Write an outcome."""
    return json.dumps(asdict(outcome)).encode() + b"\n"


def read_outcome(line: bytes) -> TaskResult:
    """Read an outcome."""
    told = json.loads(line)
    return TaskResult(**{**told, "state": TaskState(told["state"])})
