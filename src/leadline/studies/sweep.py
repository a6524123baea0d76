"""A study's runs → records: whatever dies on the way, the same call again does what is missing.

The records on disk are the truth. A sweeper keeps no state of its own, so that it may be killed at
any moment, and several may work on one folder: the lock of each run's folder decides who makes it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from leadline.runs import damage, record
from leadline.runs.record import State
from leadline.studies import Run
from leadline.studies.launchers.base import Launcher, QueuedRun, TaskResult, TaskState
from leadline.studies.overrides import to_override

# How long to wait before looking again at runs that another sweeper makes.
SECONDS_BETWEEN_LOOKS = 1.0


class RunOutcome(StrEnum):
    """What became of a run in a sweep."""

    HAD = "already there"
    DONE = "done"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"
    LEFT = "left"
    DAMAGED = "damaged"
    IMPOSSIBLE = "cannot be made"


# What nobody can start from.
LOST = (RunOutcome.FAILED, RunOutcome.DAMAGED)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnd:
    """How a sweep ended for one run; `message` is the first line of what went wrong."""

    run: Run
    fate: RunOutcome
    message: str = ""


class SweepState:
    """What is known of each run: what it waits for, how often it was tried, how it ended."""

    def __init__(self, runs: Sequence[Run], retries: int, tell: Callable[[str], None]) -> None:
        self.runs = {run.run_id: run for run in runs if run.name is not None}
        self.impossible = [run for run in runs if run.name is None]
        self.ends: dict[str, RunEnd] = {}
        self.attempts: dict[str, int] = {}
        self.short_of_memory: dict[str, int] = {}
        self.elsewhere: set[str] = set()
        self.retries, self.tell = retries, tell
        self.began = time.time()
        for run_id, run in self.runs.items():
            state = run.state()
            if state in (State.DONE, State.DAMAGED):
                if bad := damage.problem(run.folder):
                    self.ends[run_id] = RunEnd(run=run, fate=RunOutcome.DAMAGED, message=bad)
                    continue
                record.tidy(run.folder)
                self.ends[run_id] = RunEnd(run=run, fate=RunOutcome.HAD)
            elif state is State.NOT_APPLICABLE:
                self.ends[run_id] = RunEnd(
                    run=run, fate=RunOutcome.NOT_APPLICABLE, message=reason(run)
                )
            elif state is State.RUNNING:
                self.elsewhere.add(run_id)

    def ready(self) -> list[QueuedRun]:
        """List the runs that can begin now; those whose pretraining failed end here."""
        tasks = []
        for run_id, run in self.runs.items():
            if run_id in self.ends or run_id in self.elsewhere:
                continue
            before = [self.ends.get(name) for name in run.after if name in self.runs]
            failed = next((end for end in before if end and end.fate in LOST), None)
            if failed is not None:
                self.end(
                    run_id,
                    RunOutcome.FAILED,
                    f"{failed.run.run_id} {failed.fate}, which it starts from",
                )
            elif all(before):
                tasks.append(self.task(run))
        return tasks

    def task(self, run: Run) -> QueuedRun:
        """Describe the next attempt at a run: with fewer cells at a time if memory ran out."""
        words = run.words
        times = self.short_of_memory.get(run.run_id, 0)
        if times:
            micro_batch = to_override(str(smaller(run, times)))
            kept = [word for word in words if not word.startswith("train.micro_batch=")]
            words = (*kept, f"train.micro_batch={micro_batch}")
        attempt = self.attempts.get(run.run_id, 0) + 1
        return QueuedRun(
            run_id=run.run_id,
            words=words,
            runs_dir=run.config.runs_dir,
            attempt=attempt,
            devices=run.devices,
        )

    def note(self, outcome: TaskResult) -> None:
        """Take note of what became of an attempt."""
        run = self.runs[outcome.run_id]
        match outcome.state:
            case TaskState.DONE if run.state() is State.DONE:
                self.end(run.run_id, RunOutcome.DONE)
            case TaskState.DONE:
                self.end(run.run_id, RunOutcome.FAILED, f"said to be done, but {run.folder} is not")
            case TaskState.BUSY:
                self.elsewhere.add(run.run_id)
            case TaskState.PREEMPTED:
                self.again(run, outcome, RunOutcome.LEFT)
            case TaskState.FAILED if outcome.transient:
                self.short_of_memory[run.run_id] = (
                    self.short_of_memory.get(run.run_id, 0) + outcome.memory
                )
                self.again(run, outcome, RunOutcome.FAILED)
            case TaskState.FAILED if run.state() is State.NOT_APPLICABLE:
                self.end(run.run_id, RunOutcome.NOT_APPLICABLE, outcome.message)
            case _:
                self.end(run.run_id, RunOutcome.FAILED, outcome.message)

    def again(self, run: Run, outcome: TaskResult, last: RunOutcome) -> None:
        """Let a run be tried again, unless it was tried often enough."""
        tried = self.attempts[run.run_id] = self.attempts.get(run.run_id, 0) + 1
        if tried > self.retries:
            self.end(run.run_id, last, outcome.message)
        elif last is RunOutcome.FAILED:
            self.tell(f"{run.run_id} is tried again: {outcome.message}")

    def end(self, run_id: str, fate: RunOutcome, message: str = "") -> None:
        """Close a run's account."""
        self.ends[run_id] = RunEnd(run=self.runs[run_id], fate=fate, message=message)
        self.elsewhere.discard(run_id)
        why = f": {message}" if message else ""
        self.tell(f"[{len(self.ends)}/{len(self.runs)}] {run_id} {fate}{why}")

    @property
    def failures(self) -> int:
        """Count the runs that failed for good."""
        return sum(end.fate is RunOutcome.FAILED for end in self.ends.values())

    def look_elsewhere(self) -> None:
        """See what became of the runs that others make; one that was dropped is ours again."""
        for run_id in sorted(self.elsewhere):
            run = self.runs[run_id]
            match run.state():
                case State.DONE:
                    self.end(run_id, RunOutcome.DONE)
                case State.DAMAGED:
                    self.end(run_id, RunOutcome.DAMAGED, damage.problem(run.folder))
                case State.FAILED if failed_since(run, self.began):
                    self.end(run_id, RunOutcome.FAILED, reason(run))
                case State.NOT_APPLICABLE:
                    self.end(run_id, RunOutcome.NOT_APPLICABLE, reason(run))
                case State.RUNNING:
                    continue
                case _:
                    self.elsewhere.discard(run_id)

    def close(self) -> list[RunEnd]:
        """Give the end of every run, in the order of the study."""
        left = {
            run_id: RunEnd(run=run, fate=RunOutcome.LEFT, message=str(run.state()))
            for run_id, run in self.runs.items()
            if run_id not in self.ends
        }
        ends = self.ends | left
        never = [
            RunEnd(run=run, fate=RunOutcome.IMPOSSIBLE, message=run.problem)
            for run in self.impossible
        ]
        return [*(ends[run_id] for run_id in self.runs), *never]


