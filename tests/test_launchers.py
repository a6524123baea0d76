"""Launchers: whatever dies, its run alone is lost, and whoever is told to stop stops tidily."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
from dataclasses import fields, replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from launching import is_done, science_of, task, tasks
from leadline import config, locks, processes
from leadline.cli import main
from leadline.config.compose import shipped
from leadline.errors import UserError
from leadline.runs import run
from leadline.studies.launchers import build, choose
from leadline.studies.launchers import execute as executing
from leadline.studies.launchers.base import (
    QueuedRun,
    TaskResult,
    TaskState,
    outcome_line,
    read_outcome,
    read_task,
    task_line,
)
from leadline.studies.launchers.places import environment
from leadline.studies.launchers.processes import Processes, Worker


def local(*words):
    chosen, _ = choose(["hydra/launcher=local", *(f"hydra.launcher.{word}" for word in words)])
    return build(chosen)


def a_task(run_id="x", runs_dir="/nowhere", words=()):
    return QueuedRun(run_id=run_id, words=tuple(words), runs_dir=str(runs_dir))


# Which launcher ----------------------------------------------------------------------------------


def test_words_about_the_launcher_are_taken_out_and_the_others_given_back():
    words = ["seed=1", "hydra/launcher=local", "hydra.launcher.n_jobs=2", "model=mlp"]
    chosen, others = choose(words)
    assert chosen == config.LocalLauncher(name="local", n_jobs=2) and others == (
        "seed=1",
        "model=mlp",
    )
    assert choose([])[0] == config.BasicLauncher(name="basic")
    assert choose([], default="local")[0].name == "local"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hydra/launcher=locl"], "hydra/launcher must be one of .*'locl'; did you mean local"),
        (["hydra/launcher=ray", "hydra/launcher=basic"], "one launcher may be chosen: got ray and"),
        (["hydra.launcher.n_jobs=2"], "basic must have the setting.*there is none to choose from"),
        (["hydra/launcher=local", "hydra.launcher.n_job=2"], "did you mean n_jobs"),
        (["hydra/launcher=local", "hydra.launcher.n_jobs"], "given, as key=value: got 'hydra.l"),
        (["hydra/launcher=local", "hydra.launcher.n_jobs=x"], "n_jobs must fit its schema: got"),
        (["hydra/launcher=local", "hydra.launcher.n_jobs=0"], "n_jobs must lie in \\[1, 1024\\]"),
        (["hydra/launcher=local", "hydra.launcher.threads=-1"], "threads must lie in \\[0"),
        (["hydra/launcher=local", "hydra.launcher.n_jobs=["], "must be a value that YAML can"),
        (["hydra/launcher=ray", "hydra.launcher.gpus=1.5"], "a share of one GPU, or a whole"),
        (["hydra/launcher=submitit_slurm", "hydra.launcher.timeout=0"], "timeout must lie in"),
        (["hydra/launcher=submitit_slurm", "hydra.launcher.runs_per_job=0"], "runs_per_job must"),
        (
            ["hydra/launcher=joblib", "hydra.launcher.n_jobs=4"],
            "not by joblib: got hydra/launcher=joblib; "
            "use hydra/launcher=local hydra.launcher.n_jobs=2$",
        ),
        (
            ["hydra/launcher=submitit_local"],
            "only to SLURM: got hydra/launcher=submitit_local; use hydra/launcher=local "
            "hydra.launcher.n_jobs=2 on this machine, or hydra/launcher=submitit_slurm",
        ),
    ],
)
def test_a_wrong_word_about_the_launcher_is_explained_in_one_line(words, message):
    with pytest.raises(UserError, match=message) as caught:
        choose(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(config.ABSENT_LAUNCHERS))
@pytest.mark.parametrize(
    "command", [["ablate", "quickstart"], ["plan", "quickstart"], ["run", "--multirun", "seed=1,2"]]
)
def test_a_launcher_that_leadline_does_not_have_ends_every_command(name, command, capsys):
    assert main([*command, f"hydra/launcher={name}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "; use hydra/launcher=local hydra.launcher.n_jobs=2" in line


@pytest.mark.parametrize("name", sorted(set(config.LAUNCHERS) - {"basic"}))
def test_the_shipped_file_of_a_launcher_shows_every_setting_with_its_default(name):
    shown = yaml.safe_load((shipped("conf") / "hydra" / "launcher" / f"{name}.yaml").read_text())
    schema = config.LAUNCHERS[name]
    assert {item.name for item in fields(schema)} == set(shown) - {"defaults"}
    assert choose([f"hydra/launcher={name}"])[0] == schema(name=name)


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("submitit_slurm", "submitit")])
def test_a_launcher_without_its_extra_says_what_to_install(name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match='pip install "leadline\\[(ray|slurm)\\]"'):
        build(choose([f"hydra/launcher={name}"])[0])


def test_slurm_without_slurm_says_where_to_call_it(monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="got none on this machine; call it on a login node"):
        build(choose(["hydra/launcher=submitit_slurm"])[0])


# In this process ---------------------------------------------------------------------------------


def test_basic_computes_here_and_tells_what_became_of_each(tmp_path):
    good, other = tasks(tmp_path, seeds=(1, 2))
    wrong = a_task("wrong", tmp_path, ["model=logrg"])
    with build(choose([])[0]) as launcher, lock_held(other):
        told = {o.run_id: o for o in launcher.run([good, wrong, other], threading.Event())}
    assert is_done(good) and told[good.run_id] == TaskResult(
        run_id=good.run_id, state=TaskState.DONE
    )
    assert told["wrong"].state is TaskState.FAILED and not told["wrong"].transient
    assert told["wrong"].message.endswith("did you mean logreg?")
    assert told[other.run_id].state is TaskState.BUSY
    assert f"process {os.getpid()} on" in told[other.run_id].message


def lock_held(task):
    task.folder.mkdir(parents=True)
    return locks.hold(task.folder)


def patiently(stopping):
    """A run that begins, has the sweep stopped, and works on until it is told to end."""

    def compute(config):
        with processes.sigterm_as_stop() as notice, notice.finish_step_first():
            stopping()
            while not notice.requested:
                signal.sigtimedwait([], 0.01)
        raise processes.Preempted

    return compute


def test_a_stop_preempts_the_run_in_hand_and_nothing_new_begins(tmp_path, monkeypatch):
    stop = threading.Event()
    monkeypatch.setattr(run, "run", patiently(stop.set))
    before = signal.getsignal(signal.SIGTERM)
    with build(choose([])[0]) as launcher:
        told = list(launcher.run(tasks(tmp_path), stop))
    assert [outcome.state for outcome in told] == [TaskState.PREEMPTED]
    assert signal.getsignal(signal.SIGTERM) == before


def test_sigterm_during_a_run_stops_the_whole_sweep(tmp_path, monkeypatch):
    stop = threading.Event()
    monkeypatch.setattr(run, "run", patiently(lambda: os.kill(os.getpid(), signal.SIGTERM)))
    with build(choose([])[0]) as launcher:
        told = list(launcher.run(tasks(tmp_path), stop))
    assert [outcome.state for outcome in told] == [TaskState.PREEMPTED] and stop.is_set()


@pytest.mark.parametrize("within", [True, False])
def test_a_sweeper_that_answers_sigterm_hears_it(tmp_path, monkeypatch, within):
    heard = []
    compute = patiently(lambda: os.kill(os.getpid(), signal.SIGTERM))
    outside = signal.raise_signal
    monkeypatch.setattr(run, "run", compute if within else lambda config: outside(signal.SIGTERM))
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with build(choose([])[0]) as launcher:
            told = list(launcher.run(tasks(tmp_path), threading.Event()))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(told) == 1 and heard == [signal.SIGTERM]


@pytest.mark.parametrize(
    ("error", "transient", "memory"),
    [
        (run.RunFailed("x failed: torch.OutOfMemoryError: CUDA out of memory. Tried"), True, True),
        (run.RunFailed("x failed: MemoryError"), True, True),
        (run.RunFailed("x failed: rank 1 was killed (SIGKILL); the kernel does so"), True, True),
        (run.RunFailed("x failed: ValueError: loss is not finite"), False, False),
        (locks.LockLost("it was taken over by another worker"), True, False),
        (KeyError("a mistake of ours"), False, False),
    ],
)
def test_a_failure_is_transient_where_another_attempt_may_succeed(
    error, transient, memory, monkeypatch
):
    def fail(config):
        raise error

    monkeypatch.setattr(run, "run", fail)
    outcome = executing.execute(a_task(words=["model=majority"]))
    assert outcome.state is TaskState.FAILED and outcome.message
    assert (outcome.transient, outcome.memory) == (transient, memory)


def test_a_run_of_the_baseline_in_a_warm_worker_never_imports_torch(tmp_path):
    line = task_line(task(tmp_path, "model=logreg", "model.C=0.1", "data.fraction=0.2"))
    code = (
        "import sys; from leadline.studies.launchers.execute import execute;"
        "from leadline.studies.launchers.base import read_task;"
        f"outcome = execute(read_task({line!r}));"
        "print(outcome.state, 'torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.stdout == "done False\n", told.stderr


# Processes ---------------------------------------------------------------------------------------


def test_processes_make_the_same_records_to_the_last_bit(tmp_path):
    here = [*tasks(tmp_path / "here", "majority"), *tasks(tmp_path / "here", "knn_pca", (1,))]
    there = [*tasks(tmp_path / "there", "majority"), *tasks(tmp_path / "there", "knn_pca", (1,))]
    with build(choose([])[0]) as launcher:
        list(launcher.run(here, threading.Event()))
    with local("n_jobs=2") as launcher:
        # Two batches: the workers of the first do the second.
        told = list(launcher.run(there[:2], threading.Event()))
        pids = {worker.process.pid for worker in launcher.workers.values()}
        told += launcher.run(there[2:], threading.Event())
        assert pids == {worker.process.pid for worker in launcher.workers.values()}
    assert {outcome.state for outcome in told} == {TaskState.DONE} and len(told) == 4
    assert all(science_of(a) == science_of(b) for a, b in zip(here, there, strict=True))


def begun(launcher, tasks, then):
    """Give tasks one by one; `then` is called when the first has begun."""
    yield tasks[0]
    then(launcher)
    yield from tasks[1:]


def test_a_killed_worker_fails_its_run_alone_and_is_replaced(tmp_path):
    some = tasks(tmp_path, seeds=(1, 2))
    with local("n_jobs=1") as launcher:
        feed = begun(launcher, some, lambda launcher: launcher.workers[0,].kill())
        told = list(launcher.run(feed, threading.Event()))
    assert [(o.run_id, o.state) for o in told] == [
        (some[0].run_id, TaskState.FAILED),
        (some[1].run_id, TaskState.DONE),
    ]
    assert told[0].transient and told[0].memory and "killed (SIGKILL)" in told[0].message
    assert not some[0].folder.exists() and is_done(some[1])


def test_a_stop_ends_what_runs_and_begins_nothing(tmp_path):
    stop, some = threading.Event(), tasks(tmp_path)
    with local("n_jobs=1") as launcher:
        told = list(launcher.run(begun(launcher, some, lambda launcher: stop.set()), stop))
        assert not launcher.workers
    assert [(o.run_id, o.state) for o in told] == [(some[0].run_id, TaskState.PREEMPTED)]


def test_a_worker_stopped_by_somebody_else_is_a_reason_to_try_again():
    launcher = local("n_jobs=1")
    launcher.workers[0,] = Worker({"PYTHONHOME": "/nowhere"})
    told = launcher.after((0,), TaskResult(run_id="x", state=TaskState.PREEMPTED), stopping=False)
    assert told.transient and "told to stop" in told.message and not launcher.workers


def test_a_worker_that_cannot_start_says_why():
    worker = Worker({"PYTHONHOME": "/nowhere"})
    worker.give(a_task())
    outcome = worker.collect()
    worker.close()
    assert outcome.state is TaskState.FAILED and "its worker ended with exit code 1: " in (
        outcome.message
    )


@pytest.mark.slow
def test_networks_are_the_same_to_the_last_bit_in_processes_of_one_core(tmp_path):
    tiny = ("model.size=tiny", "train.epochs=1", "data.fraction=0.2")
    here, there = (
        [
            *tasks(tmp_path / place, "mlp", (1,), "train.epochs=3"),
            *tasks(tmp_path / place, "scbert", (1,), *tiny),
            *tasks(tmp_path / place, "scgpt", (1,), *tiny),
        ]
        for place in ("here", "there")
    )
    for launcher, some in (
        (build(choose([])[0]), here),
        (local("n_jobs=2", "threads=1"), there),
    ):
        with launcher:
            told = list(launcher.run(some, threading.Event()))
        assert [outcome.state for outcome in told] == 3 * [TaskState.DONE], told
    assert all(science_of(a) == science_of(b) for a, b in zip(here, there, strict=True))


SWEEP = """
import sys, threading
from leadline.studies.launchers import build, choose
from leadline.studies.launchers.base import read_task

