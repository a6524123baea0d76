"""Arrays of SLURM jobs: `hydra/launcher=submitit_slurm`.

Jobs are submitted, and then only looked at: SLURM's queue tells which are still there, the
records tell what became of the others. Nothing is lost with the sweeper.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import math
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leadline import files
from leadline.config import SubmititSlurmLauncher
from leadline.errors import UserError
from leadline.progress import say
from leadline.runs import record
from leadline.studies.launchers.base import (
    Launcher,
    QueuedRun,
    TaskResult,
    TaskState,
    packed,
    read_outcome,
)
from leadline.studies.launchers.execute import lost
from leadline.studies.launchers.submitit_job import run_tasks

LEDGERS = "arrays"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A job in the queue: its state, and why it waits."""

    state: str
    reason: str


class QueueSilent(Exception):
    """SLURM's controller does not answer just now."""


def look() -> dict[str, Entry]:
    """Give the jobs of this user that are pending, running or ending, by id (`12_3` in arrays).

    Raises
    ------
    QueueSilent
        When SLURM does not answer; it may be restarting.
    """
    command = ["squeue", "--noheader", "--array", "--format=%i|%T|%r", "--user", getpass.getuser()]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired as error:
        raise QueueSilent("squeue did not answer for a minute") from error
    if told.returncode:
        raise QueueSilent((told.stderr.strip().splitlines() or ["squeue failed"])[-1])
    entries = {}
    for line in told.stdout.splitlines():
        job, state, reason = (line.strip().split("|") + ["", ""])[:3]
        entries[job] = Entry(state=state, reason=reason)
    return entries


def cancel(jobs: Sequence[str]) -> None:
    """End jobs: what runs gets SIGTERM and a moment, what waits is forgotten."""
    if jobs:
        subprocess.run(["scancel", "--quiet", *jobs], capture_output=True, timeout=120)


def note(folder: Path, runs_of_job: dict[str, list[str]]) -> None:
    """Write down which runs the jobs of one submission compute."""
    (folder / LEDGERS).mkdir(parents=True, exist_ok=True)
    first = next(iter(runs_of_job))
    files.write_json(folder / LEDGERS / f"{first}.json", runs_of_job)


def noted(folder: Path, queued: dict[str, Entry]) -> dict[str, list[str]]:
    """Give the runs of each job that is still queued; what is over is forgotten."""
    found: dict[str, list[str]] = {}
    for path in sorted((folder / LEDGERS).glob("*.json")):
        try:
            runs_of_job = json.loads(path.read_text())
        except (FileNotFoundError, ValueError):
            # Another sweeper has just tidied it up, or it is no ledger.
            continue
        alive = {job: runs for job, runs in runs_of_job.items() if job in queued}
        found |= alive
        if not alive:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
    return found


FOLDER = ".submitit"
# A job that has just ended may have written its last file on a server that is slow to show it.
SETTLING_LOOKS = 2
POLL_SECONDS = 0.2
SECONDS_OF_SILENCE = 5.0
# These waits end by themselves.
PATIENT_REASONS = ("None", "Priority", "Resources", "BeginTime", "JobArrayTaskLimit", "Prolog", "")


