"""Ray: a cluster of its own on this machine, one of whose workers is killed."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from launching import is_done, tasks
from leadline import locks
from leadline.errors import UserError
from leadline.runs import record
from leadline.studies.launchers import build, choose
from leadline.studies.launchers.base import TaskResult, TaskState, read_outcome, task_line
from leadline.studies.launchers.processes import Worker
from leadline.studies.launchers.ray_cluster import Seat, judged

HERE = Path(__file__).parent


def ray_launcher(*words):
    return build(choose(["hydra/launcher=ray", *(f"hydra.launcher.{word}" for word in words)])[0])


# Without Ray -------------------------------------------------------------------------------------


def test_a_seat_replaces_a_worker_that_died(tmp_path):
    seat, (one, two) = Seat(1, 1, 0.0), tasks(tmp_path, "majority", (1, 2))
    seat.worker = Worker({"PYTHONHOME": "/nowhere"})
    lost = read_outcome(seat.compute(task_line(one)))
    assert lost.state is TaskState.FAILED and lost.transient
    assert read_outcome(seat.compute(task_line(two))).state is TaskState.DONE and is_done(two)
    seat.preempt()
    assert seat.worker.process.wait() == 75
    seat.worker.close()


def test_who_stopped_a_worker_decides_what_it_means():
    told = TaskResult(run_id="x", state=TaskState.PREEMPTED)
    assert judged(told, stopping=True) == told
    assert judged(told, stopping=False).transient
    lost = TaskResult(run_id="x", state=TaskState.FAILED, transient=True)
    assert judged(lost, stopping=True).state is TaskState.PREEMPTED
    assert judged(lost, stopping=False) == lost


def test_what_ray_cannot_give_is_the_users_mistake():
    pytest.importorskip("ray")
    launcher = ray_launcher("cpus=3")
    launcher.ray = SimpleNamespace(cluster_resources=lambda: {"CPU": 8.0})
    assert launcher.room(1) == 2
    with pytest.raises(UserError, match="a run needs 9 CPU on Ray: got a cluster of 8 CPU and 0"):
        launcher.room(3)
    with pytest.raises(UserError, match="address must be that of a running Ray: got '127.0.0.1:1'"):
        ray_launcher("address=127.0.0.1:1").__enter__()


# On Ray ------------------------------------------------------------------------------------------


@pytest.fixture
def on_ray(monkeypatch):
    """Skip without Ray, which is asked not to write into the user's folders."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    return {**os.environ, "PYTHONPATH": str(HERE)}


def sweep(environment, listed, *words):
    """Run the smallest sweeper to its end; give what was to do, and what became of it."""
    command = [sys.executable, str(HERE / "sweep_once.py"), str(listed), "hydra/launcher=ray"]
    told = subprocess.run([*command, *words], env=environment, capture_output=True)
    assert told.returncode == 0, told.stderr.decode()
    outcomes = map(read_outcome, outcome_lines(told.stdout))
    return int(told.stdout.split()[0]), {outcome.run_id: outcome for outcome in outcomes}


def outcome_lines(told):
    """Take the outcomes out: Ray itself prints a word about actors that died."""
    return [line for line in told.splitlines() if line.startswith(b"{")]


def parent(pid):
    """Give the process that started another: of a warm worker, Ray's actor."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def kill_both_kinds(runs, ended):
    """Kill the actor of one run and the worker of another as soon as each is at work."""
    actors, workers = runs
    for task, who in ((actors, parent), (workers, lambda pid: pid)):
        owner = None
        while owner is None and not ended.wait(0.05):
            owner = (locks.read(task.folder / locks.NAME) or {}).get("pid")
            if owner is not None and not (task.folder / "checkpoints" / "last.pt").exists():
                owner = None
        if owner is not None:
            os.kill(who(owner), signal.SIGKILL)


@pytest.mark.slow
def test_killed_workers_are_all_that_is_left_to_do(on_ray, tmp_path):
    runs_dir = tmp_path / "runs"
    long = tasks(runs_dir, "mlp", (7, 8), "train.epochs=60")
    short = [
        *tasks(runs_dir, "majority", (1, 2, 3, 4, 5, 6)),
        *tasks(runs_dir, "mlp", (1, 2), "train.epochs=2"),
        *tasks(runs_dir, "mlp", (5, 6), "train.epochs=2", "train.devices=2"),
    ]
    listed = tmp_path / "tasks.jsonl"
    listed.write_bytes(b"".join(map(task_line, [*long, *short])))
    ended = threading.Event()
    killer = threading.Thread(target=kill_both_kinds, args=(long, ended))
    killer.start()
    to_do, told = sweep(on_ray, listed)
    ended.set()
    killer.join()
    assert to_do == 12 and len(told) == 12
    assert all(told[task.run_id].state is TaskState.DONE and is_done(task) for task in short)
    assert all(told[task.run_id].transient for task in long)
    assert "its Ray worker is gone" in told[long[0].run_id].message
    assert "killed (SIGKILL)" in told[long[1].run_id].message

    to_do, told = sweep(on_ray, listed)
    assert to_do == 2 and {outcome.state for outcome in told.values()} == {TaskState.DONE}
    assert all(map(is_done, long)) and not list(runs_dir.rglob(locks.NAME))
    assert {record.read_facts(task.folder)["cost"]["attempts"] for task in long} == {2}


@pytest.mark.slow
def test_a_stop_checkpoints_and_a_killed_sweeper_leaves_nothing_running(on_ray, tmp_path):
    (long,) = tasks(tmp_path / "runs", "mlp", (1,), "train.epochs=100000")
    listed = tmp_path / "tasks.jsonl"
    listed.write_bytes(task_line(long))
    command = [sys.executable, str(HERE / "sweep_once.py"), str(listed), "hydra/launcher=ray"]
    for number in (signal.SIGTERM, signal.SIGKILL):
        with subprocess.Popen(command, env=on_ray, stdout=subprocess.PIPE) as process:
            worker = watched(long)
            process.send_signal(number)
            told = outcome_lines(process.stdout.read())
        assert select.select([worker], [], [], 90)[0], "its worker lives on"
        os.close(worker)
        # Ray may kill the worker of a killed sweeper before it lets go; then its lock is stale.
        assert record.state(long.folder) is record.State.INTERRUPTED
        expected = [TaskState.PREEMPTED] if number == signal.SIGTERM else []
        assert [read_outcome(line).state for line in told] == expected


def watched(task):
    """Wait until a run is at work on its first epochs; give a handle of its process."""
    while True:
        owner = locks.read(task.folder / locks.NAME)
        if owner and (task.folder / "checkpoints" / "last.pt").exists():
            with contextlib.suppress(ProcessLookupError):
                return os.pidfd_open(owner["pid"])
        threading.Event().wait(0.1)
