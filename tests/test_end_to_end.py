"""From a cell file to a record, as a user does it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cells_broken import BROKEN
from cells_files import make_counts, make_obs, write_h5ad
from leadline import cli, files, locks
from leadline.config.registry import ROWS
from leadline.data.cells import Scale
from leadline.models import FitResult
from leadline.runs import record, run
from leadline.runs.record import State

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def cell_file(tmp_path):
    return write_h5ad(tmp_path / "cells.h5ad", make_counts(120), obs=make_obs(120))


def own(cell_file, runs_dir, *words):
    settings = ["data=h5ad", f"data.path={cell_file}", "data.label=celltype"]
    return ["run", *settings, f"runs_dir={runs_dir}", *words]


def call(capsys, words, expect=cli.GOOD):
    code = cli.main(words)
    shown = capsys.readouterr()
    assert code == expect, shown.err
    return shown


def folder_of(shown):
    return Path(shown.out.splitlines()[-1])


@pytest.mark.parametrize("model", [name for name, row in ROWS.items() if row.kind == "estimator"])
def test_the_same_run_elsewhere_is_the_same_record(model, cell_file, tmp_path, capsys):
    words = [f"model={model}", "seed=3", "data.fraction=0.5"]
    if model == "logreg":
        words.append("model.grid=[0.1,1]")
    first = folder_of(call(capsys, own(cell_file, tmp_path / "a", *words)))
    moved = shutil.copy(cell_file, tmp_path / "moved.h5ad")
    second = folder_of(call(capsys, own(moved, tmp_path / "b", *words)))
    assert first.parent != second.parent and first.name == second.name
    assert (first / "predictions.npz").read_bytes() == (second / "predictions.npz").read_bytes()
    facts = [record.read_facts(folder) for folder in (first, second)]
    for changing in ("cost", "provenance"):
        assert facts[0].pop(changing) and facts[1].pop(changing)
    assert facts[0] == facts[1]
    assert record.state(first) is State.DONE and record.verify(first) == []


def test_a_finished_run_is_not_repeated(cell_file, tmp_path, capsys):
    words = own(cell_file, tmp_path / "runs", "model=majority")
    first = call(capsys, words)
    folder = folder_of(first)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = call(capsys, words)
    assert again.out == first.out
    assert "is done already: nothing to do" in again.err
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_the_record_says_what_was_done(cell_file, tmp_path, capsys):
    words = own(cell_file, tmp_path / "runs", "model=knn_pca", "data.fraction=0.5", "seed=2")
    folder = folder_of(call(capsys, words))
    facts = record.read_facts(folder)
    assert facts["run_id"] == folder.name and folder.name.startswith("knn_pca-h5ad-f0.5-s2-")
    assert (facts["model"], facts["fraction"], facts["seed"]) == ("knn_pca", 0.5, 2)
    assert facts["protocol"]["fewshot"] == "stratified_nested"
    assert sum(facts["split"]["cells"].values()) == facts["data"]["cells"] == 120
    assert facts["data"]["scale"] == "counts" and len(facts["data"]["fingerprint"]) == 64
    assert facts["provenance"]["packages"]["numpy"] == np.__version__
    assert facts["cost"]["peak_memory_mib"] > 0
    parts, classes = record.read_predictions(folder)
    said = parts["test"]
    assert facts["metrics"]["test"]["accuracy"] == (said.truth_C == said.predicted_C).mean()
    assert list(classes) == facts["data"]["classes"]
    assert said.proba_CK.dtype == np.float16
    assert "starts: " in (folder / "log.txt").read_text()
    assert sorted(path.name for path in folder.iterdir()) == [
        "DONE",
        "config.yaml",
        "log.txt",
        "predictions.npz",
        "record.json",
    ]


def test_the_record_holds_the_donor_of_every_reported_cell(cell_file, tmp_path, capsys):
    def said(*words):
        shown = call(capsys, own(cell_file, tmp_path, "model=majority", *words))
        folder = folder_of(shown)
        return record.read_predictions(folder)[0]["test"], folder, shown.err

    none, _, _ = said()
    assert none.batches is None
    mixed, _, _ = said("data.batch=donor")
    row_C = np.char.lstrip(mixed.ids, "cell").astype(int)
    np.testing.assert_array_equal(
        mixed.batches.names[mixed.batches.code_C], np.char.add("donor", (row_C % 2).astype(str))
    )
    assert mixed.batches.code_C.dtype == np.uint8
    assert mixed.batches.names.tolist() == ["donor0", "donor1"]
    assert mixed.batches.trained_on_B.all()
    whole, folder, err = said("data.batch=donor", "protocol.reported=group")
    assert len(whole.batches.names) == 1 and not whole.batches.trained_on_B.any()
    for told in (err, (folder / "log.txt").read_text(), *record.read_facts(folder)["warnings"]):
        assert "1 of 2 batches are held out: of fresh batches 1, 2 or 3 decide nothing" in told
    # Selection cells count: here they are the reported ones.
    chosen_on, _, _ = said(
        *("data.batch=donor", "protocol.reported=group", "protocol.selection=reported"),
        "protocol.baseline_cells=train",
    )
    assert chosen_on.batches.trained_on_B.all()


def test_what_published_means_is_resolved_before_the_run_is_named(cell_file, tmp_path, capsys):
    short = own(cell_file, tmp_path, "model=majority", "protocol=paper_code")
    byhand = [
        *own(cell_file, tmp_path, "model=majority", "protocol=paper_code"),
        "protocol.selection=none",
        "protocol.fewshot=stratified",
    ]
    first = folder_of(call(capsys, short))
    assert record.read_facts(first)["protocol"]["selection"] == "none"
    assert folder_of(call(capsys, byhand)) == first


def test_baselines_can_be_handicapped(cell_file, tmp_path, capsys):
    words = own(cell_file, tmp_path, "model=majority", "protocol.baseline_cells=train")
    facts = record.read_facts(folder_of(call(capsys, words)))
    assert facts["split"]["cells"]["val"] == 10
    assert set(facts["metrics"]) == {"test", "val"}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_file_ends_with_one_line_and_exit_code_2(name, tmp_path, capsys):
    broken = BROKEN[name](tmp_path)
    arguments = {"label": "celltype"} | broken.arguments
    words = [f"data.{key}='{value}'" for key, value in arguments.items()]
    shown = call(
        capsys,
        ["run", "data=h5ad", f"data.path='{broken.path}'", "model=majority", *words],
        expect=cli.MISTAKE,
    )
    assert shown.err.startswith("leadline: ") and len(shown.err.splitlines()) == 1
    assert shown.out == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data=h5ad"], "data=h5ad needs a file: got no data.path"),
        (["data=zheng68k"], "data=zheng68k needs Zheng68K.h5ad in .*leadline doctor zheng68k"),
        (["data.hard_classes=[T]"], "data.hard_classes must be values of 'bulk_labels': got 'T'"),
    ],
)
def test_data_that_are_not_there_are_explained(words, message, tmp_path, capsys):
    shown = call(capsys, ["run", f"runs_dir={tmp_path}", *words], expect=cli.MISTAKE)
    assert shown.err.startswith("leadline: ")
    assert re.search(message, shown.err)


def test_a_gpu_that_is_not_there_is_explained(cell_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    words = own(cell_file, tmp_path, "model=logreg", "train.device=cuda")
    shown = call(capsys, words, expect=cli.MISTAKE)
    assert "needs a GPU of its own: got 1 ranks and 0 GPUs" in shown.err


class Spy:
    """A model that remembers what it was given."""

    accepts = frozenset(Scale)
    fitted: list = []
    asked: list = []

    def fit(self, train, selection):
        Spy.fitted = [train.ids, selection.ids if selection is not None else []]
        self.classes = train.classes
        return FitResult(facts={"parameters_total": 1, "parameters_trainable": 1})

    def predict_proba(self, cells):
        Spy.asked.append(cells.ids)
        return np.full((len(cells), len(self.classes)), 1 / len(self.classes))


def test_fit_never_sees_the_reported_cells(cell_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run.models, "build", lambda *_, **__: Spy())
    words = own(cell_file, tmp_path / "runs", "protocol.baseline_cells=train")
    folder = folder_of(call(capsys, words))
    parts, _ = record.read_predictions(folder)
    reported = set(parts["test"].ids)
    assert len(reported) == 24
    for given in Spy.fitted:
        assert len(given) and reported.isdisjoint(given)
    assert reported == set(Spy.asked[0])


def test_a_model_that_breaks_leaves_its_traceback_and_exit_code_1(
    cell_file, tmp_path, capsys, monkeypatch
):
    def broken(self, train, selection):
        raise RuntimeError("the optimiser exploded")

    words = own(cell_file, tmp_path / "runs", "model=knn_pca")
    with monkeypatch.context() as patched:
        patched.setattr(Spy, "fit", broken)
        patched.setattr(run.models, "build", lambda *_, **__: Spy())
        shown = call(capsys, words, expect=cli.FAILED)
    (folder,) = (tmp_path / "runs").iterdir()
    assert "the optimiser exploded" in shown.err and str(folder / "FAILED") in shown.err
    assert "Traceback" not in shown.err
    assert "RuntimeError: the optimiser exploded" in (folder / "FAILED").read_text()
    assert record.state(folder) is State.FAILED
    # The next call makes it good.
    assert folder_of(call(capsys, words)) == folder
    assert record.state(folder) is State.DONE and not (folder / "FAILED").exists()


def test_an_interrupt_is_said_and_the_next_call_goes_on(cell_file, tmp_path, capsys, monkeypatch):
    def interrupted(self, train, selection):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Spy, "fit", interrupted)
        patched.setattr(run.models, "build", lambda *_, **__: Spy())
        shown = call(capsys, own(cell_file, tmp_path / "runs"), expect=cli.FAILED)
    assert "interrupted; the same command goes on" in shown.err


def test_a_run_that_another_process_computes_is_left_alone(cell_file, tmp_path, capsys):
    words = own(cell_file, tmp_path / "runs", "model=majority")
    folder = folder_of(call(capsys, words))
    (folder / "DONE").unlink()
    with locks.hold(folder):
        shown = call(capsys, words, expect=cli.FAILED)
    assert f"process {os.getpid()} on" in shown.err and "works on" in shown.err


KILLER = """
import os, signal, sys
from leadline import files as atomic
from leadline.cli import main
import leadline.runs.run, leadline.data.datasets, leadline.models.controls
import sklearn.model_selection, anndata

