"""wandb: one run for each run, once, whatever happens; read back from its files and a server."""

import gc
import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from killing import Killed
from leadline import cli, locks
from leadline.config.compose import compose
from leadline.runs import record
from leadline.runs.run import run
from leadline.runs.tracking.wandb import offline, sdk, upload, uploaded
from leadline.runs.tracking.wandb.sync import SyncRequest, sync, sync_study
from test_tracking import WORDS, killed_and_gone_on
from wandb_at_home import KEY, at_home, server

__all__ = ["at_home", "server"]

MINE = ["tracker=wandb", "study=which", "arm=small", "tracker.tags=[mine]"]
QUICK = ["model=majority", "tracker=wandb", "tracker.timeout_seconds=5"]
# The epochs, then the scores of the finished run.
STEPS = [1, 2, 3, 4, 5]


def configured(tmp_path, *words):
    return compose([*words, f"runs_dir={tmp_path / 'runs'}"])


def read_back(folder):
    (path,) = offline.find_offline_runs(folder / "wandb")
    assert path.parent.name.startswith("offline-run-")
    return offline.read(path)


def losses(history):
    return [row["train_loss"] for row in history if "train_loss" in row]


def check_told(facts, config, told):
    """Compare what wandb has of a run with its record."""
    assert (told.run_id, told.group, told.job_type) == (facts["run_id"], "which", "small")
    assert told.tags == ("pbmc68k_reduced", "mlp", "corrected", "mine")
    assert told.config == config
    assert [row["_step"] for row in told.history] == STEPS
    scores = {f"test/{name}": value for name, value in facts["metrics"]["test"].items()}
    assert scores.items() <= told.history[-1].items()
    assert scores.items() <= told.summary.items()
    assert told.summary["best_epoch"] == facts["selected"]["best_epoch"]
    assert told.summary["parameters_total"] == facts["fit"]["parameters_total"]


