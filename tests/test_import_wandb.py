"""Runs made elsewhere, with wandb alone: their offline folders become records."""

import shutil
import struct
import zlib

import numpy as np
import pytest

from leadline import cli
from leadline.errors import UserError
from leadline.report.frame import frame as tidy
from leadline.runs import record, records
from leadline.runs.tracking.wandb import import_runs, offline
from leadline.runs.tracking.wandb.import_runs import (
    FieldMapping,
    curve,
    fields,
    flat,
    import_run,
    pairs,
)
from leadline.runs.tracking.wandb.offline import WandbRun
from leadline.runs.tracking.wandb.tracker import close_offline
from wandb_at_home import at_home, quiet_home, server

__all__ = ["at_home", "server"]

OPTIONS = ["--metric", "accuracy=test_acc%", "--metric", "macro_f1=scores.f1"]
OPTIONS += ["--field", "model=config.net.name", "--field", "fraction=config.share"]


def foreign(folder, run_id, *, arm="big", seed=1, accuracy=90.0, exit_code=0, mode="offline"):
    """Log a run as somebody does who has never heard of leadline."""
    import wandb

    opened = wandb.init(
        id=run_id,
        project="theirs",
        entity="lab",
        group="depth",
        job_type=arm,
        tags=["pilot", arm],
        config={"dataset": "pancreas", "net": {"name": "their_net"}, "seed": seed, "share": "0.5"},
        dir=str(folder),
        mode=mode,
        settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
    )
    for epoch in range(1, 4):
        opened.log({"loss": 1 / epoch, "val": {"acc": epoch / 4}, "picture": wandb.Html("<p>")})
    opened.summary["test_acc"] = accuracy
    opened.summary["scores"] = {"f1": accuracy / 100 - 0.1}
    if exit_code or mode == "online":
        opened.finish(exit_code=exit_code)
    else:
        close_offline(opened)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("theirs")
    with quiet_home(folder):
        for arm, base in (("big", 91.0), ("small", 84.0)):
            for seed in (1, 2, 3):
                foreign(folder, f"{arm}{seed}", arm=arm, seed=seed, accuracy=base + seed)
        foreign(folder, "broken", exit_code=1)
    # Here wandb's own process has ended, and so written everything.
    return folder / "wandb"


@pytest.fixture
def theirs(project, at_home, tmp_path):
    return shutil.copytree(project, tmp_path / "theirs")


def imported(theirs, tmp_path, capsys, *options, expect=cli.GOOD):
    words = ["import-wandb", str(theirs), "--runs", str(tmp_path / "runs"), *OPTIONS, *options]
    code = cli.main(words)
    shown = capsys.readouterr()
    assert code == expect, shown.err
    return shown


def test_offline_folders_become_records_once(theirs, tmp_path, capsys):
    shown = imported(theirs, tmp_path, capsys)
    assert shown.out == "6 imported, 1 not finished\n"
    runs_dir = tmp_path / "runs"
    read = records.read_done(runs_dir)
    assert len(read) == 6
    (facts,) = [facts for facts in read if facts["arm"] == "big" and facts["seed"] == 2]
    assert facts["metrics"] == {"test": {"accuracy": 0.93, "macro_f1": pytest.approx(0.83)}}
    assert (facts["study"], facts["dataset"], facts["model"]) == ("depth", "pancreas", "their_net")
    assert facts["fraction"] == 0.5 and facts["imported"]["project"] == "theirs"
    assert facts["imported"]["tags"] == ["pilot", "big"]
    folder = runs_dir / facts["run_id"]
    assert (folder / "epochs.csv").read_text().splitlines()[:2] == [
        "epoch,loss,val.acc",
        "0,1,0.25",
    ]
    assert sorted(path.name for path in folder.iterdir()) == [
        "DONE",
        "config.yaml",
        "epochs.csv",
        "record.json",
    ]
    assert imported(theirs, tmp_path, capsys).out == "6 imported before, 1 not finished\n"


def test_records_imported_get_statistics(theirs, tmp_path, capsys):
    imported(theirs, tmp_path, capsys)
    frame = tidy(records.read_done(tmp_path / "runs"))
    means = frame[frame.metric == "accuracy"].groupby("arm").value.mean()
    assert np.allclose(means, [0.93, 0.86])
    (folder,) = (tmp_path / "runs").glob("wandb-big1-*")
    assert cli.main(["show", str(folder)]) == cli.GOOD
    assert "imported from wandb" in capsys.readouterr().out


