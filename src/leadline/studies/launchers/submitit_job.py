"""What a job of submitit does: a few runs, one after the other, and what becomes of it on signals.

A scheduler says SIGUSR2 when the time is nearly over, and SIGTERM when it wants the machine back
or when somebody cancelled the job. In each case the run in hand writes a checkpoint. The job then
asks to be queued again, unless SLURM is ending it already: then it was cancelled.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from leadline import distributed, locks
from leadline.errors import REQUEUE
from leadline.processes import Preempted, signals_answered
from leadline.studies.launchers.base import (
    QueuedRun,
    TaskResult,
    TaskState,
    outcome_line,
    read_task,
)
from leadline.studies.launchers.execute import execute

# Poll interval for the run lock that the job held before it was requeued.
POLL_SECONDS = 5.0


def run_tasks(lines: tuple[bytes, ...]) -> list[bytes]:
    """Compute the runs of one SLURM job, one serialised task a line; give their results."""
    outcomes = []
    with slurm_signals() as warned:
        for line in lines:
            outcome = execute_when_unlocked(read_task(line))
            outcomes.append(outcome_line(outcome))
            if outcome.state is TaskState.PREEMPTED:
                raise SystemExit(requeue_code(warned=bool(warned)))
    return outcomes


def execute_when_unlocked(
    task: QueuedRun, environment: Mapping[str, str] = os.environ
) -> TaskResult:
    """Compute one run; a requeued job waits until the lock of its earlier life is stale."""
    outcome = execute(task)
    requeued = int(environment.get("SLURM_RESTART_COUNT", "0")) > 0
    deadline = time.monotonic() + locks.STALE_SECONDS + 60 if requeued else 0.0
    while outcome.state is TaskState.BUSY and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        outcome = execute(task)
    return outcome


@contextmanager
def slurm_signals() -> Iterator[list[int]]:
    """Treat SIGUSR2 (time nearly over) as SIGTERM; the list is non-empty once it came."""
    warned: list[int] = []

    def nearly_over(number: int, frame: FrameType | None) -> None:
        warned.append(number)
        signal.raise_signal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        raise Preempted

    with signals_answered({signal.SIGUSR2: nearly_over, signal.SIGTERM: stop}):
        try:
            yield warned
        except Preempted:
            # Between two runs.
            raise SystemExit(requeue_code(warned=bool(warned))) from None


def requeue_code(*, warned: bool, environment: Mapping[str, str] = os.environ) -> int:
    """Requeue the job with scontrol unless it was cancelled; give the exit code."""
    # One word is enough, and it ends the other ranks as well.
    if distributed.from_environment(environment).leads:
        job = environment["SLURM_JOB_ID"]
        if warned or is_running(job):
            subprocess.run(["scontrol", "requeue", job], capture_output=True, timeout=60)
    return REQUEUE


def is_running(job: str) -> bool:
    """Say whether SLURM still lists the job as running.

    A job that was cancelled is "completing" by now, and so is one that SLURM itself queues again.
    """
    told = subprocess.run(
        ["scontrol", "--oneliner", "show", "job", job], capture_output=True, text=True, timeout=60
    )
    return "JobState=RUNNING" in told.stdout
