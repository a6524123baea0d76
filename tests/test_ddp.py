"""Real processes over gloo: 1 = 2 = 3 ranks, and no rank is left behind.

A model joins by a line in MODELS: its losses and predictions are then compared over world sizes.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from leadline import cli, distributed
from leadline.config.compose import compose
from leadline.distributed import World, expand_counts, first_host, from_environment, share_of
from leadline.errors import UserError
from leadline.locks import started
from leadline.processes import Preempted
from leadline.runs import record
from leadline.runs.record import State
from leadline.runs.run import run
from leadline.training import ranks as launch
from networks import CollapsedScbert, Partly, TinyScbert, fit_and_predict, tiny_scgpt

# What to fit → options of networks.classifier, and the cells.
MODELS = {
    "mlp with dropout": {},
    "uneven last batch": {"options": {"batch_size": 7}},
    "fewer cells than ranks": {"cells": {"sizes": (2, 2)}, "options": {"batch_size": 1}},
    "weighted loss": {"options": {"class_weights": "train"}},
    "weighted by the whole set": {
        "options": {"class_weights": "whole", "whole_K": np.array([9, 3, 100])}
    },
    "accumulation of 4": {"options": {"micro_batch": "1", "batch_size": 12}},
    "clipped": {"options": {"clip": 0.01}},
    "frozen and unused": {"options": {"model": Partly, "optimiser": "adamw", "weight_decay": 0.1}},
    "fixed order": {"options": {"order": "fixed"}},
    "drawn with replacement": {"options": {"order": "replacement"}},
    "scbert": {"options": {"model": TinyScbert, "lr": 0.01}},
    "scbert collapsed": {"options": {"model": CollapsedScbert, "lr": 0.01}},
    "bf16": {"options": {"amp": "bf16"}},
    "fp16": {"options": {"amp": "fp16"}},
    "scgpt": {
        "cells": {"sizes": (12, 10, 8)},
        "options": {"model": tiny_scgpt, "epochs": 2, "lr": 1e-4},
    },
}
# bf16 keeps three digits: where sums are cut otherwise, they round otherwise.
LOOSE = {"bf16": 5e-3, "fp16": 5e-3}


def fit_all(world, notice):
    """Fit every model on one rank of several; all ranks must predict the same."""
    found = {name: fit_and_predict(world, notice, **words) for name, words in MODELS.items()}
    for _, proba, _ in found.values():
        for other in distributed.all_gather_objects(proba, world):
            np.testing.assert_array_equal(other, proba)
    return found


@pytest.fixture(scope="module")
def single():
    return {name: fit_and_predict(**words) for name, words in MODELS.items()}


@pytest.fixture(scope="module", params=[pytest.param(2, marks=pytest.mark.slow), 3])
def several(request):
    return request.param, launch.ranks(request.param, "cpu", fit_all)


def test_one_two_and_three_ranks_give_the_same(single, several):
    size, found = several
    assert set(found) == set(single)
    for name, (rows, proba, facts) in found.items():
        expected_rows, expected_proba, _ = single[name]
        limit = LOOSE.get(name, 1e-5)
        for row, expected in zip(rows, expected_rows, strict=True):
            for key in ("train_loss", "selection_loss"):
                assert row[key] == pytest.approx(expected[key], abs=limit), name
        np.testing.assert_allclose(proba, expected_proba, atol=limit, err_msg=name)
        if name not in LOOSE:
            np.testing.assert_array_equal(proba.argmax(1), expected_proba.argmax(1), name)
        assert facts["execution"]["world_size"] == size


# Whole runs

WORDS = ["model=mlp", "model.hidden=[32]", "seed=3", "train.device=cpu"]


def test_a_run_on_two_ranks_is_the_run_on_one(tmp_path, capfd):
    words = [*WORDS, "train.epochs=4"]
    folders = [
        run(compose([*words, f"runs_dir={tmp_path / str(n)}", f"train.devices={n}"]))
        for n in (1, 2)
    ]
    assert folders[0].name == folders[1].name
    parts = [record.read_predictions(folder)[0] for folder in folders]
    for part in ("test", "val"):
        one, two = (said[part] for said in parts)
        np.testing.assert_array_equal(one.ids, two.ids)
        np.testing.assert_array_equal(one.predicted_C, two.predicted_C)
        np.testing.assert_allclose(one.proba_CK, two.proba_CK, atol=1e-3)
    facts = record.read_facts(folders[1])
    assert facts["provenance"]["world_size"] == 2 and facts["cost"]["cells_at_a_time"] == 16
    shown = capfd.readouterr()
    assert shown.err.count("epoch 1 of 4: ") == 2  # once for each run: rank 0 alone speaks
    assert (folders[1] / "log.txt").read_text().count("epoch 4 of 4: ") == 1


def start(tmp_path, *words, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "leadline.cli", "run", *WORDS, f"runs_dir={tmp_path}", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


def read_until(process, beginning):
    """Read what a process tells until a line begins so."""
    for line in process.stderr:
        if line.startswith(beginning):
            return
    raise AssertionError(f"the process ended without a line {beginning!r}")


def ranks_of(parent):
    """List the processes below one that do its ranks' work, with marks of when they began."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            above = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            words = (path / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if above == parent and b"spawn_main" in words:
            found[int(path.name)] = started(int(path.name))
    return dict(sorted(found.items()))


