"""Jobs of submitit on this machine: `hydra/launcher=submitit_local`."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from leadline import processes
from leadline.config import SubmititLocalLauncher
from leadline.studies.launchers.base import Ending, Launcher, Outcome, Task, packed, read_outcome
from leadline.studies.launchers.execute import lost
from leadline.studies.launchers.slurm import FOLDER, answers, ended_without_result, require_submitit
from leadline.studies.launchers.submitit_job import perform

GLANCE_SECONDS = 0.1
# How long before its end a job is told to checkpoint.
WARNING_SECONDS = 60


class LocalJobs(Launcher):
    """What SLURM would be given, in processes that submitit starts; they outlive the sweeper."""

    def __init__(self, config: SubmititLocalLauncher) -> None:
        require_submitit()
        self.config = config
        self.n_jobs = processes.of_machine() if config.n_jobs == -1 else config.n_jobs

    def run(self, tasks: Iterable[Task], stop: threading.Event) -> Iterator[Outcome]:
        """Compute tasks in jobs, a few at a time; see `base.Launcher`."""
        wanted, size = list(tasks), self.config.runs_per_job
        waiting = [wanted[start : start + size] for start in range(0, len(wanted), size)]
        running: list[tuple[Any, list[Task]]] = []
        stopping = False
        while running or (waiting and not stop.is_set()):
            while waiting and len(running) < self.n_jobs and not stop.is_set():
                chunk = waiting.pop(0)
                running.append((self.submit(chunk), chunk))
            if stop.is_set() and not stopping:
                stopping = True
                for job, _ in running:
                    job._process.send_signal(signal.SIGTERM)
            time.sleep(GLANCE_SECONDS)
            for job, chunk in [pair for pair in running if pair[0]._process.poll() is not None]:
                running.remove((job, chunk))
                yield from self.outcomes(job, chunk, stopping=stopping)

    def submit(self, tasks: list[Task]) -> Any:
        """Start one job."""
        import submitit

        folder = Path(tasks[0].runs_dir) / FOLDER
        executor = submitit.LocalExecutor(folder=folder, max_num_timeout=10**6)
        executor.update_parameters(
            timeout_min=self.config.timeout,
            gpus_per_node=self.config.gpus,
            signal_delay_s=min(WARNING_SECONDS, self.config.timeout * 30),
            stderr_to_stdout=True,
        )
        with environment(processes.share_of(max(1, processes.of_machine() // self.n_jobs))):
            return executor.submit(perform, packed(tasks))

    def outcomes(self, job: Any, tasks: list[Task], *, stopping: bool) -> Iterator[Outcome]:
        """Say what became of a job's runs."""
        folder = Path(tasks[0].runs_dir) / FOLDER
        said = {
            outcome.run_id: outcome for outcome in map(read_outcome, answers(folder, job.job_id))
        }
        for task in tasks:
            outcome = said.get(task.run_id)
            if outcome is None:
                outcome = lost(task, ended_without_result(folder, job.job_id))
                if stopping and outcome.state is Ending.FAILED:
                    if not task.folder.exists():
                        continue
                    outcome = Outcome(run_id=task.run_id, state=Ending.PREEMPTED)
            yield outcome


@contextmanager
def environment(changes: dict[str, str]) -> Iterator[None]:
    """Let processes that are started meanwhile see other variables."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
