"""Sweeps that cannot be lost: scripted launchers for what goes wrong, real runs for the rest."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import AbstractContextManager

import pytest
import yaml

from leadline.cli import main
from leadline.cli.ablate import StopSignal, ablate, parse_words
from leadline.config.compose import compose
from leadline.errors import UserError
from leadline.locks import NAME, hold
from leadline.runs import record
from leadline.runs.record import DONE, FAILED, State
from leadline.runs.run import run as compute
from leadline.studies import expand, name_runs, read
from leadline.studies.launchers.base import TaskResult, TaskState
from leadline.studies.launchers.in_process import Basic
from leadline.studies.sweep import RunOutcome, sweep
from records import seal_without_results

ARMS = {"reference": {"model": "nearest_centroid"}, "majority": {"model": "majority"}}
STUDY = {"question": "Better than guessing?", "arms": ARMS, "grid": {"seed": [1, 2]}}
NETWORKS = {
    "question": "Does pretraining help?",
    "pretraining": {"body": {"model": "scbert", "model.size": "tiny", "train": "pretrain_tiny"}},
    "arms": {
        "reference": {"model": "scbert", "model.size": "tiny", "model.pretrained": "@body"},
        "scratch": {"model": "scbert", "model.size": "tiny"},
    },
}


class Scripted(AbstractContextManager):
    """A launcher that does what it is told for each run, and then the next thing."""

    def __init__(self, script=None):
        self.script, self.tasks = script or {}, []

    def __exit__(self, *error):
        return None

    def run(self, tasks, stop):
        for task in list(tasks):
            if stop.is_set():
                return
            self.tasks.append(task)
            steps = self.script.get(task.run_id)
            act = steps.pop(0) if steps else done
            outcome = act(task)
            if outcome is not None:
                yield outcome


def done(task):
    seal_without_results(task.folder)
    return TaskResult(run_id=task.run_id, state=TaskState.DONE)


def fails(message, **more):
    def act(task):
        return TaskResult(run_id=task.run_id, state=TaskState.FAILED, message=message, **more)

    return act


def busy(task):
    return TaskResult(run_id=task.run_id, state=TaskState.BUSY, message="process 1 works on it")


def preempted(task):
    return TaskResult(run_id=task.run_id, state=TaskState.PREEMPTED)


def lies(task):
    return TaskResult(run_id=task.run_id, state=TaskState.DONE)


def silent(task):
    return None


@pytest.fixture
def study(tmp_path):
    def written(content, name="small"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return str(path)

    return written


@pytest.fixture
def planned(study, tmp_path):
    def runs_of(content=STUDY, *words):
        return name_runs(expand(read(study(content)), [f"runs_dir={tmp_path}/runs", *words]))

    return runs_of


def fates(ends):
    return [end.fate for end in ends]


def swept(runs, launcher, **more):
    return sweep(runs, launcher, stop=more.pop("stop", threading.Event()), **more)


def test_all_is_made_once(planned):
    runs, launcher = planned(), Scripted()
    assert fates(swept(runs, launcher)) == [RunOutcome.DONE] * 4
    assert [task.run_id for task in launcher.tasks] == [run.run_id for run in runs]
    assert fates(swept(runs, launcher)) == [RunOutcome.HAD] * 4
    assert len(launcher.tasks) == 4


def test_a_failure_stops_nobody_else(planned):
    runs = planned()
    launcher = Scripted({runs[0].run_id: [fails("no such thing")]})
    ends = swept(runs, launcher, retries=3)
    assert fates(ends) == [RunOutcome.FAILED, RunOutcome.DONE, RunOutcome.DONE, RunOutcome.DONE]
    assert ends[0].message == "no such thing" and len(launcher.tasks) == 4


def test_transient_failures_are_tried_again(planned):
    runs = planned()
    lost = fails("the worker died", transient=True)
    launcher = Scripted({runs[0].run_id: [lost], runs[1].run_id: [lost, lost, lost]})
    ends = swept(runs, launcher, retries=2)
    assert fates(ends) == [RunOutcome.DONE, RunOutcome.FAILED, RunOutcome.DONE, RunOutcome.DONE]
    assert [task.attempt for task in launcher.tasks if task.run_id == runs[1].run_id] == [1, 2, 3]
    assert fates(swept(runs, Scripted({runs[1].run_id: [lost]}), retries=0))[1] is RunOutcome.FAILED


def test_out_of_memory_means_fewer_cells_at_a_time(planned):
    content = {"question": "?", "arms": {"reference": {"model": "mlp"}}}
    (run,) = planned(content, "train.batch_size=32", "train.micro_batch=24")
    full = fails("out of memory", transient=True, memory=True)
    launcher = Scripted({run.run_id: [full, full, fails("lost", transient=True)]})
    assert fates(swept([run], launcher, retries=5)) == [RunOutcome.DONE]
    configs = [compose(task.words) for task in launcher.tasks]
    assert [config.train.micro_batch for config in configs] == ["24", "12", "6", "6"]
    (again,) = planned(content, "train.batch_size=32", "train.micro_batch=6")
    assert again.run_id == run.run_id, "it is the same science"


def test_a_pretraining_comes_first_and_takes_its_runs_along(planned):
    runs = planned(NETWORKS)
    body, started, scratch = runs
    launcher = Scripted()
    assert fates(swept(runs, launcher)) == [RunOutcome.DONE] * 3
    order = [task.run_id for task in launcher.tasks]
    assert order.index(body.run_id) < order.index(started.run_id)
    for run in runs:
        (run.folder / DONE).unlink()
    launcher = Scripted({body.run_id: [fails("no corpus")]})
    ends = swept(runs, launcher)
    assert fates(ends) == [RunOutcome.FAILED, RunOutcome.FAILED, RunOutcome.DONE]
    assert f"{body.run_id} failed, which it starts from" in ends[1].message
    assert started.run_id not in {task.run_id for task in launcher.tasks}


def test_a_launcher_that_lies_or_says_nothing_is_found_out(planned):
    runs = planned()
    launcher = Scripted({runs[0].run_id: [lies], runs[1].run_id: [silent, silent]})
    ends = swept(runs, launcher)
    assert fates(ends) == [RunOutcome.FAILED, RunOutcome.FAILED, RunOutcome.DONE, RunOutcome.DONE]
    assert "said to be done, but" in ends[0].message
    assert ends[1].message == "the launcher lost it"


def test_preempted_runs_go_on_and_are_left_in_the_end(planned):
    runs = planned()
    launcher = Scripted({runs[0].run_id: [preempted], runs[1].run_id: [preempted] * 9})
    assert fates(swept(runs, launcher)) == [
        RunOutcome.DONE,
        RunOutcome.LEFT,
        RunOutcome.DONE,
        RunOutcome.DONE,
    ]


def test_what_others_make_is_waited_for(planned, monkeypatch):
    monkeypatch.setattr("leadline.studies.sweep.SECONDS_BETWEEN_LOOKS", 0.0)
    runs = planned()
    for run in runs:
        run.folder.mkdir(parents=True)
    first, second, third, _ = runs
    others = [hold(run.folder) for run in (first, second, third)]
    for other in others:
        other.__enter__()

    class Looks:
        """Stop at no time; at each look the others get further."""

        count = 0

        def is_set(self):
            return False

        def wait(self, seconds):
            self.count += 1
            if self.count == 1:
                seal_without_results(first.folder)
                others[0].__exit__(None, None, None)
            elif self.count == 2:
                (second.folder / FAILED).write_text("Traceback\nValueError: it broke there\n")
                others[1].__exit__(None, None, None)
            else:
                others[2].__exit__(None, None, None)

    launcher = Scripted()
    ends = swept(runs, launcher, stop=Looks())
    assert fates(ends) == [RunOutcome.DONE, RunOutcome.FAILED, RunOutcome.DONE, RunOutcome.DONE]
    assert ends[1].message == "ValueError: it broke there"
    made = {task.run_id for task in launcher.tasks}
    assert made == {third.run_id, runs[3].run_id}, "the third was dropped by its owner"


def test_a_busy_run_is_looked_at_again(planned, monkeypatch):
    monkeypatch.setattr("leadline.studies.sweep.SECONDS_BETWEEN_LOOKS", 0.0)
    runs = planned()
    launcher = Scripted({runs[0].run_id: [busy, busy]})
    assert fates(swept(runs, launcher)) == [RunOutcome.DONE] * 4
    assert [task.run_id for task in launcher.tasks].count(runs[0].run_id) == 3


def test_once_stopped_nothing_begins(planned):
    runs, stop = planned(), threading.Event()

    def stops(task):
        stop.set()
        return done(task)

    launcher = Scripted({runs[1].run_id: [stops]})
    ends = swept(runs, launcher, stop=stop)
    assert fates(ends) == [RunOutcome.DONE, RunOutcome.DONE, RunOutcome.LEFT, RunOutcome.LEFT]
    assert fates(swept(runs, Scripted())) == [
        RunOutcome.HAD,
        RunOutcome.HAD,
        RunOutcome.DONE,
        RunOutcome.DONE,
    ]


def test_a_lock_left_on_a_finished_run_is_tidied(planned):
    runs = planned()
    swept(runs, Scripted())
    (runs[0].folder / NAME).write_text('{"token": "x", "host": "gone", "pid": 1}')
    os.utime(runs[0].folder / NAME, (1, 1))
    swept(runs, Scripted())
    assert not (runs[0].folder / NAME).exists()


def test_a_study_from_the_command_line(study, tmp_path, capsys):
    words = [study(STUDY), f"runs_dir={tmp_path}/runs"]
    assert main(["ablate", *words]) == 0
    told = capsys.readouterr().out
    assert "Better than guessing?" in told and "4 runs, 4 done now, 0 already there" in told
    assert main(["ablate", *words, "seed=1,2,3"]) == 0
    assert "6 runs, 2 done now, 4 already there, 0 failed; 0 to do" in capsys.readouterr().out
    assert not list((tmp_path / "runs").glob(f"*/{NAME}"))
    for folder in (tmp_path / "runs").glob("majority*"):
        assert record.verify(folder) == []
        facts = record.read_facts(folder)
        assert (facts["study"], facts["arm"]) == ("small", "majority")


def test_an_arm_that_always_fails(study, tmp_path, capsys):
    # A foreign file of weights: refused by the run, long after the plan was made.
    broken = {"model": "scbert", "model.size": "tiny", "model.pretrained": str(tmp_path / "w.pth")}
    (tmp_path / "w.pth").write_bytes(b"no weights at all")
    content = {**STUDY, "arms": {**ARMS, "broken": broken}}
    words = [study(content), f"runs_dir={tmp_path}/runs"]
    assert main(["ablate", *words]) == 1
    told = capsys.readouterr().out
    assert "failed in broken (2 runs" in told and "w.pth" in told
    assert "6 runs, 4 done now, 0 already there, 2 failed; 2 to do" in told
    assert "to try again:\n  leadline ablate" in told
    assert main(["ablate", *words]) == 1
    assert "0 done now, 4 already there, 2 failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["retries=x"], "retries must be a whole number from 0 on: got 'retries=x'"),
        (["retries=1", "retries=2"], "each setting may be given once"),
        (["hydra/launcher=locl"], "hydra/launcher must be one of .*did you mean local?"),
        (["hydra.launcher.njobs=2", "hydra/launcher=local"], "did you mean n_jobs?"),
    ],
)
def test_mistakes_about_the_sweep(words, message):
    with pytest.raises(UserError, match=message):
        parse_words(words)


def test_words_about_the_sweep_are_no_settings():
    asked = parse_words(["seed=1", "retries=4", "hydra/launcher=local", "hydra.launcher.n_jobs=2"])
    assert asked.retries == 4 and asked.overrides == ("seed=1",)
    assert asked.launcher.n_jobs == 2


def test_runs_dir_that_cannot_be_made(study, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="runs_dir must be a folder that can be written to"):
        ablate(study(STUDY), [f"runs_dir={tmp_path}/file/runs"])


def test_the_first_signal_asks_the_second_insists():
    stop = StopSignal()
    stop.on_signal(signal.SIGINT, None)
    assert stop.event.is_set()
    with pytest.raises(KeyboardInterrupt):
        stop.on_signal(signal.SIGINT, None)


# What follows kills and races real sweepers, in processes of their own.

MANY = {
    "question": "Is anything lost?",
    "arms": {
        "reference": {"model": "nearest_centroid"},
        "majority": {"model": "majority"},
        "mlp": {"model": "mlp"},
    },
    "base": {"train.epochs": 4, "train.threads": 1},
    "grid": {"seed": [1, 2, 3, 4], "data.fraction": [0.2, 1.0]},
}


def started(words, **more):
    called = [sys.executable, "-m", "leadline.cli", "ablate", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(called, start_new_session=True, **pipes, **more)


def wait_for(condition, process, seconds=120.0):
    until = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < until:
        threading.Event().wait(0.02)


def marks(runs_dir):
    """When each finished run was sealed: a run that is made again gets another mark."""
    return {path.parent.name: path.stat().st_mtime_ns for path in runs_dir.glob(f"*/{DONE}")}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "local"])
def test_kill_at_ten_random_moments(study, tmp_path, launcher):
    runs_dir, rng = tmp_path / "runs", random.Random(7)
    words = [study(MANY), f"runs_dir={runs_dir}", f"hydra/launcher={launcher}"]
    if launcher == "local":
        words.append("hydra.launcher.n_jobs=2")
    known = {}
    for _ in range(10):
        process = started(words)
        target = len(known) + rng.randint(0, 3)
        wait_for(lambda target=target: len(marks(runs_dir)) >= target, process)
        wait_for(lambda: bool(list(runs_dir.glob(f"*/{NAME}"))), process, rng.random())
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        now = marks(runs_dir)
        assert known.items() <= now.items(), "what was done was made again or lost"
        known = now
    process = started(words)
    told, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert "0 to do" in told
    assert known.items() <= marks(runs_dir).items() and len(marks(runs_dir)) == 24
    assert not list(runs_dir.glob(f"*/{NAME}")), "a lock was left behind"
    for folder in runs_dir.glob(f"*/{DONE}"):
        assert record.verify(folder.parent) == []


@pytest.mark.slow
def test_two_sweepers_share_the_work(study, tmp_path):
    runs_dir = tmp_path / "runs"
    words = [study(MANY), f"runs_dir={runs_dir}"]
    both = [started(words) for _ in range(2)]
    told = [process.communicate(timeout=600) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert len(marks(runs_dir)) == 24
    for folder in sorted(path.parent for path in runs_dir.glob(f"*/{DONE}")):
        text = (folder / record.LOG).read_text()
        assert text.count(" starts: ") == 1, f"{folder.name} was made twice"
    made = [len(set(seeds_started(errors))) for _, errors in told]
    assert sum(made) == 24 and min(made) > 0, made


def seeds_started(errors):
    return [line.partition(" starts: ")[0] for line in errors.splitlines() if " starts: " in line]


@pytest.mark.slow
def test_ctrl_c_once_leaves_checkpoints_and_says_how_to_go_on(study, tmp_path):
    content = {**MANY, "arms": {"reference": {"model": "mlp"}}, "base": {"train.epochs": 300}}
    content["grid"] = {"seed": [1, 2]}
    runs_dir = tmp_path / "runs"
    words = [study(content), f"runs_dir={runs_dir}", "train.threads=1"]
    process = started(words)
    wait_for(lambda: bool(list(runs_dir.glob("*/checkpoints/last.pt"))), process)
    os.kill(process.pid, signal.SIGINT)
    told, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    assert "stopped; what ran has a checkpoint. Go on with:\n  leadline ablate" in told
    assert "2 to do" in told
    (begun,) = [path.parent.name for path in runs_dir.glob("*/checkpoints")]
    assert not list(runs_dir.glob(f"*/{NAME}"))
    process = started(words)
    told, errors = process.communicate(timeout=600)
    assert process.returncode == 0 and "goes on in epoch" in (
        (runs_dir / begun / record.LOG).read_text()
    )


def test_basic_makes_real_records(planned):
    runs = planned(STUDY, "seed=1")
    assert fates(swept(runs, Basic())) == [RunOutcome.DONE] * 2
    assert {run.state() for run in runs} == {State.DONE}
    assert compute(runs[0].config) == runs[0].folder


def test_hydra_s_multirun_goes_through_the_same_sweep(tmp_path, capsys):
    words = ["model=majority,nearest_centroid", "seed=1,2", f"runs_dir={tmp_path}/runs"]
    assert main(["run", "--multirun", *words, "hydra/launcher=basic", "retries=0"]) == 0
    assert "4 runs, 4 done now" in capsys.readouterr().out
    assert main(["run", "-m", *words]) == 0
    assert "4 already there, 0 failed; 0 to do" in capsys.readouterr().out
    facts = record.read_facts(next((tmp_path / "runs").glob("majority*")))
    assert (facts["study"], facts["arm"]) == (None, "majority")
    assert main(["run", "-m", "model=majorty,logreg"]) == 2
    assert "did you mean majority?" in capsys.readouterr().err
