"""A fit that is stopped anywhere goes on to the same bits."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from killing import Killed, die_before
from leadline import cli, errors, processes, training
from leadline.config.compose import compose
from leadline.processes import Preempted, StopRequest
from leadline.runs import record
from leadline.runs.record import CheckpointFolder, State
from leadline.runs.run import run
from leadline.training.step import Stepper
from networks import Drawing, classifier, halves


def stop_at(monkeypatch, notice, step):
    """Have SIGTERM arrive before the n-th step from now."""
    take, left = Stepper.take, [step]

    def stopping(self, rows, epoch, rate, wishes):
        left[0] -= 1
        notice.requested = left[0] == 0
        return take(self, rows, epoch, rate, (notice.requested, *wishes[1:]))

    monkeypatch.setattr(Stepper, "take", stopping)


# Six steps an epoch, three epochs; torch's own dropout has a state that must be put back.
@pytest.mark.parametrize("model", [None, Drawing])
@pytest.mark.parametrize("minutes", [15.0, 1e-9])
def test_killed_before_any_step_and_gone_on_to_the_same_bits(model, minutes, tmp_path):
    train, test = halves()

    def learner(vault):
        return classifier(model() if model else None, vault=vault, checkpoint_minutes=minutes)

    undisturbed = learner(training.CheckpointsInMemory())
    expected = undisturbed.fit(train, test)
    for step in (1, 2, 6, 7, 11, 18):
        vault = training.CheckpointsInMemory()
        with pytest.MonkeyPatch.context() as patched:
            die_before(patched, step)
            with pytest.raises(Killed):
                learner(vault).fit(train, test)
        survivor = learner(vault)
        fit = survivor.fit(train, test)
        assert fit.epochs == expected.epochs
        assert fit.facts["best_epoch"] == expected.facts["best_epoch"]
        began = step > (1 if minutes < 1 else 6)
        assert fit.facts["execution"]["attempts"] == 1 + began
        np.testing.assert_array_equal(survivor.predict_proba(test), undisturbed.predict_proba(test))


def test_sigterm_saves_within_the_epoch_and_three_stops_change_nothing():
    train, test = halves()
    undisturbed = classifier()
    expected = undisturbed.fit(train, test)
    vault, told = training.CheckpointsInMemory(), []
    for step in (3, 5, 2):
        notice = StopRequest()
        with pytest.MonkeyPatch.context() as patched:
            stop_at(patched, notice, step)
            with pytest.raises(Preempted):
                classifier(vault=vault, notice=notice).fit(train, test)
    survivor = classifier(vault=vault, told=told)
    assert survivor.fit(train, test).epochs == expected.epochs
    assert told[0] == "goes on in epoch 2, after 4 of its steps"
    np.testing.assert_array_equal(survivor.predict_proba(test), undisturbed.predict_proba(test))


def test_a_finished_fit_only_predicts_again():
    train, test = halves()
    vault, told = training.CheckpointsInMemory(), []
    first = classifier(vault=vault)
    first.fit(train, test)
    second = classifier(vault=vault, told=told)
    second.fit(train, test)
    assert len(told) == 1 and "goes on in epoch 4" in told[0]
    np.testing.assert_array_equal(first.predict_proba(test), second.predict_proba(test))


def test_a_checkpoint_of_another_version_is_left_aside():
    train, test = halves()
    vault, told = training.CheckpointsInMemory(), []
    classifier(vault=vault).fit(train, test)
    stored = torch.load(vault.open("last.pt"), weights_only=True)
    vault.write("last.pt", lambda file: torch.save(stored | {"format": 0}, file))
    fit = classifier(vault=vault, told=told).fit(train, test)
    assert "another version" in told[0] and fit.facts["execution"]["attempts"] == 1


def test_a_vault_keeps_whole_files_and_settles_on_the_best(tmp_path):
    vault = CheckpointFolder(tmp_path)
    assert vault.open("last.pt") is None
    vault.keep_only()
    for name in ("last.pt", "best-00001.pt", "best-00002.pt"):
        vault.write(name, lambda file, name=name: file.write(name.encode()))
    vault.keep_only("last.pt", "best-00002.pt")
    with vault.open("best-00002.pt") as file:
        assert file.read() == b"best-00002.pt"

    def broken(file):
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        vault.write("last.pt", broken)
    with vault.open("last.pt") as file:
        assert file.read() == b"last.pt"
    vault.keep_final()
    assert [path.name for path in vault.folder.iterdir()] == ["best.pt"]
    vault.keep_final(keep_best=False)
    assert not vault.folder.exists()


# Whole runs

WORDS = ["model=mlp", "model.hidden=[32]", "seed=3"]
FOUR = [*WORDS, "train.epochs=4"]


def test_a_run_keeps_its_checkpoints_until_it_is_done(tmp_path, monkeypatch, capsys):
    config = compose(
        [*FOUR, f"runs_dir={tmp_path / 'a'}", "tracker=csv", f"tracker.path={tmp_path}/t.csv"]
    )
    undisturbed = run(config)
    assert [path.name for path in (undisturbed / "checkpoints").iterdir()] == ["best.pt"]
    facts = record.read_facts(undisturbed)
    assert facts["selected"]["by"] == "accuracy" and 1 <= facts["selected"]["best_epoch"] <= 4
    assert facts["provenance"]["world_size"] == 1 and facts["cost"]["attempts"] == 1
    assert "execution" not in facts["fit"]
    tracked = (tmp_path / "t.csv").read_text()
    assert f"{undisturbed.name},4,train_loss," in tracked and ",0,test/accuracy," in tracked
    assert len((undisturbed / "epochs.csv").read_text().splitlines()) == 5

    moved = replace(config, runs_dir=str(tmp_path / "b"))
    with monkeypatch.context() as patched:
        die_before(patched, 37)
        with pytest.raises(Killed):
            run(moved)
    folder = tmp_path / "b" / undisturbed.name
    (folder / "FAILED").unlink()  # Killed stands for SIGKILL, which could not have written it.
    assert record.state(folder) is State.INTERRUPTED
    assert "last.pt" in {path.name for path in (folder / "checkpoints").iterdir()}
    (folder / "checkpoints" / ".partial-left").touch()
    assert run(moved) == folder
    for name in ("predictions.npz", "epochs.csv"):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes()
    again = record.read_facts(folder)
    assert again["cost"]["attempts"] == 2
    for changing in ("cost", "provenance"):
        facts.pop(changing), again.pop(changing)
    assert again == facts
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["best.pt"]
    assert "goes on in epoch 3" in capsys.readouterr().err


def test_keeping_no_weights_is_possible(tmp_path):
    folder = run(compose([*FOUR, f"runs_dir={tmp_path}", "train.keep_best=false"]))
    assert not (folder / "checkpoints").exists()


def test_sigterm_ends_with_the_code_that_schedulers_requeue_on(tmp_path, capsys):
    words = ["run", *FOUR, f"runs_dir={tmp_path}"]
    with pytest.MonkeyPatch.context() as patched:
        take, left = Stepper.take, [20]

        def signalled(self, *arguments):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGTERM)
            return take(self, *arguments)

        patched.setattr(Stepper, "take", signalled)
        assert cli.main(words) == cli.REQUEUE == errors.REQUEUE == 75
    (folder,) = (path for path in tmp_path.iterdir() if path.name.startswith("mlp"))
    assert record.state(folder) is State.INTERRUPTED
    assert "the same command goes on" in (folder / "log.txt").read_text()
    assert cli.main(words) == cli.GOOD
    assert "goes on in epoch 2, after 5 of its steps" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_sigterm_outside_training_stops_at_once():
    with pytest.raises(Preempted), processes.sigterm_as_stop():
        os.kill(os.getpid(), signal.SIGTERM)
    with processes.sigterm_as_stop() as notice, notice.finish_step_first():
        os.kill(os.getpid(), signal.SIGTERM)
    assert notice.requested


def command(runs_dir, *words):
    return [sys.executable, "-m", "leadline.cli", "run", *WORDS, f"runs_dir={runs_dir}", *words]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_ten_signals_at_random_moments(number, tmp_path):
    """Each attempt is signalled at a random moment of its training; ten must have hit."""
    words = ["train.epochs=60", "train.threads=1", "train.checkpoint_minutes=0.0001"]
    done = subprocess.run(
        command(tmp_path / "a", *words), capture_output=True, text=True, check=True
    )
    undisturbed = Path(done.stdout.splitlines()[-1])
    rng = np.random.default_rng(int(number))
    hits, attempts = 0, 0
    while hits < 10:
        attempts += 1
        assert attempts < 60
        with subprocess.Popen(
            command(tmp_path / "b", *words),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            # The moment: after a random number of epochs told, then a random part of one.
            told = int(rng.integers(1, 5))
            for line in process.stderr:
                told -= line.startswith("epoch ")
                if told == 0:
                    break
            try:
                code = process.wait(timeout=rng.uniform(0, 0.1))
            except subprocess.TimeoutExpired:
                process.send_signal(number)
                process.stderr.read()
                code = process.wait()
                hits += code != 0
            assert code in (-signal.SIGKILL, errors.REQUEUE, 0)
        for folder in (tmp_path / "b").glob("mlp*"):
            if record.state(folder) is State.DONE:
                same(folder, undisturbed)
                folder.rename(tmp_path / f"done-{attempts}")
    done = subprocess.run(
        command(tmp_path / "b", *words), capture_output=True, text=True, check=True
    )
    same(Path(done.stdout.splitlines()[-1]), undisturbed)


def same(folder, undisturbed):
    assert record.verify(folder) == []
    for name in ("predictions.npz", "epochs.csv"):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes()