def step():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def dying(function):
    def wrapped(*args, **kwargs):
        step()
        result = function(*args, **kwargs)
        step()
        return result
    return wrapped

for name in ("replace", "fsync", "link", "unlink", "rename"):
    setattr(os, name, dying(getattr(os, name)))
words = sys.argv[1:]
deaths = 0
for moment in range(1, 1000):
    child = os.fork()
    if child == 0:
        left = moment
        os._exit(main(words))
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0, status
        break
    deaths += 1
print("deaths", deaths)
"""


def test_death_at_every_step_of_writing_never_spoils_a_record(cell_file, tmp_path, capsys):
    """Each attempt dies one file operation later than the last, until one gets through."""
    undisturbed = folder_of(call(capsys, own(cell_file, tmp_path / "a", "model=majority")))
    words = own(cell_file, tmp_path / "b", "model=majority")
    done = subprocess.run(
        [sys.executable, "-c", KILLER, *words], capture_output=True, text=True, check=True
    )
    assert int(done.stdout.split()[-1]) >= 20
    survivor = tmp_path / "b" / undisturbed.name
    assert record.state(survivor) is State.DONE and record.verify(survivor) == []
    name = record.PREDICTIONS
    assert (survivor / name).read_bytes() == (undisturbed / name).read_bytes()
    assert not list(survivor.glob(f"{files.TEMPORARY}*")) and not (survivor / locks.NAME).exists()


@pytest.mark.slow
def test_kill_9_at_twenty_random_moments(cell_file, tmp_path, capsys):
    reference = folder_of(
        call(capsys, own(cell_file, tmp_path / "a", "model=logreg", "model.grid=[0.1,1]"))
    )
    rng = np.random.default_rng(0)
    words = own(cell_file, tmp_path / "b", "model=logreg", "model.grid=[0.1,1]")
    command = [sys.executable, "-m", "leadline.cli", *words]
    kills = 0
    for moment in rng.uniform(0.5, 4.0, 20):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            process.wait(timeout=moment)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
        for folder in (tmp_path / "b").glob("*"):
            if record.state(folder) is State.DONE:
                assert record.verify(folder) == []
                shutil.rmtree(folder)
    assert kills >= 5
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    survivor = Path(done.stdout.splitlines()[-1])
    assert record.verify(survivor) == []
    for name in ("predictions.npz", "top_genes.csv"):
        assert (survivor / name).read_bytes() == (reference / name).read_bytes()


def test_an_installed_wheel_works_without_the_checkout(cell_file, tmp_path):
    """The wheel is unpacked beside the installed packages, and wins over the editable install."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        + ["--wheel-dir", str(tmp_path), str(ROOT)],
        check=True,
    )
    (wheel,) = tmp_path.glob("leadline-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "site")
    words = own(cell_file, "runs", "model=majority")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    where = subprocess.run(
        [sys.executable, "-c", "import leadline; print(leadline.__file__)"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=True,
    )
    assert where.stdout.startswith(str(tmp_path / "site"))

    def called(*words):
        done = subprocess.run(
            [sys.executable, "-m", "leadline.cli", *words],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        return done

    assert "40 claims" in called("reproduce").stdout
    for call_words in (words, ["run", "data=pbmc68k_reduced", "model=majority"]):
        done = called(*call_words)
        folder = tmp_path / done.stdout.splitlines()[-1]
        facts = json.loads((folder / "record.json").read_text())
        assert facts["provenance"]["git_commit"] is None
