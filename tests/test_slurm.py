"""SLURM: the real one where it can be started, and what can be tested without it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import slurm_here
from launching import tasks
from leadline import errors, locks, processes
from leadline.errors import UserError
from leadline.runs import record
from leadline.studies.launchers import slurm as queue
from leadline.studies.launchers import slurm as slurm_launcher
from leadline.studies.launchers import submitit_job
from leadline.studies.launchers.base import (
    QueuedRun,
    TaskResult,
    TaskState,
    read_outcome,
    task_line,
)
from leadline.studies.launchers.slurm import groups, shape

HERE = Path(__file__).parent
WORDS = ("hydra/launcher=submitit_slurm", "hydra.launcher.poll_seconds=0.5")


def a_task(run_id="x", devices=1):
    return QueuedRun(run_id=run_id, words=(), runs_dir="/nowhere", devices=devices)


# Without a cluster -------------------------------------------------------------------------------


def test_a_run_is_laid_out_on_nodes():
    assert shape(8, 4) == (4, 2) and shape(2, 0) == (2, 1) and shape(1, 4) == (1, 1)
    with pytest.raises(UserError, match="train.devices must be a multiple of .*: got 6 devices"):
        shape(6, 4)
    two = [a_task("a"), a_task("b", 2), a_task("c")]
    assert [[t.run_id for t in group] for group in groups(two)] == [["a", "c"], ["b"]]


def test_a_sweeper_that_is_told_to_stop_does_not_wait_for_a_silent_controller(monkeypatch):
    def silent():
        raise queue.QueueSilent("Unable to contact")

    stop = threading.Event()
    monkeypatch.setattr(queue, "look", silent)
    monkeypatch.setattr(slurm_launcher, "say", lambda text: stop.set())
    assert slurm_launcher.look_patiently(stop) is None


def program(folder, name, text):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_the_queue_is_read_and_what_is_over_is_forgotten(tmp_path, monkeypatch):
    program(tmp_path / "bin", "squeue", "printf '7_0|RUNNING|None\\n7_1|PENDING|Resources\\n'")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    queued = queue.look()
    assert queued["7_1"] == queue.Entry(state="PENDING", reason="Resources")
    queue.note(tmp_path, {"7_0": ["a", "b"], "7_1": ["c"], "7_2": ["d"]})
    queue.note(tmp_path, {"6_0": ["e"]})
    (tmp_path / queue.LEDGERS / "half.json").write_text('{"8_0": ')
    assert queue.noted(tmp_path, queued) == {"7_0": ["a", "b"], "7_1": ["c"]}
    assert not (tmp_path / queue.LEDGERS / "6_0.json").exists()


def test_a_silent_controller_is_not_an_empty_queue(tmp_path, monkeypatch):
    program(tmp_path / "bin", "squeue", "echo slurm_load_jobs error: Unable to contact >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(queue.QueueSilent, match="Unable to contact"):
        queue.look()


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Record what is asked of scontrol, which says that the job is in the state of a file."""
    (tmp_path / "state").write_text("JobState=RUNNING")
    program(tmp_path / "bin", "scontrol", f"echo $@ >> {tmp_path}/asked; cat {tmp_path}/state")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    return lambda: (tmp_path / "asked").read_text() if (tmp_path / "asked").exists() else ""


def interrupted_by(number):
    def execute(task):
        with contextlib.suppress(processes.Preempted), processes.sigterm_as_stop():
            signal.raise_signal(number)
        return TaskResult(run_id=task.run_id, state=TaskState.PREEMPTED)

    return execute


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_preempted_job_asks_to_be_queued_again(number, asked, monkeypatch):
    monkeypatch.setattr(submitit_job, "execute", interrupted_by(number))
    with pytest.raises(SystemExit) as ended:
        submitit_job.run_tasks((task_line(a_task()), task_line(a_task("y"))))
    assert ended.value.code == errors.REQUEUE and asked().endswith("requeue 41\n")


def test_a_signal_between_two_runs_is_heard_too(asked, monkeypatch):
    def execute(task):
        signal.raise_signal(signal.SIGUSR2)

    monkeypatch.setattr(submitit_job, "execute", execute)
    with pytest.raises(SystemExit) as ended:
        submitit_job.run_tasks((task_line(a_task()),))
    assert ended.value.code == errors.REQUEUE and asked() == "requeue 41\n"


