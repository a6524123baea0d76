"""Real processes over gloo: 1 = 2 = 3 = 4 ranks, and no rank is left behind.

A model joins by a line in MODELS: its losses and predictions are then compared over world sizes.
"""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from leadline import cli, distributed
from leadline.config import MlpConfig
from leadline.config.compose import compose
from leadline.distributed import World, expand_counts, first_host, from_environment, share_of
from leadline.errors import UserError
from leadline.locks import started
from leadline.models.mlp import Mlp
from leadline.processes import Preempted
from leadline.runs import record
from leadline.runs.record import State
from leadline.runs.run import RunFailed, failures_told, run
from leadline.training import ranks as launch
from leadline.training.build import caveats_of
from networks import (
    CollapsedScbert,
    CrampedScbert,
    FrozenScbert,
    Mixing,
    Partly,
    PublishedScbert,
    TinyScbert,
    classifier,
    fit_and_predict,
    halves,
    tiny_scgpt,
)

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
    "scbert frozen": {"options": {"model": FrozenScbert, "lr": 0.01}},
    "scbert collapsed": {"options": {"model": CollapsedScbert, "lr": 0.01}},
    "scbert as published": {"options": {"model": PublishedScbert, "lr": 0.01}},
    "activations computed again": {
        "options": {"model": TinyScbert, "lr": 0.01, "activation_checkpointing": True}
    },
    "bf16": {"options": {"amp": "bf16"}},
    "fp16": {"options": {"amp": "fp16"}},
    "scgpt": {
        "cells": {"sizes": (12, 10, 8)},
        "options": {"model": tiny_scgpt, "epochs": 2, "lr": 1e-4},
    },
}
# What ranks may change in a loss, relative to it: rounding, but bf16 keeps three digits, and the
# published stabiliser sees all cells of a micro-batch.
ROUNDING = 1e-7
LOOSE = {"bf16": 5e-3, "fp16": 5e-3, "scbert as published": 1e-3}


def fit_all(world, notice, device="cpu"):
    """Fit every model on one rank of several; all ranks must predict the same."""
    on = {"device": distributed.pick_device(device, world)}
    found = {
        name: fit_and_predict(world, notice, **words | {"options": on | words.get("options", {})})
        for name, words in MODELS.items()
    }
    for _, proba, _ in found.values():
        for other in distributed.all_gather_objects(proba, world):
            np.testing.assert_array_equal(other, proba)
    return found


@pytest.fixture(scope="module")
def single():
    return {name: fit_and_predict(**words) for name, words in MODELS.items()}


@pytest.fixture(scope="module", params=[2, 3, pytest.param(4, marks=pytest.mark.slow)])
def several(request):
    return request.param, launch.ranks(request.param, "cpu", fit_all)


def test_any_number_of_ranks_gives_what_one_gives(single, several):
    size, found = several
    assert set(found) == set(single)
    for name, (rows, proba, facts) in found.items():
        expected_rows, expected_proba, _ = single[name]
        limit = LOOSE.get(name, ROUNDING)
        for row, expected in zip(rows, expected_rows, strict=True):
            for key in ("train_loss", "selection_loss"):
                assert row[key] == pytest.approx(expected[key], rel=limit), name
        np.testing.assert_allclose(proba, expected_proba, atol=10 * limit, err_msg=name)
        if name not in LOOSE:
            np.testing.assert_array_equal(proba.argmax(1), expected_proba.argmax(1), name)
        assert facts["execution"]["world_size"] == size


def fit_where_one_is_cramped(world=None, notice=None):
    """Fit where rank 1 has memory for 20 cells; then measure what it changes to batch cells."""
    if world is not None and world.rank == 1:
        CrampedScbert.room = 20
    train, test = halves(sizes=(120, 120, 120))
    learner = classifier(CrampedScbert(), world, batch_size=160, epochs=2, lr=0.01)
    fit = learner.fit(train, test)
    said = learner.effect_of_batches(test)
    # A model whose kernels mix cells on one rank only, as a fused one may.
    model = Mlp(MlpConfig(name="mlp")) if world is not None and world.rank == 0 else Mixing()
    caveats = caveats_of(model, learner.setting)
    return fit.epochs, learner.predict_proba(test), learner.block, [*fit.warnings, *said], caveats


def test_memory_short_on_one_rank_changes_nothing_but_the_micro_batch():
    rows, proba, block, said, caveats = launch.ranks(2, "cpu", fit_where_one_is_cramped)
    expected_rows, expected, _, expected_said, _ = fit_where_one_is_cramped()
    assert caveats == Mixing().caveats()  # what one rank says of batches all say
    assert block == 20 and len(said) == len(expected_said) == 2
    np.testing.assert_allclose(proba, expected, atol=1e-4)  # this stabiliser sees micro-batches
    for row, other in zip(rows, expected_rows, strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)


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
    settings = [*WORDS, "train.epochs=4"]
    words = ["-m", "leadline.cli", "run", *settings, f"runs_dir={tmp_path / 'b'}"]
    if how == "torchrun":
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        subprocess.run([*torchrun, "--nproc-per-node=2", *words], check=True, timeout=120)
    else:
        tasks = tasks_of_srun(words, [])
        for task in tasks:
            task.communicate(timeout=120)
        assert [task.returncode for task in tasks] == [0, 0]
    (found,) = (tmp_path / "b").glob("mlp*")
    expected = run(compose([*settings, f"runs_dir={tmp_path / 'a'}"]))
    one, two = (record.read_predictions(f)[0]["test"] for f in (expected, found))
    np.testing.assert_array_equal(one.predicted_C, two.predicted_C)
    assert record.read_facts(found)["provenance"]["world_size"] == 2