def feed():
    yield read_task(sys.stdin.buffer.readline())
    print(launcher.workers[0,].process.pid, flush=True)
    sys.stdin.buffer.readline()

with build(choose(["hydra/launcher=local", "hydra.launcher.n_jobs=1"])[0]) as launcher:
    list(launcher.run(feed(), threading.Event()))
"""


def test_workers_end_when_the_sweeper_is_killed(tmp_path):
    command = [sys.executable, "-c", SWEEP]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sweep:
        sweep.stdin.write(task_line(task(tmp_path, "model=majority")))
        sweep.stdin.flush()
        worker = os.pidfd_open(int(sweep.stdout.readline()))
        sweep.kill()
        assert select.select([worker], [], [], 60)[0]
        os.close(worker)
    assert not list(tmp_path.rglob(locks.NAME))


class Busy:
    """Stands for a worker at work."""

    def __init__(self):
        self.task = a_task()


def begun_at_once(launcher, ranks):
    """Count the runs of so many ranks that begin before any ends; give the GPUs of each too."""
    gpus = []
    while (chosen := launcher.room_for(replace(a_task(), devices=ranks))) is not None:
        launcher.workers[chosen] = Busy()
        gpus.append(environment([launcher.places[k] for k in chosen]).get("CUDA_VISIBLE_DEVICES"))
    return len(gpus), gpus


def test_ranks_take_the_places_that_they_need():
    launcher = Processes(config.LocalLauncher(name="local", n_jobs=3, threads=2))
    two, eight = (replace(a_task(), devices=ranks) for ranks in (2, 8))
    assert launcher.room_for(eight) == (0, 1, 2)  # more than there is: alone
    launcher.workers[0,] = Busy()
    assert launcher.room_for(two) == (1, 2) and launcher.room_for(eight) is None
    assert environment(launcher.places[1:])[processes.SHARE] == "4"
    launcher.workers[1,] = Busy()
    assert launcher.room_for(two) is None
    launcher.workers[1,].task = None
    assert launcher.room_for(a_task()) == (1,)  # warm
    assert launcher.room_for(two) == (2, 1)


EIGHT = "0,1,2,3,4,5,6,7"


@pytest.mark.parametrize(
    ("words", "ranks", "at_once"),
    [
        (["gpus=4"], 4, 2),
        (["gpus=2"], 2, 4),
        (["gpus=2"], 4, 2),
        (["gpus=1"], 4, 2),
        (["gpus=1"], 1, 8),
        ([], 1, 8),
        ([], 4, 2),
        (["n_jobs=1"], 8, 1),
        (["n_jobs=3"], 2, 3),
    ],
)
def test_eight_gpus_are_all_used_and_none_twice(words, ranks, at_once, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", EIGHT)
    count, gpus = begun_at_once(local(*words), ranks)
    used = [name for group in gpus for name in group.split(",")]
    assert count == at_once and len(used) == len(set(used))
    assert all(len(group.split(",")) >= ranks for group in gpus)
    if at_once * ranks == 8:
        assert sorted(used) == EIGHT.split(",")


def test_gpus_are_shared_only_when_that_is_asked_for(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,GPU-ab")
    assert begun_at_once(local("gpus=0.5"), 1) == (6, ["4", "5", "GPU-ab"] * 2)
    # Two ranks of a run never share one.
    assert begun_at_once(local("gpus=0.5"), 2)[1][0] == "4,5"
    assert [place.gpus for place in local("gpus=2").places] == [("4", "5")]
    with pytest.raises(UserError, match="gpus=6 needs as many GPUs on this machine: got 3 of them"):
        local("gpus=6")
    with pytest.raises(UserError, match="needs GPUs of its own: got n_jobs=2 with 2 each, and GPU"):
        local("n_jobs=2", "gpus=2")
    with pytest.raises(UserError, match="got n_jobs=9 with 1 each, and GPUs for 3; .*gpus=0.5"):
        local("n_jobs=9")
    with pytest.raises(UserError, match="gpus is a share of one GPU, or a whole number: got 1.5"):
        local("gpus=1.5")


@pytest.mark.parametrize("hidden", ["", "-1", "-1,2"])
def test_gpus_can_be_hidden(hidden, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert [place.gpus for place in local("n_jobs=2").places] == [(), ()]


def test_a_worker_of_other_places_gives_way(monkeypatch):
    launcher = Processes(config.LocalLauncher(name="local", n_jobs=2))
    monkeypatch.setattr(Worker, "give", lambda worker, task: setattr(worker, "task", task))
    with launcher:
        for ranks, held in ((1, {(0,)}), (1, {(0,)}), (2, {(1, 0)}), (1, {(0,)})):
            task = replace(a_task(), devices=ranks)
            launcher.begin(task, launcher.room_for(task))
            assert set(launcher.workers) == held
            for worker in launcher.workers.values():
                worker.task = None


def test_processes_share_the_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    told = [environment([place]) for place in local("n_jobs=3").places]
    assert {place["OMP_NUM_THREADS"] for place in told} == {"2"}
    assert environment(local("n_jobs=16").places[:1])[processes.SHARE] == "1"
    assert len(local().places) == 8
    assert local("threads=5").places[0].threads == 5
    assert processes.available() == 8
    monkeypatch.setenv(processes.SHARE, "3")
    assert processes.available() == 3


texts = st.text(max_size=30)


@given(st.lists(texts, max_size=4), texts, st.integers(1, 9), st.integers(1, 9))
def test_tasks_survive_the_wire(words, name, attempt, devices):
    told = QueuedRun(
        run_id=name, words=tuple(words), runs_dir=name, attempt=attempt, devices=devices
    )
    line = task_line(told)
    assert line.count(b"\n") == 1 and read_task(line) == told


@given(texts, st.sampled_from(TaskState), st.booleans(), st.booleans())
def test_outcomes_survive_the_wire(message, state, transient, memory):
    told = TaskResult(run_id="x", state=state, message=message, transient=transient, memory=memory)
    line = outcome_line(told)
    assert line.count(b"\n") == 1 and read_outcome(line) == told
    assert json.loads(line)["state"] == state.value