def test_without_a_key_the_record_is_mirrored_into_one_offline_folder(at_home, tmp_path, capsys):
    folder = run(configured(tmp_path, *WORDS, *MINE))
    told = read_back(folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    check_told(record.read_facts(folder), config, told)
    assert told.finished and f"predictions-{folder.name}" in told.artifacts
    rows = list(upload.epochs(folder))
    assert losses(told.history) == [values["train_loss"] for _, values in rows]
    assert record.verify(folder) == []
    assert "warning" not in capsys.readouterr().err
    # What waits for its upload lies beside the record; the home holds no more than wandb's log.
    left = [path for path in at_home.rglob("*") if path.is_file()]
    assert {path.name.partition("-2")[0] for path in left} <= {"core-debug"}


def test_killed_and_gone_on_it_is_still_one_folder_with_each_epoch_once(
    at_home, tmp_path, monkeypatch
):
    config = configured(tmp_path, *WORDS, *MINE)
    folder = killed_and_gone_on(config, monkeypatch)
    told = read_back(folder)
    check_told(record.read_facts(folder), told.config, told)
    before = sorted(path for path in (folder / "wandb").rglob("*"))
    run(config)
    assert sorted(path for path in (folder / "wandb").rglob("*")) == before


def test_killed_while_the_folder_was_written_it_is_written_again(at_home, tmp_path, monkeypatch):
    config = configured(tmp_path, *QUICK)

    def dying(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(upload, "wandb_summary", dying)
        with pytest.raises(Killed):
            run(config)
    folder = run(config)
    assert read_back(folder).summary["test/accuracy"] > 0
    assert uploaded.read(folder)["offline"]


def test_what_the_artifact_holds(at_home, tmp_path):
    folder = run(configured(tmp_path, *QUICK))
    parts, classes = record.read_predictions(folder)
    said = parts["test"]
    counts = upload.confusion(said, classes)
    assert counts.sum() == len(said.ids) == 140
    assert counts.trace() == (said.truth_C == said.predicted_C).sum()
    waiting = folder / "wandb" / "data"
    cells = json.loads((waiting / "test_cells.table.json").read_text())
    assert cells["columns"] == list(upload.COLUMNS) and cells["nrows"] == 140
    first = cells["data"][0]
    assert first[:2] == [said.ids[0], classes[said.truth_C[0]]]
    table = json.loads((waiting / "test_confusion.table.json").read_text())
    assert [row[2] for row in table["data"]] == counts.ravel().tolist()


def test_of_a_huge_confusion_matrix_the_zeros_are_left_out(at_home):
    classes = [f"type {k}" for k in range(101)]
    label_C = np.arange(101, dtype=np.int32)
    said = record.Predictions(
        ids=label_C.astype(str),
        truth_C=label_C,
        predicted_C=label_C[::-1].copy(),
        proba_CK=np.eye(101, dtype=np.float16),
    )
    table = upload.confusion_table(said, classes)
    assert len(table.data) == 101 and table.data[0] == ["type 0", "type 100", 1]


def test_the_server_has_each_run_once(server, tmp_path, capsys):
    config = configured(tmp_path, *WORDS, *MINE)
    folder = run(config)
    (name,) = server.runs
    told = server.runs[name]
    assert name == folder.name and told.exits == [0]
    assert (told.fields["groupName"], told.fields["jobType"]) == ("which", "small")
    assert told.fields["tags"] == ["pbmc68k_reduced", "mlp", "corrected", "mine"]
    assert told.config["train"]["epochs"] == 4
    assert [row["_step"] for row in told.history] == STEPS
    assert told.summary["test/accuracy"] == record.read_facts(folder)["metrics"]["test"]["accuracy"]
    assert len(server.artifacts[f"predictions-{name}"]) == 1
    assert [path.name for path in (folder / "wandb").iterdir()] == ["leadline.json"]
    asked = len(server.asked)
    run(config)
    assert len(server.asked) == asked
    assert "warning" not in capsys.readouterr().err


def test_killed_and_gone_on_the_server_has_each_epoch_once(server, tmp_path, monkeypatch):
    folder = killed_and_gone_on(configured(tmp_path, *WORDS, *MINE), monkeypatch)
    (told,) = server.runs.values()
    assert told.exits == [1, 0]
    assert [row["_step"] for row in told.history] == STEPS
    assert losses(told.history) == [row["train_loss"] for _, row in upload.epochs(folder)]


KILLER = """
import os, signal, subprocess, sys
from leadline.config.compose import compose
from leadline.runs.run import run
from leadline.training.step import Stepper

take, left = Stepper.take, [int(sys.argv[1])]

def dying(self, *arguments):
    left[0] -= 1
    if left[0] == 0:
        children = open(f"/proc/self/task/{os.getpid()}/children").read()
        print("children", children, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    return take(self, *arguments)

Stepper.take = dying
run(compose(sys.argv[2:]))
"""


@pytest.mark.slow
def test_killed_for_good_and_gone_on_the_server_has_each_epoch_once(server, tmp_path):
    words = [*WORDS, *MINE, f"runs_dir={tmp_path / 'runs'}"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLER, "37", *words], capture_output=True, text=True
    )
    assert killed.returncode == -signal.SIGKILL
    children = [int(word) for word in killed.stdout.split("children")[1].split()]
    assert children
    for pid in children:
        assert gone(pid)
    (told,) = server.runs.values()
    assert told.exits != [0]
    folder = run(compose(words))
    assert [row["_step"] for row in told.history] == STEPS
    assert losses(told.history) == [row["train_loss"] for _, row in upload.epochs(folder)]


def gone(pid, seconds=60):
    """Wait until a process has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def test_a_network_that_is_down_is_said_once_and_sync_uploads_later_and_once(
    server, tmp_path, monkeypatch, capsys
):
    with monkeypatch.context() as patched:
        patched.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        sdk.restart()
        folder = run(configured(tmp_path, *WORDS, *MINE, "tracker.timeout_seconds=1"))
        sdk.restart()
    said = capsys.readouterr().err
    assert said.count("warning: tracker=wandb") == 1
    assert "nobody answers at http://127.0.0.1:9; leadline sync uploads later" in said
    assert [row["_step"] for row in read_back(folder).history] == STEPS
    for expected in ("1 uploaded", "1 already there"):
        assert cli.main(["sync", "--runs", str(tmp_path / "runs")]) == 0
        assert capsys.readouterr().out.strip() == expected
    (told,) = server.runs.values()
    assert [row["_step"] for row in told.history] == STEPS
    assert len(server.artifacts[f"predictions-{folder.name}"]) == 1
    # wandb's own mark, so that `wandb sync` skips our folder too.
    assert list((folder / "wandb").glob("offline-run-*/*.wandb.synced"))


def test_a_server_that_refuses_a_run_is_said_once(server, tmp_path, capsys):
    """Here wandb's own process holds on to the run that it could not open."""
    server.broken = {"UpsertBucket"}
    folder = run(configured(tmp_path, *QUICK))
    assert capsys.readouterr().err.count("warning: tracker=wandb") == 1
    assert [row["_step"] for row in read_back(folder).history] == [1]


def test_behind_a_proxy_wandb_is_asked_itself(at_home, monkeypatch):
    with pytest.raises(ConnectionError, match="nobody answers"):
        sdk.require_answer(1.0)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    sdk.require_answer(1.0)


def test_a_server_that_loses_an_upload_is_found_out_and_sync_completes_it(
    server, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("leadline.runs.tracking.wandb.tracker.PAUSES", ())
    server.broken = {"file_stream"}
    folder = run(configured(tmp_path, *QUICK))
    assert "has not arrived as a whole; leadline sync completes it" in capsys.readouterr().err
    assert record.state(folder) is record.State.DONE and not uploaded.read(folder)["synced"]
    server.broken = set()
    assert cli.main(["sync", "--runs", str(tmp_path / "runs")]) == 0
    (told,) = server.runs.values()
    assert [row["_step"] for row in told.history] == [1]


def test_a_wandb_that_is_broken_is_said_once_and_stops_nothing(
    at_home, tmp_path, monkeypatch, capsys
):
    def broken():
        raise ImportError("libwandb is not what it was")

    monkeypatch.setattr(sdk, "sdk", broken)
    folder = run(configured(tmp_path, *WORDS, *MINE))
    said = "warning: tracker=wandb does not work, the run goes on without it: ImportError: libwandb"
    assert capsys.readouterr().err.count(said) == 1
    assert record.state(folder) is record.State.DONE


def test_wandbs_own_process_may_die(server, tmp_path, monkeypatch, capsys):
    """Killed after two epochs: the run ends well, and the next one has wandb again."""
    open_run, died = sdk.open_run, []

    def doomed(*arguments, **named):
        opened = open_run(*arguments, **named)
        told = opened.log

        def dying(values, step):
            if step == 2:
                (child,) = children_named("wandb-core")
                os.kill(child, signal.SIGKILL)
                # wandb does not collect its dead, and Python would complain of that at exit.
                for item in gc.get_objects():
                    if type(item) is subprocess.Popen and item.pid == child:
                        died.append(item.wait())
            told(values, step=step)

        monkeypatch.setattr(opened, "log", dying)
        return opened

    with monkeypatch.context() as patched:
        patched.setattr(sdk, "open_run", doomed)
        folder = run(configured(tmp_path, *WORDS, *MINE))
    assert died == [-signal.SIGKILL] and record.state(folder) is record.State.DONE
    assert capsys.readouterr().err.count("warning: tracker=wandb") == 1
    run(configured(tmp_path, *QUICK))
    assert "warning" not in capsys.readouterr().err


def children_named(name):
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [pid for pid in map(int, children) if name in Path(f"/proc/{pid}/cmdline").read_text()]


def test_no_key_is_ever_written(server, tmp_path):
    run(configured(tmp_path, *QUICK, "tracker.mode=offline"))
    run(configured(tmp_path, *QUICK, "seed=2"))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(("mode", "made"), [("offline", True), ("disabled", False)])
def test_wandbs_own_switch_is_obeyed(mode, made, server, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", mode)
    folder = run(configured(tmp_path, *QUICK))
    sdk.restart()
    assert server.paths == []
    assert bool(list((folder / "wandb").glob("offline-run-*"))) == made


def test_sync_needs_a_key_unless_it_only_looks(at_home, tmp_path, capsys):
    folder = run(configured(tmp_path, "model=majority"))
    words = ["sync", "--runs", str(folder.parent)]
    assert cli.main(words) == cli.MISTAKE
    assert capsys.readouterr().err.endswith(
        "leadline: leadline sync needs a key of wandb: got none for http://127.0.0.1:9; run wandb "
        "login, set WANDB_API_KEY, or write offline folders with --offline\n"
    )
    assert cli.main([*words, "--dry-run"]) == 0
    assert capsys.readouterr().out == "1 to do\n"
    assert not (folder / "wandb").exists()


def test_sync_goes_on_after_one_that_fails(server, tmp_path, monkeypatch, capsys):
    runs = [run(configured(tmp_path, "model=majority", f"seed={seed}")) for seed in (1, 2)]
    tell = upload.tell_record

    def failing(opened, folder, *, after):
        if folder == runs[0]:
            raise OSError("disk on fire")
        return tell(opened, folder, after=after)

    monkeypatch.setattr(upload, "tell_record", failing)
    words = ["sync", "--runs", str(runs[0].parent), "--project", "other", "--entity", "lab"]
    assert cli.main(words) == cli.FAILED
    shown = capsys.readouterr()
    assert shown.out == "1 uploaded, 1 failed\n"
    assert f"{runs[0].name} could not be uploaded: OSError: disk on fire" in shown.err
    assert server.runs[runs[1].name].fields["project"] == "other"
    with locks.hold(runs[0]):
        assert cli.main(words) == cli.FAILED


def reported(rows):
    """Write what a report consists of."""

    def write(place):
        for name, text in {
            "index.html": "<p>page</p>",
            "tables/which_arms.csv": f"arm,accuracy\n{rows}",
            "figures/which_forest.svg": "<svg xmlns='http://www.w3.org/2000/svg'></svg>",
        }.items():
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_text(text)

    return write


@pytest.fixture
def study(tmp_path):
    runs_dir = tmp_path / "runs"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("WANDB_MODE", "disabled")
        made = run(configured(tmp_path, *QUICK, "tracker.project=depth"))
    runs = [{"run_id": made.name, "arm": "reference"}, {"run_id": "missing", "arm": "other"}]
    manifest = {"name": "which", "question": "Which?", "arms": {}, "runs": runs}
    (runs_dir / "studies").mkdir()
    (runs_dir / "studies" / "which.json").write_text(json.dumps(manifest))
    return runs_dir


def test_a_study_has_a_summary_run_offline(at_home, study, capsys):
    wish = SyncRequest(runs_dir=study, study="which", offline=True)
    assert sync(wish) == {"written": 1}
    assert sync_study(wish, reported("small,0.5\n")) == "written"
    told = read_back(study / "studies" / "which")
    assert (told.run_id, told.group, told.job_type) == ("study-which", "which", "study")
    assert told.project == "depth"
    assert told.config == {"name": "which", "question": "Which?", "arms": {}}
    assert (told.summary["runs"], told.summary["runs done"]) == (2, 1)
    assert set(told.history[0]) >= {"tables/which_arms", "figures/which_forest"}
    assert "report-which" in told.artifacts
    assert sync_study(wish, reported("small,0.5\n")) == "already there"
    assert sync_study(wish, reported("small,0.6\n")) == "written"
    (folder,) = study.glob("majority*")
    assert read_back(folder).group == "which" and read_back(folder).job_type == "reference"


def test_a_study_is_uploaded_again_only_when_it_says_something_new(server, study):
    wish = SyncRequest(runs_dir=study, study="which")
    assert sync(wish) == {"uploaded": 1}
    for rows, said in (("a,1\n", "uploaded"), ("a,1\n", "already there"), ("a,2\n", "uploaded")):
        assert sync_study(wish, reported(rows)) == said
    told = server.runs["study-which"]
    assert {one.fields["project"] for one in server.runs.values()} == {"depth"}
    assert [row["_step"] for row in told.history] == [0, 1]
    assert len(server.artifacts["report-which"]) == 2
    assert sync_study(replace(wish, dry_run=True), reported("a,3\n")) == "to do"


@pytest.mark.slow
def test_two_ranks_tell_once(server, tmp_path, capsys):
    folder = run(configured(tmp_path, *WORDS, *MINE, "train.devices=2"))
    (told,) = server.runs.values()
    assert [row["_step"] for row in told.history] == STEPS
    assert told.exits[-1] == 0
    assert record.read_facts(folder)["provenance"]["world_size"] == 2
    assert "warning" not in capsys.readouterr().err
