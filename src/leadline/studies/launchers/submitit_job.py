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
from leadline.processes import Preempted
from leadline.studies.launchers.base import (
    QueuedRun,
    TaskResult,
    TaskState,
    outcome_line,
    read_task,
)
from leadline.studies.launchers.execute import execute

# How often a requeued job looks whether its own earlier life has let go of the run.
GLANCE_SECONDS = 5.0


def perform(lines: tuple[bytes, ...]) -> list[bytes]:
    """Compute the runs of one job, tasks of `wire`; give their outcomes."""
    outcomes = []
    with heard() as warned:
        for line in lines:
            outcome = patient(read_task(line))
            outcomes.append(outcome_line(outcome))
            if outcome.state is TaskState.PREEMPTED:
                raise SystemExit(leave(warned=bool(warned)))
    return outcomes


def patient(task: QueuedRun, environment: Mapping[str, str] = os.environ) -> TaskResult:
    """Compute one run; after a lost machine its lock has to fall silent first."""
    outcome = execute(task)
    requeued = int(environment.get("SLURM_RESTART_COUNT", "0")) > 0
    deadline = time.monotonic() + locks.STALE_SECONDS + 60 if requeued else 0.0
    while outcome.state is TaskState.BUSY and time.monotonic() < deadline:
        time.sleep(GLANCE_SECONDS)
        outcome = execute(task)
    return outcome


@contextmanager
def heard() -> Iterator[list[int]]:
    """Answer SIGUSR2 as SIGTERM; the list holds it if it came."""
    warned: list[int] = []

    def nearly_over(number: int, frame: FrameType | None) -> None:
        warned.append(number)
        signal.raise_signal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        raise Preempted

    before = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)}
    signal.signal(signal.SIGUSR2, nearly_over)
    signal.signal(signal.SIGTERM, stop)
    try:
        yield warned
    except Preempted:
        # Between two runs.
        raise SystemExit(leave(warned=bool(warned))) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def leave(*, warned: bool, environment: Mapping[str, str] = os.environ) -> int:
    """Ask to be queued again unless the job is being ended; give the exit code."""
    # One word is enough, and it ends the other ranks as well.
    if distributed.from_environment(environment).leads:
        job = environment["SLURM_JOB_ID"]
        if warned or goes_on(job):
            subprocess.run(["scontrol", "requeue", job], capture_output=True, timeout=60)
    return REQUEUE


def goes_on(job: str) -> bool:
    """Say whether SLURM only gave notice.

    A job that was cancelled is "completing" by now, and so is one that SLURM itself queues again.
    """
    told = subprocess.run(
        ["scontrol", "--oneliner", "show", "job", job], capture_output=True, text=True, timeout=60
    )
    return "JobState=RUNNING" in told.stdout