def test_a_cancelled_job_stays_cancelled(asked, tmp_path, monkeypatch):
    (tmp_path / "state").write_text("JobId=41 JobState=COMPLETING Reason=None")
    monkeypatch.setattr(submitit_job, "execute", interrupted_by(signal.SIGTERM))
    with pytest.raises(SystemExit):
        submitit_job.run_tasks((task_line(a_task()),))
    assert "requeue" not in asked()


def test_only_the_first_rank_asks(asked, monkeypatch):
    for name, value in {
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_PROCID": "1",
        "SLURM_LOCALID": "1",
    }.items():
        monkeypatch.setenv(name, value)
    assert submitit_job.requeue_code(warned=True) == errors.REQUEUE and asked() == ""


def test_a_requeued_job_waits_for_the_lock_of_its_earlier_life(monkeypatch):
    busy, done = (TaskResult(run_id="x", state=state) for state in (TaskState.BUSY, TaskState.DONE))
    told = iter([busy, busy, done])
    monkeypatch.setattr(submitit_job, "execute", lambda task: next(told))
    monkeypatch.setattr(submitit_job, "POLL_SECONDS", 0.0)
    assert submitit_job.execute_when_unlocked(a_task(), {}).state is TaskState.BUSY
    assert (
        submitit_job.execute_when_unlocked(a_task(), {"SLURM_RESTART_COUNT": "1"}).state
        is TaskState.DONE
    )


# The real one ------------------------------------------------------------------------------------


@pytest.fixture
def slurm(tmp_path, request):
    """Start a cluster, or skip with the reason."""
    pytest.importorskip("submitit")
    reason = slurm_here.reason_against()
    if reason:
        pytest.skip(reason)
    with slurm_here.cluster(tmp_path / "slurm") as environment:
        environment["PYTHONPATH"] = str(HERE)
        yield environment


class Sweep:
    """A sweeper in a process of its own, and what it prints."""

    def __init__(self, environment, listed, *words):
        command = [sys.executable, str(HERE / "sweep_once.py"), str(listed), *words]
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, cwd=listed.parent
        )
        self.to_do = int(self.process.stdout.readline().split()[0])

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def outcomes(self):
        told = [read_outcome(line) for line in self.process.stdout]
        assert self.process.wait() == 0
        return {outcome.run_id: outcome for outcome in told}


def jobs_of(runs_dir):
    """Give the job of each run, from the ledgers."""
    told = {}
    for path in sorted((runs_dir / ".submitit" / queue.LEDGERS).glob("*.json")):
        told |= {run: job for job, runs in json.loads(path.read_text()).items() for run in runs}
    return told


def until(condition, seconds=300):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)
    return found


def owner_of(folder):
    """Give the process that works on a run."""
    owner = locks.read(folder / locks.NAME)
    return owner and owner.get("pid")


STUDY = """\
question: Does a study survive its cluster?
artefacts: [twelve]
base: {data: pbmc68k_reduced, train.epochs: 60}
arms:
  reference: {model: majority}
  long: {model: mlp, grid: {seed: [1, 2]}}
  ranks: {model: mlp, train.epochs: 2, train.devices: 2, against: long, grid: {seed: [1, 2]}}
grid: {seed: [1, 2, 3, 4, 5, 6, 7, 8]}
"""