@pytest.mark.slow
def test_records_imported_get_a_report(theirs, tmp_path, capsys):
    imported(theirs, tmp_path, capsys)
    out = tmp_path / "report"
    assert cli.main(["report", "--runs", str(tmp_path / "runs"), "--out", str(out)]) == cli.GOOD
    page = (out / "index.html").read_text()
    assert "big" in page and "small" in page and "imported from wandb" in page


def test_a_run_that_was_resumed_is_one_run(at_home, tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    for folder, accuracy in ((first, 50.0), (second, 60.0)):
        folder.mkdir()
        foreign(folder, "twice", accuracy=accuracy)
    both = tmp_path / "wandb"
    both.mkdir()
    for number, folder in enumerate((first, second)):
        (made,) = (folder / "wandb").glob("offline-run-*")
        shutil.copytree(made, both / f"offline-run-2026112{number}_000000-twice")
    (run,) = import_runs.of(str(both))
    assert [row["_step"] for row in run.history] == [0, 1, 2]
    assert run.summary["test_acc"] == 60.0


def test_other_options_need_a_word(theirs, tmp_path, capsys):
    imported(theirs, tmp_path, capsys)
    other = ["--field", "arm==same"]
    shown = imported(theirs, tmp_path, capsys, *other, expect=cli.MISTAKE)
    assert "a run is imported once: got big1, which was imported into" in shown.err
    assert "replace what was imported with --replace" in shown.err
    shown = imported(theirs, tmp_path, capsys, *other, "--replace")
    assert shown.out == "6 imported, 1 not finished\n"
    assert {facts["arm"] for facts in records.read_done(tmp_path / "runs")} == {"same"}


RUN = WandbRun(
    run_id="r",
    group="g",
    config={"a.b": 1, "seed": "x", "net": {"name": "n"}},
    summary={"acc": 93.0, "f1": 0.5, "word": "x"},
    finished=True,
)
CHOICE = FieldMapping(
    metrics={"accuracy": "f1"},
    fields={"arm": "id", "dataset": "=d", "model": "config.net", "seed": "=3"},
)


def changed(**fields):
    return FieldMapping(metrics=CHOICE.metrics, fields=CHOICE.fields | fields)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (changed(seed="config.seed"), "seed must be a whole number: got 'x' in run r"),
        (changed(seed="config.none"), "a run must tell its seed: got nothing at config.none"),
        (changed(fraction="=2"), r"fraction must be a share in \(0, 1\]: got '2'"),
        (changed(arm="elsewhere"), "--field names group, job_type, name, id, config.KEY or"),
        (
            FieldMapping(metrics={"accuracy": "acc"}),
            r"must lie in \[0, 1\]: got 93 .*'accuracy=acc%'",
        ),
    ],
)
def test_what_a_record_needs_is_asked_for(choice, message, tmp_path):
    with pytest.raises(UserError, match=message):
        import_run(RUN, tmp_path, choice, replace=False)


def test_a_run_says_little_and_is_imported_all_the_same(tmp_path):
    assert import_run(RUN, tmp_path, changed(arm="config.a.b"), replace=False) == "imported"
    (facts,) = records.read_done(tmp_path)
    assert (facts["arm"], facts["model"], facts["seed"], facts["fraction"]) == ("1", "n", 3, 1.0)
    nothing = FieldMapping(metrics={"accuracy": "word"})
    assert import_run(RUN, tmp_path, nothing, replace=False) == "without the metrics"


def test_words_are_checked():
    assert pairs(["a=b=c"], "--metric") == {"a": "b=c"}
    with pytest.raises(UserError, match="--metric is written NAME=KEY: got 'accuracy'"):
        pairs(["accuracy"], "--metric")
    with pytest.raises(UserError, match="--field names one of .*: got 'sed'; did you mean seed"):
        fields(["sed=config.seed"])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "runs are imported from a folder or from entity/project: got 'nowhere'"),
        ("empty", "holds files named run-.*.wandb: got 'empty' without one"),
        ("foreign", "begins with :W&B: got 'foreign/run-x.wandb', which does not"),
    ],
)
def test_sources_are_checked(source, message, at_home, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "run-x.wandb").write_bytes(b"PK\3\4 is not it")
    with pytest.raises(UserError, match=message):
        list(import_runs.of(source))


