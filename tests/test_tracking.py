"""Whoever else is told of a run: a table, TensorBoard; none of them may stop it."""

import sys
from dataclasses import fields, replace

import pytest
import yaml

from killing import Killed, die_before
from leadline.config.compose import compose
from leadline.config.shipped import options, shipped
from leadline.errors import UserError
from leadline.runs import record, tracking
from leadline.runs.run import run
from leadline.runs.tracking import CsvTracker
from leadline.runs.tracking.base import tags_of
from leadline.runs.tracking.tensorboard import told_before

WORDS = ["model=mlp", "model.hidden=[32]", "seed=3", "train.epochs=4", "train.threads=1"]


def killed_and_gone_on(config, monkeypatch, step=37):
    """Compute a run whose worker is killed after 2 of 4 epochs and a half."""
    with monkeypatch.context() as patched:
        die_before(patched, step)
        with pytest.raises(Killed):
            run(config)
    return run(config)


def rows_of(path):
    head, *rows = path.read_text().splitlines()
    assert head == "run_id,step,metric,value"
    return [row.split(",") for row in rows]


def test_the_table_holds_each_number_once_also_after_a_kill(tmp_path, monkeypatch):
    table = tmp_path / "deep" / "t.csv"
    config = compose([*WORDS, f"runs_dir={tmp_path / 'a'}", "tracker=csv", f"tracker.path={table}"])
    folder = killed_and_gone_on(config, monkeypatch)
    rows = rows_of(table)
    assert len({tuple(row[:3]) for row in rows}) == len(rows)
    assert [row[1] for row in rows if row[2] == "train_loss"] == ["1", "2", "3", "4"]
    scores = record.read_facts(folder)["metrics"]["test"]
    assert {row[2]: float(row[3]) for row in rows if row[2].startswith("test/")} == {
        f"test/{name}": value for name, value in scores.items()
    }
    before = table.read_bytes()
    run(config)
    assert table.read_bytes() == before


def test_a_torn_line_is_removed_and_others_rows_stay(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("run_id,step,metric,value\nother,1,loss,0.5\nmine,1,lo")
    mine = CsvTracker(table, "mine")
    for _ in range(2):
        mine.log(1, {"loss": 0.25})
    assert rows_of(table) == [["other", "1", "loss", "0.5"], ["mine", "1", "loss", "0.25"]]


def test_event_files_hold_each_number_once_also_after_a_kill(tmp_path, monkeypatch):
    config = compose([*WORDS, f"runs_dir={tmp_path}", "tracker=tensorboard"])
    folder = killed_and_gone_on(config, monkeypatch)
    told = told_before(folder / "tensorboard")
    best = record.read_facts(folder)["selected"]["best_epoch"]
    assert {step for step, name in told if name == "train_loss"} == {1, 2, 3, 4}
    assert (best, "test/accuracy") in told
    assert events(folder) == len(told)
    files = len(list((folder / "tensorboard").iterdir()))
    run(config)
    assert len(list((folder / "tensorboard").iterdir())) == files == 2
    assert record.verify(folder) == []


def events(folder):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    files = (folder / "tensorboard").iterdir()
    return sum(len(e.summary.value) for f in files for e in EventFileLoader(str(f)).Load())


def test_a_missing_package_is_said_before_the_run_begins(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    config = compose(["model=majority", f"runs_dir={tmp_path}", "tracker=tensorboard"])
    with pytest.raises(UserError, match=r'pip install "leadline\[tensorboard\]"'):
        run(config)
    assert not list(tmp_path.glob("*/record.json"))


def test_a_tracker_that_breaks_is_said_once_and_stops_nothing(tmp_path, capsys):
    (tmp_path / "t.csv").mkdir()
    words = [f"runs_dir={tmp_path}", "tracker=csv", f"tracker.path={tmp_path / 't.csv'}"]
    folder = run(compose([*WORDS, *words]))
    said = "warning: tracker=csv does not work, the run goes on without it: IsADirectoryError"
    assert capsys.readouterr().err.count(said) == 1
    assert (folder / "log.txt").read_text().count(said) == 1
    assert record.state(folder) is record.State.DONE


@pytest.mark.slow
def test_ranks_tell_once(tmp_path):
    table = tmp_path / "t.csv"
    words = [f"runs_dir={tmp_path}", "tracker=csv", f"tracker.path={table}", "train.devices=2"]
    run(compose([*WORDS, *words]))
    rows = rows_of(table)
    assert len({tuple(row[:3]) for row in rows}) == len(rows)
    assert [row[1] for row in rows if row[2] == "train_loss"] == ["1", "2", "3", "4"]


def test_an_interruption_is_no_error_of_the_tracker():
    told = []
    tracker = tracking.base.Forgiving(tracking.Silent(), "none", told.append)
    with pytest.raises(KeyboardInterrupt), tracker.forgiven():
        raise KeyboardInterrupt
    assert told == []


def test_tags_are_the_dataset_the_model_the_protocol_and_the_users_own():
    config = compose(["tracker=wandb", "tracker.tags=[mine,mine,logreg]"])
    assert tags_of(config) == ("pbmc68k_reduced", "logreg", "corrected", "mine")
    assert tags_of(replace(config, tracker=compose([]).tracker))[-1] == "corrected"


@pytest.mark.parametrize("name", options("tracker"))
def test_the_shipped_files_show_every_setting_with_its_default(name):
    shown = yaml.safe_load((shipped("conf") / "tracker" / f"{name}.yaml").read_text())
    chosen = compose([f"tracker={name}"]).tracker
    assert {item.name for item in fields(chosen)} == set(shown) - {"defaults"}
    assert type(chosen)(name=name) == chosen


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("tracker.mode=of", "tracker.mode must be one of auto, online, offline: got 'of'"),
        ("tracker.timeout_seconds=0", r"tracker.timeout_seconds must lie in \(0, "),
        (f"tracker.tags=[{'x' * 65}]", "a tag of wandb has 1 to 64 characters: got 'xxx"),
    ],
)
def test_settings_of_wandb_are_checked(word, message):
    with pytest.raises(UserError, match=message):
        compose(["tracker=wandb", word])