class Slurm(Launcher):
    """Submits, waits, and reads what became of it."""

    def __init__(self, config: SubmititSlurmLauncher) -> None:
        require_submitit()
        if shutil.which("sbatch") is None:
            raise UserError(
                "hydra/launcher=submitit_slurm submits with SLURM's sbatch",
                got="none on this machine",
                remedy="call it on a login node, or use hydra/launcher=local",
            )
        self.config = config

    def run(self, tasks: Iterable[QueuedRun], stop: threading.Event) -> Iterator[TaskResult]:
        """Compute tasks in jobs; see `base.Launcher`."""
        wanted = list(tasks)
        if not wanted or stop.is_set():
            return
        folder = Path(wanted[0].runs_dir) / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        jobs = self.adopt(wanted, folder, stop)
        if stop.is_set():
            return
        adopted = {task.run_id for group in jobs.values() for task in group}
        for group in groups([task for task in wanted if task.run_id not in adopted]):
            jobs |= self.submit(group, folder)
        yield from self.watch(jobs, folder, stop)

    def adopt(
        self, wanted: list[QueuedRun], folder: Path, stop: threading.Event
    ) -> dict[str, list[QueuedRun]]:
        """Find the jobs of an earlier sweeper that still are to compute some of these runs."""
        by_id = {task.run_id: task for task in wanted}
        jobs = {}
        for job, runs in noted(folder, look_patiently(stop) or {}).items():
            mine = [by_id.pop(run_id) for run_id in runs if run_id in by_id]
            if mine:
                jobs[job] = mine
        if jobs:
            say(f"{sum(map(len, jobs.values()))} runs are in SLURM's queue already")
        return jobs

    def submit(self, tasks: list[QueuedRun], folder: Path) -> dict[str, list[QueuedRun]]:
        """Submit tasks of one shape as one array; give the tasks of each job."""
        import submitit

        size = self.config.runs_per_job
        chunks = [tasks[start : start + size] for start in range(0, len(tasks), size)]
        executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=10**6)
        executor.update_parameters(**self.parameters(tasks[0].devices))
        try:
            submitted = executor.map_array(run_tasks, [packed(chunk) for chunk in chunks])
        except submitit.core.utils.FailedJobError as error:
            raise UserError(
                "SLURM must accept the jobs",
                got=repr(last_line(str(error))),
                remedy="sinfo shows partitions and limits; conf/hydra/launcher/submitit_slurm.yaml "
                "shows the settings",
            ) from error
        jobs = {str(job.job_id): chunk for job, chunk in zip(submitted, chunks, strict=True)}
        note(folder, {job: [task.run_id for task in c] for job, c in jobs.items()})
        say(f"{len(tasks)} runs are submitted as {len(jobs)} jobs: {', '.join(span(jobs))}")
        return jobs

    def parameters(self, devices: int) -> dict[str, Any]:
        """Give submitit's words for a run of so many ranks."""
        config = self.config
        here, nodes = shape(devices, config.tasks_per_node)
        # Each process shares out among the ranks of its machine what it is told.
        share = [f"export LEADLINE_CORES={config.cpus * here} OMP_NUM_THREADS={config.cpus}"]
        optional = {
            "partition": config.partition,
            "account": config.account,
            "qos": config.qos,
            "constraint": config.constraint,
            "mem": config.memory_gb and f"{math.ceil(config.memory_gb * 1024 * here)}M",
            "gpus_per_node": config.gpus * here or None,
        }
        return {
            "job_name": "leadline",
            "time": config.timeout,
            "nodes": nodes,
            "ntasks_per_node": here,
            "cpus_per_task": config.cpus,
            "array_parallelism": config.array_parallelism,
            "signal_delay_s": config.warning_seconds,
            "setup": [*share, *config.setup],
            "stderr_to_stdout": True,
            # A rank that fails must not leave the others waiting for it in a collective.
            "srun_args": ["--kill-on-bad-exit=1"],
            "additional_parameters": {"requeue": True, **config.additional},
            **{key: value for key, value in optional.items() if value},
        }

    def watch(
        self, jobs: dict[str, list[QueuedRun]], folder: Path, stop: threading.Event
    ) -> Iterator[TaskResult]:
        """Give outcomes as jobs leave the queue, or as their records are done."""
        missed: dict[str, int] = dict.fromkeys(jobs, 0)
        begun: set[str] = set()
        stopping, complained = False, ""
        while jobs:
            wait(self.config.poll_seconds if not stopping else POLL_SECONDS * 5, stop, stopping)
            if stop.is_set() and not stopping:
                stopping = True
                cancel(list(jobs))
            queued = look_patiently(stop)
            if queued is None:
                say("SLURM does not answer: its jobs go on, and the same command finds them again")
                return
            begun |= {job for job in jobs if job in queued and queued[job].state != "PENDING"}
            complained = complain(jobs, queued, complained)
            for job in list(jobs):
                done = [task for task in jobs[job] if is_done(task)]
                for task in done:
                    yield TaskResult(run_id=task.run_id, state=TaskState.DONE)
                jobs[job] = [task for task in jobs[job] if task not in done]
                missed[job] = 0 if job in queued else missed[job] + 1
                if jobs[job] and missed[job] < SETTLING_LOOKS:
                    continue
                for task in jobs.pop(job):
                    outcome = self.judge(task, job, folder)
                    if not stopping:
                        yield outcome
                    elif job in begun and task.folder.exists():
                        yield TaskResult(run_id=task.run_id, state=TaskState.PREEMPTED)

    def judge(self, task: QueuedRun, job: str, folder: Path) -> TaskResult:
        """Say what became of a run whose job is gone."""
        for line in answers(folder, job):
            outcome = read_outcome(line)
            if outcome.run_id == task.run_id:
                return outcome
        return lost(task, ended_without_result(folder, job))