def test_a_summary_without_the_metrics_is_explained(theirs, tmp_path, capsys):
    words = ["import-wandb", str(theirs), "--runs", str(tmp_path), "--metric", "accuracy=tst_acc"]
    assert cli.main(words) == cli.MISTAKE
    assert "must hold tst_acc: got no run that does; did you mean test_acc?" in (
        capsys.readouterr().err
    )


def test_a_torn_file_gives_what_is_whole(theirs):
    path = next(path for path in offline.find_offline_runs(theirs) if "big1" in path.name)
    whole = list(offline.messages(path))
    content = path.read_bytes()
    for cut in range(len(content) - 1, offline.HEADER.size - 1, -41):
        path.write_bytes(content[:cut])
        found = list(offline.messages(path))
        assert found == whole[: len(found)] and len(found) < len(whole)
    path.write_bytes(content[:40] + b"?" + content[41:])
    assert offline.read(path).history == []


def test_messages_longer_than_a_block(tmp_path):
    """A file of our own, written piece by piece as the format says."""
    rng = np.random.default_rng(0)
    wanted = [rng.bytes(size) for size in (10, 32 * 1024, 100_000, 5, 32 * 1024 - 7 - 7 - 17)]
    content = bytearray(offline.HEADER.pack(b":W&B", 0xBEE1, 0))
    for message in wanted:
        begun, rest = False, message
        while rest or not begun:
            left = offline.BLOCK - len(content) % offline.BLOCK
            if left < offline.PIECE.size:
                content += bytes(left)
                left = offline.BLOCK
            piece, rest = rest[: left - offline.PIECE.size], rest[left - offline.PIECE.size :]
            kind = {(0, 0): 1, (0, 1): 2, (1, 1): 3, (1, 0): 4}[begun, bool(rest)]
            checksum = zlib.crc32(bytes([kind]) + piece)
            content += struct.pack("<IHB", checksum, len(piece), kind) + piece
            begun = True
    path = tmp_path / "run-x.wandb"
    path.write_bytes(bytes(content))
    assert list(offline.messages(path)) == wanted


def test_curves_keep_numbers_alone():
    history = [
        {"_step": 0, "loss": 1.0, "nested": {"x": 2}, "table": {"_type": "table", "size": 3}},
        {"_step": 1, "bad": float("nan"), "flag": True},
        {"_step": 2, "loss": 0.5, "epoch": 7},
    ]
    run = WandbRun(run_id="r", history=history)
    assert curve(run, "_step") == [
        {"epoch": 0, "loss": 1.0, "nested.x": 2},
        {"epoch": 2, "loss": 0.5, "nested.x": ""},
    ]
    assert curve(run, "epoch") == [{"epoch": 7, "loss": 0.5}]
    assert flat({"a": {"b": {"c": 1}}}) == {"a.b.c": 1}


def test_imported_records_are_not_sent_back(theirs, tmp_path, capsys):
    imported(theirs, tmp_path, capsys)
    assert cli.main(["sync", "--runs", str(tmp_path / "runs"), "--offline"]) == cli.GOOD
    assert capsys.readouterr().out == "6 imported from wandb\n"
    assert not list((tmp_path / "runs").glob("*/wandb"))
    assert record.verify(next((tmp_path / "runs").glob("wandb-*"))) == []


def test_runs_of_a_project_are_read_from_the_server(server, tmp_path):
    for seed in (1, 2):
        foreign(tmp_path, f"run{seed}", seed=seed, mode="online")
    first, second = import_runs.of("lab/theirs")
    assert (first.run_id, first.group, first.job_type) == ("run1", "depth", "big")
    assert first.finished and first.tags == ("pilot", "big")
    assert second.config["seed"] == 2 and second.summary["test_acc"] == 90.0
    assert [row["loss"] for row in second.history] == [1, 1 / 2, 1 / 3]
    server.broken = {"Runs"}
    with pytest.raises(UserError, match="must be readable: got 'lab/theirs'.*check its name, your"):
        list(import_runs.of("lab/theirs"))


def test_a_project_needs_a_key(at_home):
    with pytest.raises(UserError, match="got no key for http://127.0.0.1:9; run wandb login, or"):
        list(import_runs.of("lab/theirs"))