def sweep(
    runs: Sequence[Run],
    launcher: Launcher,
    *,
    stop: threading.Event,
    retries: int = 1,
    tell: Callable[[str], None] = lambda text: None,
    most_failures: int | None = None,
) -> list[RunEnd]:
    """Make what is missing, and say how it ended for each run.

    Runs go to the launcher in waves: first all that start from nothing, then those that start from
    them. Failures stop nobody else, unless there are `most_failures` of them. Once `stop` is set
    nothing new begins.
    """
    ledger = SweepState(runs, retries, tell)
    tasks = ledger.ready()
    if not tasks and not ledger.elsewhere:
        return ledger.close()
    with launcher:
        while not stop.is_set():
            tasks = ledger.ready()
            if tasks:
                for outcome in launcher.run(tasks, stop):
                    ledger.note(outcome)
                    if most_failures is not None and ledger.failures >= most_failures:
                        stop.set()
                forget_unheard(ledger, tasks, stop)
            elif ledger.elsewhere:
                stop.wait(SECONDS_BETWEEN_LOOKS)
            else:
                break
            ledger.look_elsewhere()
    return ledger.close()


def forget_unheard(ledger: SweepState, tasks: Iterable[QueuedRun], stop: threading.Event) -> None:
    """Count an attempt of which a launcher said nothing: else it would be made for ever."""
    for task in tasks:
        known = task.run_id in ledger.ends or task.run_id in ledger.elsewhere
        if known or stop.is_set() or ledger.attempts.get(task.run_id, 0) >= task.attempt:
            continue
        lost = TaskResult(
            run_id=task.run_id,
            state=TaskState.FAILED,
            message="the launcher lost it",
            transient=True,
        )
        ledger.note(lost)


def smaller(run: Run, times: int) -> int:
    """Give a micro-batch that is halved as often as memory ran out."""
    train = run.config.train
    first = train.batch_size if train.micro_batch == "auto" else int(train.micro_batch)
    return max(1, first // 2**times)


def failed_since(run: Run, moment: float) -> bool:
    """Say whether a run failed after a moment, by the date of its FAILED."""
    try:
        return (run.folder / record.FAILED).stat().st_mtime >= moment
    except FileNotFoundError:
        return False


def reason(run: Run) -> str:
    """Give the line of a run's FAILED that says what happened."""
    try:
        text = (run.folder / record.FAILED).read_text()
    except FileNotFoundError:
        return "failed elsewhere"
    paragraph = text.strip().partition("\n\n")[0]
    return (paragraph.splitlines() or ["failed elsewhere"])[-1]