def require_submitit() -> None:
    """Refuse to go on without the extra."""
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise UserError(
            "submitit starts the jobs",
            got="no such package",
            remedy='install it: pip install "leadline[slurm]"',
        ) from error


def shape(devices: int, tasks_per_node: int) -> tuple[int, int]:
    """Give the tasks on a node and the number of nodes for a run of so many ranks.

    Examples
    --------
    >>> shape(8, 4), shape(2, 0), shape(1, 4)
    ((4, 2), (2, 1), (1, 1))
    """
    here = min(devices, tasks_per_node or devices)
    if devices % here:
        raise UserError(
            "train.devices must be a multiple of hydra.launcher.tasks_per_node",
            got=f"{devices} devices and {tasks_per_node} tasks on a node",
            remedy="change one of them",
        )
    return here, devices // here


def groups(tasks: list[QueuedRun]) -> list[list[QueuedRun]]:
    """Put tasks of one shape together: an array has one."""
    return [[t for t in tasks if t.devices == n] for n in sorted({t.devices for t in tasks})]


def is_done(task: QueuedRun) -> bool:
    """Say whether a task's record is complete."""
    return record.state(task.folder) is record.State.DONE


def answers(folder: Path, job: str) -> list[bytes]:
    """Read what a job's first task said in the end; nothing if it was killed."""
    import submitit

    path = submitit.core.utils.JobPaths(folder, job_id=job, task_id=0).result_pickle
    if not path.exists():
        return []
    verdict, said = submitit.core.utils.pickle_load(path)
    return list(said) if verdict == "success" else []


def ended_without_result(folder: Path, job: str) -> str:
    """Say that a job is gone, and where it left its log."""
    return f"job {job} ended without a result; its log is {folder}/{job}_0_log.out"


def look_patiently(stop: threading.Event) -> dict[str, Entry] | None:
    """Look at the queue, again and again while SLURM does not answer; None once told to stop."""
    told = False
    while True:
        try:
            return look()
        except QueueSilent as error:
            if stop.is_set():
                return None
            if not told:
                say(f"SLURM does not answer ({error}); trying on")
            told = True
            wait(SECONDS_OF_SILENCE, stop, stopping=False)


def wait(seconds: float, stop: threading.Event, stopping: bool) -> None:
    """Wait, but not once somebody wants to stop."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and (stopping or not stop.is_set()):
        time.sleep(min(POLL_SECONDS, seconds))


def complain(jobs: dict[str, list[QueuedRun]], queued: dict[str, Entry], before: str) -> str:
    """Say once why jobs wait, when it is not for their turn."""
    reasons = {queued[job].reason for job in jobs if job in queued}
    odd = ", ".join(sorted(reason for reason in reasons if reason not in PATIENT_REASONS))
    if odd and odd != before:
        say(f"SLURM lets jobs wait: {odd} (squeue --me shows them)")
    return odd


def span(jobs: dict[str, Any]) -> list[str]:
    """Name jobs briefly: an array by its id."""
    return list(dict.fromkeys(job.partition("_")[0] for job in jobs))


def last_line(text: str) -> str:
    """Give the last line that says something."""
    return next((line for line in reversed(text.strip().splitlines()) if line.strip()), "nothing")