def gone(processes):
    return [pid for pid, mark in processes.items() if started(pid) == mark] == []


def end_of(process, seconds=30):
    """Wait for a process that must end by itself; the limit is the requirement."""
    try:
        _, said = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return said


def test_one_rank_killed_ends_the_run_with_the_reason_and_without_orphans(tmp_path):
    process = start(tmp_path, "train.devices=2", "train.epochs=2000")
    read_until(process, "epoch 2 of")
    ranks = ranks_of(process.pid)
    assert len(ranks) == 2
    os.kill(list(ranks)[-1], signal.SIGKILL)
    said = end_of(process)
    assert process.returncode == cli.FAILED and gone(ranks)
    (folder,) = tmp_path.glob("mlp*")
    assert record.state(folder) is State.FAILED
    reason = (folder / "FAILED").read_text()
    assert reason.startswith("rank ") and "was killed (SIGKILL)" in reason.splitlines()[0]
    assert "was killed (SIGKILL)" in said and "Traceback" not in said
    # What was learnt is not lost.
    assert (folder / "checkpoints" / "last.pt").exists()


@pytest.mark.slow
def test_ranks_do_not_outlive_whoever_started_them(tmp_path):
    process = start(tmp_path, "train.devices=2", "train.epochs=2000")
    read_until(process, "epoch 2 of")
    ranks = ranks_of(process.pid)
    process.kill()
    process.communicate()
    for _ in range(200):
        if gone(ranks):
            break
        time.sleep(0.05)  # Nobody tells when a stranger's process has ended.
    assert gone(ranks)


@pytest.mark.slow
def test_sigterm_to_two_ranks_saves_and_another_world_size_goes_on(tmp_path):
    words = ["train.epochs=40"]
    undisturbed = start(tmp_path / "a", *words)
    end_of(undisturbed, 120)
    for devices in (2, 3, 1):
        process = start(tmp_path / "b", *words, f"train.devices={devices}")
        read_until(process, "epoch ")
        if devices > 1:
            process.send_signal(signal.SIGTERM)
        said = end_of(process, 120)
        assert process.returncode == (cli.REQUEUE if devices > 1 else cli.GOOD), said
    (one,), (other,) = ((tmp_path / name).glob("mlp*") for name in "ab")
    facts = record.read_facts(other)
    assert facts["cost"]["attempts"] == 3
    expected = record.read_facts(one)
    assert facts["metrics"]["test"]["accuracy"] == expected["metrics"]["test"]["accuracy"]
    assert facts["selected"] == expected["selected"]


def fails_on_rank_one(world, notice, kind):
    if world.rank == 1:
        if kind == "mistake":
            raise UserError("a rule", got="this", remedy="do that")
        if kind == "stop":
            raise Preempted
        raise ValueError("the second rank is broken")
    return distributed.all_reduce(torch.ones(1))


def test_a_rank_that_raises_is_quoted():
    with pytest.raises(launch.RankFailed) as caught:
        launch.ranks(2, "cpu", fails_on_rank_one, "error")
    first = str(caught.value).split("\n\n")[0]
    assert first.startswith("rank 1 on ") and first.endswith("the second rank is broken")
    assert "Traceback" in first
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_rank_killed_before_it_could_speak_keeps_nobody_waiting(monkeypatch):
    monkeypatch.setattr(distributed, "LAST_WORD_SECONDS", 0.01)
    store = torch.distributed.HashStore()
    store.set_timeout(timedelta(seconds=60))
    store.add(distributed.FAILURES, 1)  # It took its place, and was killed.
    distributed.report_failure(store, 3, "what the other says")
    (said,) = distributed.failures(store)
    assert said.startswith("rank 3 on ") and said.endswith("what the other says")