# What a rank does whose writing of the record waits for a word on stdin.
WRITES_LATE = """
import sys
from datetime import timedelta
from leadline import cli, distributed
from leadline.runs.record import Record
write = Record.write_facts
Record.write_facts = lambda *words: (sys.stdin.readline(), write(*words))
distributed.PATIENCE = timedelta(seconds=20)
from leadline.cli import main
raise SystemExit(main(sys.argv[1:]))
"""


def tasks_of_srun(code, words, count=2):
    """Start processes in the environment of srun, which is all that leadline reads of it."""
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "127.0.0.1"}
    job |= {"SLURM_STEP_NUM_TASKS": str(count), "SLURM_STEP_TASKS_PER_NODE": str(count)}
    return [
        subprocess.Popen(
            [sys.executable, *code, *words],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | job | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
        )
        for rank in range(count)
    ]


def test_nobody_waits_for_rank_0_to_write_the_record(tmp_path):
    words = ["run", *WORDS, "train.epochs=1", f"runs_dir={tmp_path}"]
    leader, other = tasks_of_srun(["-c", WRITES_LATE], words)
    other.communicate(timeout=120)
    assert other.returncode == 0 and leader.poll() is None
    leader.communicate("\n", timeout=60)
    assert leader.returncode == 0
    (folder,) = tmp_path.glob("mlp*")
    assert record.state(folder) is State.DONE


@pytest.mark.parametrize("failed", [True, False])
def test_a_stop_by_srun_because_a_rank_failed_is_told_as_that_failure(failed, tmp_path):
    store = torch.distributed.HashStore()
    if failed:
        distributed.report_failure(store, 1, "Traceback\nValueError: the second rank is broken")
    job = SimpleNamespace(run_id="x", folder=tmp_path)
    with record.open_record(tmp_path) as opened:
        expected = RunFailed if failed else Preempted
        with pytest.raises(expected, match="second rank is broken" if failed else None):
            with failures_told(opened, job, store):
                raise Preempted
    assert (tmp_path / "FAILED").exists() == failed


def test_after_a_stop_rank_0_ends_first(monkeypatch):
    store = torch.distributed.HashStore()
    waits = []
    monkeypatch.setattr(distributed.time, "sleep", waits.append)
    distributed.leave_after_leader(store, World(rank=0, size=2))
    assert store.check([distributed.LEFT])
    distributed.leave_after_leader(store, World(rank=1, size=2))
    assert not waits
    # Rank 0 may have gone without a word: others wait, and not for ever.
    monkeypatch.setattr(distributed, "LEAVE_SECONDS", 0.02)
    distributed.leave_after_leader(torch.distributed.HashStore(), World(rank=1, size=2))
    assert waits


# Who is who


def test_ranks_are_bound_to_the_cores_beside_their_gpus(monkeypatch):
    assert launch.near_gpus("auto") is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert launch.near_gpus("auto").affinity_mode == "node" and launch.near_gpus("cpu") is None


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


# Whose GPU


def pretend_gpus(monkeypatch, uuids):
    """Let torch see these GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(uuids))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(uuids))
    told = [SimpleNamespace(uuid=uuid) for uuid in uuids]
    monkeypatch.setattr(torch.cuda, "get_device_properties", told.__getitem__)


TWO = ["aaaa", "bbbb"]


@pytest.mark.parametrize(
    ("launched", "seen", "expected"),
    [
        ("srun --gpus-per-task=1", [["aaaa"], ["bbbb"]], [0, 0]),
        ("srun --gpus-per-node=2", [TWO, TWO], [0, 1]),
        ("torchrun on two machines", [TWO, TWO, ["cccc", "dddd"], ["cccc", "dddd"]], [0, 1, 0, 1]),
        ("ranks of our own in a place of Ray", [["bbbb", "dddd"]] * 2, [0, 1]),
        ("more GPUs than ranks", [[*TWO, "cccc"]] * 2, [0, 1]),
    ],
)
def test_each_rank_takes_a_gpu_of_its_own(launched, seen, expected, monkeypatch):
    store, found = torch.distributed.HashStore(), []
    for rank, gpus in enumerate(seen):
        store.set(f"gpus/{rank}", json.dumps(gpus))
    for rank, gpus in enumerate(seen):
        pretend_gpus(monkeypatch, gpus)
        world = World(rank=rank, size=len(seen))
        found.append(distributed.own_device("auto", world, store))
    assert found == [torch.device("cuda", place) for place in expected], launched


@pytest.mark.parametrize("seen", [[["aaaa"], ["aaaa"]], [["aaaa"], []], [TWO] * 3])
def test_ranks_that_would_share_a_gpu_are_refused(seen):
    shown = len(set().union(*seen))
    with pytest.raises(UserError, match="needs a GPU of its own: got . ranks and") as caught:
        distributed.share_gpus(seen)
    assert f"got {len(seen)} ranks and {shown} GPUs that torch can use; " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_single_process_takes_the_first_gpu_it_sees(monkeypatch):
    pretend_gpus(monkeypatch, TWO)
    assert distributed.pick_device("auto", World()) == torch.device("cuda", 0)
    assert distributed.pick_device("cpu", World()).type == "cpu"
    pretend_gpus(monkeypatch, [])
    assert distributed.pick_device("auto", World()).type == "cpu"
    with pytest.raises(UserError, match="got 1 ranks and 0 GPUs that torch can use; .*CUDA build"):
        distributed.pick_device("cuda", World())