class Study:
    """The study above, and `leadline ablate` on it."""

    def __init__(self, environment, folder):
        self.environment, self.folder, self.runs_dir = environment, folder, folder / "runs"
        (folder / "twelve.yaml").write_text(STUDY)

    def ablate(self):
        words = [*WORDS, f"runs_dir={self.runs_dir}", "retries=0"]
        return subprocess.Popen(
            [sys.executable, "-m", "leadline.cli", "ablate", "twelve.yaml", *words],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def arm(self, name):
        """Give the folders of an arm's runs, in the order of seeds."""
        runs = json.loads((self.runs_dir / "studies" / "twelve.json").read_text())["runs"]
        return [self.runs_dir / run["run_id"] for run in runs if run["arm"] == name]


def listed(tmp_path, tasks):
    path = tmp_path / "tasks.jsonl"
    path.write_bytes(b"".join(map(task_line, tasks)))
    return path


def has_checkpoint(folder):
    return (folder / "checkpoints" / "last.pt").exists()


@pytest.mark.slow
def test_a_cancelled_and_a_killed_job_are_all_that_is_left_to_do(slurm, tmp_path):
    study = Study(slurm, tmp_path)
    with study.ablate() as first:
        until(lambda: len(jobs_of(study.runs_dir)) == 12)
        cancelled, killed = study.arm("long")
        jobs = jobs_of(study.runs_dir)
        assert len({job.partition("_")[0] for job in jobs.values()}) == 2
        until(lambda: has_checkpoint(cancelled))
        subprocess.run(["scancel", jobs[cancelled.name]], env=slurm, check=True)
        os.kill(until(lambda: owner_of(killed)), signal.SIGKILL)
        told, _ = first.communicate()
    assert first.returncode == 1, told
    assert "12 runs, 10 done now, 0 already there, 2 failed" in told
    for lost in (cancelled, killed):
        assert f"{lost.name} failed: {lost.name}: job {jobs[lost.name]} ended without a result" in (
            told
        )
    ranks = study.arm("ranks")
    assert [record.read_facts(folder)["provenance"]["world_size"] for folder in ranks] == [2, 2]

    done = [*study.arm("reference"), *ranks]
    sealed = [(folder / "DONE").stat().st_mtime_ns for folder in done]
    with study.ablate() as second:
        told, _ = second.communicate()
    assert second.returncode == 0, told
    assert "12 runs, 2 done now, 10 already there, 0 failed; 0 to do" in told
    assert sealed == [(folder / "DONE").stat().st_mtime_ns for folder in done]
    assert not list(study.runs_dir.rglob(locks.NAME))
    # The cancelled one went on from its checkpoint.
    assert record.read_facts(cancelled)["cost"]["attempts"] == 2


@pytest.mark.slow
def test_a_preempted_job_is_queued_again_and_outlives_its_sweeper(slurm, tmp_path):
    runs_dir = tmp_path / "runs"
    (long,) = tasks(runs_dir, "mlp", (1,), "train.epochs=60")
    everything = listed(tmp_path, [long, *tasks(runs_dir, "majority", (1,))])
    words = (*WORDS, "hydra.launcher.additional={comment: a test}")
    with Sweep(slurm, everything, *words):
        until(lambda: has_checkpoint(long.folder))
        jobs = jobs_of(runs_dir)
    subprocess.run(["scancel", "--signal=USR2", jobs[long.run_id]], env=slurm, check=True)
    with Sweep(slurm, everything, *words) as second:
        told = second.outcomes()
    assert {outcome.state for outcome in told.values()} == {TaskState.DONE} and long.run_id in told
    assert record.read_facts(long.folder)["cost"]["attempts"] == 2
    # The second sweeper submitted nothing: it waited for the jobs of the first.
    submitted = {path.name for path in (runs_dir / ".submitit").glob("*_submission.sh")}
    assert len(submitted) == 1


@pytest.mark.slow
def test_a_stopped_sweeper_takes_its_jobs_along_and_they_checkpoint(slurm, tmp_path):
    runs_dir = tmp_path / "runs"
    (long,) = tasks(runs_dir, "mlp", (1,), "train.epochs=100000")
    with Sweep(slurm, listed(tmp_path, [long]), *WORDS) as sweep:
        until(lambda: has_checkpoint(long.folder))
        sweep.process.send_signal(signal.SIGTERM)
        told = sweep.outcomes()
    assert told[long.run_id].state is TaskState.PREEMPTED
    assert owner_of(long.folder) is None and not slurm_here.queued(slurm)


@pytest.mark.slow
def test_jobs_that_slurm_refuses_are_the_users_mistake(slurm, tmp_path):
    everything = listed(tmp_path, tasks(tmp_path / "runs", "majority", (1,)))
    told = subprocess.run(
        [sys.executable, str(HERE / "sweep_once.py"), str(everything), *WORDS]
        + ["hydra.launcher.partition=nowhere"],
        env=slurm,
        capture_output=True,
        text=True,
    )
    assert "UserError: SLURM must accept the jobs" in told.stderr
    assert "nowhere" in told.stderr or "invalid partition" in told.stderr.lower()
