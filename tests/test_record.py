"""A record is whole or it is not done."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest

from leadline import files, locks
from leadline.errors import UserError
from leadline.runs import record
from leadline.runs.record import Predictions, ReportedBatches, State

FACTS = {"run_id": "r", "metrics": {"test": {"accuracy": 0.5}}}


def some_predictions():
    return Predictions(
        ids=np.array(["a", "b"]),
        truth_C=np.array([0, 1], dtype=np.int32),
        predicted_C=np.array([0, 0], dtype=np.int32),
        proba_CK=np.array([[0.75, 0.25], [0.5, 0.5]], dtype=np.float16),
    )


def write_all(open_record):
    open_record.write_config({"seed": 1})
    open_record.write_predictions({"test": some_predictions()}, ["x", "y"])
    open_record.write_epochs([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
    open_record.write_facts(FACTS)


def test_states_from_missing_to_done(tmp_path):
    folder = tmp_path / "r"
    assert record.state(folder) is State.MISSING
    with record.open_record(folder) as opened:
        assert record.state(folder) is State.RUNNING
        write_all(opened)
        assert record.state(folder) is State.RUNNING
        opened.finish()
    assert record.state(folder) is State.DONE
    assert not (folder / locks.NAME).exists()


def test_a_failure_is_kept_until_the_next_attempt(tmp_path):
    folder = tmp_path / "r"
    with record.open_record(folder) as opened:
        opened.fail("Traceback: it broke")
    assert record.state(folder) is State.FAILED
    with record.open_record(folder):
        assert not (folder / record.FAILED).exists()
    assert record.state(folder) is State.INTERRUPTED


def test_what_is_written_is_read_back(tmp_path):
    with record.open_record(tmp_path / "r") as opened:
        write_all(opened)
        opened.finish()
    parts, classes = record.read_predictions(tmp_path / "r")
    assert classes == ("x", "y")
    for field in ("ids", "truth_C", "predicted_C", "proba_CK"):
        np.testing.assert_array_equal(
            getattr(parts["test"], field), getattr(some_predictions(), field)
        )
    facts = record.read_facts(tmp_path / "r")
    assert facts == {"schema_version": record.SCHEMA_VERSION, **FACTS}
    assert (tmp_path / "r" / "epochs.csv").read_text().splitlines()[:2] == ["epoch,loss", "1,0.5"]


def test_batches_of_the_reported_cells_are_read_back(tmp_path):
    batches = ReportedBatches(
        names=np.array(["donor 1", "donor 2"]),
        code_C=np.array([1, 1], dtype=np.uint8),
        trained_on_B=np.array([True, False]),
    )
    with record.open_record(tmp_path / "r") as opened:
        opened.write_predictions({"test": replace(some_predictions(), batches=batches)}, ["x", "y"])
    parts, _ = record.read_predictions(tmp_path / "r")
    for field in ("names", "code_C", "trained_on_B"):
        found = getattr(parts["test"].batches, field)
        np.testing.assert_array_equal(found, getattr(batches, field))


def test_a_record_of_cells_without_batches_holds_what_it_always_held(tmp_path):
    with record.open_record(tmp_path / "r") as opened:
        write_all(opened)
    with np.load(tmp_path / "r" / record.PREDICTIONS) as stored:
        assert stored.files == ["classes", "test_ids", "test_true", "test_pred", "test_proba"]
    assert record.read_predictions(tmp_path / "r")[0]["test"].batches is None


def test_equal_predictions_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        with record.open_record(tmp_path / name) as opened:
            opened.write_predictions({"test": some_predictions()}, ["x", "y"])
    first, second = (tmp_path / name / record.PREDICTIONS for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_a_changed_file_is_noticed(tmp_path):
    with record.open_record(tmp_path / "r") as opened:
        write_all(opened)
        opened.finish()
    assert record.verify(tmp_path / "r") == []
    (tmp_path / "r" / record.FACTS).write_text("{}")
    (tmp_path / "r" / record.EPOCHS).unlink()
    assert record.verify(tmp_path / "r") == ["epochs.csv", "record.json"]


def test_leftovers_of_a_killed_writer_are_removed(tmp_path):
    leftover = tmp_path / f"{files.TEMPORARY}123"
    leftover.write_text("half a file")
    with record.open_record(tmp_path):
        assert not leftover.exists()


def test_whoever_lost_the_lock_cannot_finish(tmp_path):
    with record.open_record(tmp_path) as opened:
        write_all(opened)
        (tmp_path / locks.NAME).write_text(json.dumps({"token": "another"}))
        with pytest.raises(locks.LockLost):
            opened.finish()
    assert not (tmp_path / record.DONE).exists()


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    files.write_text(path, "old")

    def full_disk(handle):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_numbers_that_json_does_not_know_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "x.json", {"value": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_ids_depend_on_content_alone():
    first = record.identify({"a": 1, "b": [1.5, None]}, "p")
    assert first == record.identify({"b": [1.5, None], "a": 1}, "p")
    assert first != record.identify({"a": 2, "b": [1.5, None]}, "p")
    assert first.startswith("p-") and len(first) == len("p-") + 12


def test_a_runs_dir_that_is_a_file_is_the_users_mistake(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="runs_dir must be a folder that can be written to"):
        with record.open_record(tmp_path / "file" / "r"):
            pass


def test_a_lock_left_by_a_worker_killed_after_the_end_is_tidied(tmp_path):
    with record.open_record(tmp_path) as opened:
        write_all(opened)
        opened.finish()
    stale = {"token": "x", "host": locks.identity(1)["host"], "pid": 1, "started": "gone/1"}
    (tmp_path / locks.NAME).write_text(json.dumps(stale))
    (tmp_path / f"{files.TEMPORARY}1").write_text("half")
    record.tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "DONE",
        "config.yaml",
        "epochs.csv",
        "predictions.npz",
        "record.json",
    ]
