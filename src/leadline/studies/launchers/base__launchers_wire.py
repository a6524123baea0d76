"""Tasks and outcomes as lines of JSON, between a launcher and its workers."""

from __future__ import annotations

import json
from dataclasses import asdict

from leadline.studies.launchers.base import Ending, Outcome, Task


def task_line(task: Task) -> bytes:
    """Write a task."""
    return json.dumps(asdict(task)).encode() + b"\n"


def packed(tasks: list[Task]) -> tuple[bytes, ...]:
    """Write the tasks of one job."""
    return tuple(task_line(task) for task in tasks)


def read_task(line: bytes) -> Task:
    """Read a task."""
    told = json.loads(line)
    return Task(**{**told, "words": tuple(told["words"])})


def outcome_line(outcome: Outcome) -> bytes:
    """Write an outcome."""
    return json.dumps(asdict(outcome)).encode() + b"\n"


def read_outcome(line: bytes) -> Outcome:
    """Read an outcome."""
    told = json.loads(line)
    return Outcome(**{**told, "state": Ending(told["state"])})