def hangs_while_another_dies(world, notice):
    """Be a rank that hangs where no signal is answered, as in a collective of NCCL."""
    if world.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    time.sleep(600)


@pytest.mark.slow
def test_a_rank_that_hangs_does_not_keep_a_failed_run_alive():
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=launch_hanging)
    process.start()
    process.join(timeout=15 + 30)  # 15 to start; the 30 are the requirement
    assert process.exitcode == 0


def launch_hanging():
    with pytest.raises(launch.RankFailed, match=r"rank 1 was killed \(SIGKILL\)"):
        launch.ranks(2, "cpu", hangs_while_another_dies)


@pytest.mark.slow
def test_a_users_mistake_on_one_rank_stays_a_users_mistake():
    with pytest.raises(UserError, match="a rule: got this; do that"):
        launch.ranks(2, "cpu", fails_on_rank_one, "mistake")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["torchrun", "srun"])
def test_other_launchers_start_the_same_ranks(how, tmp_path):
    """The `srun` here is its environment, which is all that leadline reads of it."""
    settings = [*WORDS, "train.epochs=4"]
    words = ["-m", "leadline.cli", "run", *settings, f"runs_dir={tmp_path / 'b'}"]
    if how == "torchrun":
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        subprocess.run([*torchrun, "--nproc-per-node=2", *words], check=True, timeout=120)
    else:
        job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "127.0.0.1"}
        job |= {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "2"}
        tasks = [
            subprocess.Popen(
                [sys.executable, *words],
                env=os.environ | job | {"SLURM_PROCID": str(r), "SLURM_LOCALID": str(r)},
            )
            for r in range(2)
        ]
        assert [task.wait(timeout=120) for task in tasks] == [0, 0]
    (found,) = (tmp_path / "b").glob("mlp*")
    expected = run(compose([*settings, f"runs_dir={tmp_path / 'a'}"]))
    one, two = (record.read_predictions(f)[0]["test"] for f in (expected, found))
    np.testing.assert_array_equal(one.predicted_C, two.predicted_C)
    assert record.read_facts(found)["provenance"]["world_size"] == 2


# Who is who


def test_the_world_is_read_from_the_launchers_words():
    assert from_environment({}) == World()
    assert from_environment({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}) == World()
    agent = {"TORCHELASTIC_RUN_ID": "x", "RANK": "5", "WORLD_SIZE": "8"}
    agent |= {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    assert from_environment(agent) == World(rank=5, size=8, local_rank=1, local_size=4)
    step = {"SLURM_STEP_NUM_TASKS": "5", "SLURM_PROCID": "4", "SLURM_LOCALID": "0"}
    step |= {"SLURM_STEP_TASKS_PER_NODE": "2(x2),1", "SLURM_NODEID": "2"}
    assert from_environment(step) == World(rank=4, size=5, local_rank=0, local_size=1)


@pytest.mark.parametrize(
    ("nodes", "host"),
    [("n1", "n1"), ("n1,n2", "n1"), ("gpu[07-09,12]", "gpu07"), ("a,b[1-2]", "a")],
)
def test_the_first_host_of_slurms_list(nodes, host):
    assert first_host(nodes) == host
    place = {"SLURM_JOB_ID": "77", "SLURM_STEP_NODELIST": nodes}
    assert distributed.meeting_point(place)[0] == host


def test_shares_hold_every_cell_once_and_tasks_are_counted():
    assert expand_counts("2(x3),1") == [2, 2, 2, 1]
    rows = np.arange(7)
    for size in (1, 2, 3, 10):
        shares = [share_of(rows, rank, size) for rank in range(size)]
        np.testing.assert_array_equal(np.concatenate(shares), rows)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_more_devices_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="needs a GPU of its own: got 2 devices and 1 GPUs"):
        distributed.pick_device("auto", World(size=2, local_size=2))
    assert distributed.pick_device("cpu", World(size=2, local_size=2)).type == "cpu"
    assert distributed.pick_device("auto", World()) == torch.device("cuda", 0)
