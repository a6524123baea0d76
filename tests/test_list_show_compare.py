"""`leadline list`, `show`, `compare` and `completion`: what there is, what one run is."""

import json
import os
import subprocess

import numpy as np
import pytest

from leadline import cli
from leadline.cli.completion import words_of
from leadline.cli.live_table import aligned
from leadline.cli.parser import COMMANDS, parser
from leadline.config.compose import options
from leadline.runs import record
from leadline.runs.records import configuration, find_run
from records import write_manifest, write_pretraining, write_run
from small import saved, small_cells


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Give a folder with two finished runs and a failed one."""
    place = tmp_path_factory.mktemp("looked_at")
    path = saved(small_cells((40, 40, 40), signal=2.0), place / "cells.h5ad")
    data = ["data=h5ad", f"data.path={path}", "data.label=celltype", f"runs_dir={place / 'runs'}"]
    for words in (["model=nearest_centroid"], ["model=majority"], ["model=knn_pca", "seed=2"]):
        assert cli.main(["run", *data, *words]) == cli.GOOD
    (place / "bad_model.py").write_text(
        "class Bad:\n    def fit(self, X, y):\n        raise RuntimeError('no luck')\n"
        "    def predict_proba(self, X):\n        return X\n"
    )
    here = os.getcwd()
    os.chdir(place)
    try:
        assert cli.main(["run", *data, "model=python:bad_model.Bad"]) == cli.FAILED
    finally:
        os.chdir(here)
    return place / "runs"


def call(capsys, *words, expect=cli.GOOD):
    assert cli.main(list(words)) == expect
    return capsys.readouterr()


def test_list_names_everything(runs, capsys):
    shown = call(capsys, "list", "--runs", str(runs)).out
    for name in (*options("model"), *options("data")):
        assert f"  {name} " in shown
    assert "L1 logistic regression" in shown and "700 cells x 765 genes" in shown


@pytest.mark.parametrize("topic", ["models", "datasets", "studies"])
def test_a_topic_alone(topic, capsys):
    assert call(capsys, "list", topic).out.strip()


def test_runs_are_listed_with_what_came_of_them(runs, capsys):
    lines = call(capsys, "list", "runs", "--runs", str(runs)).out.splitlines()
    assert lines[0].split() == ["run", "state", "accuracy", "macro-F1", "study"]
    (failed,) = [line for line in lines if line.startswith("Bad-h5ad")]
    assert failed.split()[1:] == ["failed"]
    (done,) = [line for line in lines if line.startswith("majority-")]
    facts = record.read_facts(runs / done.split()[0])
    assert done.split()[1:3] == ["done", f"{facts['metrics']['test']['accuracy']:.4f}"]


def test_no_runs_yet(tmp_path, capsys):
    assert "none yet" in call(capsys, "list", "--runs", str(tmp_path / "runs")).out
    shown = call(capsys, "list", "runs", "--runs", str(tmp_path / "x"), expect=cli.MISTAKE)
    assert "--runs must be a folder of records" in shown.err


def test_show_tells_a_finished_run(runs, capsys):
    shown = call(capsys, "show", "knn_pca", "--runs", str(runs)).out
    assert "knn_pca-h5ad-f1-s2-" in shown and ": done" in shown
    for text in ("120 x 40 genes of h5ad (counts), 3 classes", "macro_f1", "type 1", "MiB"):
        assert text in shown
    changed = shown.partition("settings that are not the default:")[2]
    assert "data.path" in changed and "data.label" in changed and "seed" in changed
    assert "model.components" not in changed
    assert "predictions.npz" in shown.partition("files:")[2]


def test_show_tells_why_a_run_failed(runs, capsys):
    shown = call(capsys, "show", "Bad", "--runs", str(runs)).out
    assert ": failed" in shown and "RuntimeError: no luck" in shown and "bad_model.py" in shown


def test_show_tells_a_changed_record(runs, tmp_path, capsys):
    folder = find_run("majority", runs)
    other = tmp_path / folder.name
    other.mkdir()
    for path in folder.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    (other / "predictions.npz").write_bytes(b"other")
    assert "CHANGED since it was done: predictions.npz" in call(capsys, "show", str(other)).out
    (other / "DONE").unlink()
    shown = call(capsys, "show", str(other)).out
    assert ": interrupted" in shown and "last lines of its log:" in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "a run is named by its folder or its id: got 'nothing', which is neither"),
        ("", "with which 4 runs begin"),
        ("knn_pac", "choose one of Bad-h5ad-f1-s1-"),
    ],
)
def test_a_run_that_is_not_there(text, message, runs, capsys):
    assert message in call(capsys, "show", text, "--runs", str(runs), expect=cli.MISTAKE).err


def test_compare_tells_settings_and_cells_apart(runs, capsys):
    words = ["compare", "nearest_centroid", "knn_pca", "--runs", str(runs)]
    shown = call(capsys, *words).out
    settings = shown.partition("settings that differ:")[2]
    assert "model.name" in settings and "seed" in settings and "model.components" not in settings
    assert "cells: the same; split: the same" in shown
    said = [record.read_predictions(find_run(name, runs))[0]["test"] for name in words[1:3]]
    right = [one.predicted_C == one.truth_C for one in said]
    counts = {
        "both right": right[0] & right[1],
        "only A right": right[0] & ~right[1],
        "only B right": ~right[0] & right[1],
        "both wrong": ~right[0] & ~right[1],
    }
    for name, cells in counts.items():
        assert [name, str(cells.sum())] == line_with(shown, name).rsplit(maxsplit=1)
    assert "McNemar’s test: p = " in shown
    told = line_with(shown, "accuracy, A - B: ")
    assert "95 % interval" in told and told.endswith((": open", ": better", ": worse"))
    assert "fresh runs on fresh cells like these; its variance: 100% which cells" in shown
    differ = int((said[0].predicted_C != said[1].predicted_C).sum())
    assert f"{differ} cells are called differently, most often:" in shown


def line_with(shown, text):
    (line,) = [line.strip() for line in shown.splitlines() if line.strip().startswith(text)]
    return line


def test_a_run_compared_with_itself(runs, capsys):
    shown = call(capsys, "compare", "knn_pca", "knn_pca", "--runs", str(runs)).out
    assert "settings: the same" in shown and "every cell is called the same" in shown


def test_arms_are_compared_over_fresh_runs_and_cells(tmp_path, capsys):
    from leadline.report.compare.study import comparisons
    from leadline.report.study import gather

    made = [
        (write_run(tmp_path, arm=arm, seed=seed, accuracy=accuracy + seed / 100), arm)
        for arm, accuracy in (("reference", 0.6), ("other", 0.8), ("third", 0.7))
        for seed in (1, 2, 3)
    ]
    write_manifest(tmp_path, "s", {"reference": None, "other": "reference"}, made)
    words = ["compare", "other", "scbert/reference", "third", "--runs", str(tmp_path)]
    shown = call(capsys, *words).out
    (study,) = gather(tmp_path, ["s"], 0.01)
    found = comparisons(study)[0]
    line = line_with(shown, "accuracy, A - B: ")
    ends = f"95 % interval {found.interval.low:+.4f} to {found.interval.high:+.4f}"
    assert ends in line and f"p = {found.p:.3g} (" in line and line.endswith(": better")
    assert line_with(shown, "A  other") == "A  other, 3 runs"
    assert line_with(shown, "accuracy, A - C: ")
    # One run of a model with luck says nothing of the next.
    one = next(run for run, arm in made if arm == "other")
    shown = call(capsys, "compare", one, "reference", "--runs", str(tmp_path)).out
    assert line_with(shown, "accuracy, A - B: ").endswith(": untested")
    assert "this trained model, not the next" in shown


def test_what_cannot_be_compared_is_said(tmp_path, capsys):
    runs = ["--runs", str(tmp_path)]
    write_run(tmp_path, arm="a")
    for fraction in (0.25, 0.5):
        write_run(tmp_path, arm="b", fraction=fraction)
    shown = call(capsys, "compare", "a", "b", *runs, expect=cli.MISTAKE).err
    assert "same data and share of the labels: got a: cells 100%; b: cells 25%, cells 50%" in shown
    body = write_pretraining(tmp_path)
    shown = call(capsys, "compare", body, "a", *runs, expect=cli.MISTAKE).err
    assert "compared by the classes that they name: got scbert-pretrain-s1, which names no" in shown
    half = write_run(tmp_path, arm="half", fraction=0.5)
    assert "accuracy, A - B: " in call(capsys, "compare", "a", half, *runs).out
    shown = call(capsys, "compare", "a", *runs, expect=cli.MISTAKE).err
    assert "a comparison needs two runs or arms: got a; name another" in shown
    made = [[(write_run(tmp_path, arm=f"c{s}", seed=s), "c")] for s in (1, 2)]
    for name, run in zip("xy", made, strict=True):
        write_manifest(tmp_path, name, {"c": None}, run, reference="c")
    shown = call(capsys, "compare", "a", "c", *runs, expect=cli.MISTAKE).err
    assert "an arm must be called so by one study: got c, which stands for other runs" in shown


def test_runs_without_common_cells_and_unfinished_ones(runs, tmp_path, capsys):
    cells = small_cells((40, 40, 40), ids=np.array([f"other{i}" for i in range(120)]))
    path = saved(cells, tmp_path / "other.h5ad")
    data = ["data=h5ad", f"data.path={path}", "data.label=celltype"]
    assert cli.main(["run", *data, "model=majority", f"runs_dir={tmp_path / 'runs'}"]) == cli.GOOD
    (other,) = (tmp_path / "runs").glob("majority-*")
    here = ["--runs", str(runs)]
    shown = call(capsys, "compare", "knn_pca", str(other), *here, expect=cli.MISTAKE)
    assert "two runs can be compared on cells that both reported on: got none" in shown.err
    shown = call(capsys, "compare", "knn_pca", "Bad", *here, expect=cli.MISTAKE)
    assert "only a finished run can be used" in shown.err


@pytest.mark.parametrize("name", ["nearest_centroid", "majority", "knn_pca", "Bad"])
def test_a_configuration_comes_back_as_it_was(name, runs):
    folder = find_run(name, runs)
    config = configuration(folder)
    assert config.data.label == "celltype" and type(config.data).__name__ == "FileData"
    wanted = {"Bad": "PythonConfig", "knn_pca": "KnnPcaConfig", "majority": "MajorityConfig"}
    assert type(config.model).__name__ == wanted.get(name, "NearestCentroidConfig")


def test_a_configuration_of_another_version_is_refused(runs, tmp_path, capsys):
    folder = find_run("majority", runs)
    text = (folder / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(text.replace("design:", "desing:"))
    for path in folder.iterdir():
        if path.name != "config.yaml":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    done = json.loads((tmp_path / "DONE").read_text())
    done["sha256"].pop("config.yaml")
    (tmp_path / "DONE").write_text(json.dumps(done))
    words = ["predict", "--run", str(tmp_path), "--cells", "x.h5ad", "--out", "x.csv"]
    assert "must be one that this version of leadline writes" in (
        call(capsys, *words, expect=cli.MISTAKE).err
    )


def test_columns_are_aligned():
    rows = [("name", "n"), ("a", "1,000"), ("long", "2")]
    assert aligned(rows) == ["name      n", "a     1,000", "long      2"]
    assert aligned([]) == [] and aligned([("a",), ("b", "c")]) == ["a", "b  c"]


BASH = """
source ./script
COMP_LINE="$1"; COMP_POINT=${#1}; COMP_WORDBREAKS="$2"
read -ra COMP_WORDS <<< "${1//=/ = }"; COMP_CWORD=$3
_leadline; printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("typed", "word", "breaks", "expected"),
    [
        ("leadline sho", 1, "= ", {"show"}),
        ("leadline run model=logr", 4, "= ", {"logreg"}),
        ("leadline run model=logr", 2, " ", {"model=logreg"}),
        ("leadline run protocol=paper_", 4, "= ", {"paper_code", "paper_prose"}),
        ("leadline show logreg-x-f1", 2, "= ", {"logreg-x-f1-s1-0123456789ab"}),
        ("leadline list stu", 2, "= ", {"studies"}),
        ("leadline predict --thr", 2, "= ", {"--threshold"}),
        ("leadline doctor zheng6", 2, "= ", {"zheng68k"}),
        ("leadline run data.path=own.h", 4, "= ", {"own.h5ad"}),
    ],
)
def test_bash_completes(typed, word, breaks, expected, tmp_path, capsys):
    (tmp_path / "script").write_text(call(capsys, "completion", "bash").out)
    (tmp_path / "runs" / "logreg-x-f1-s1-0123456789ab").mkdir(parents=True)
    (tmp_path / "own.h5ad").touch()
    done = subprocess.run(
        ["bash", "-c", BASH, "bash", typed, breaks, str(word)],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert set(done.stdout.split()) == expected and done.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_and_option_is_in_the_script(shell, capsys):
    script = call(capsys, "completion", shell).out
    words = words_of(parser())
    assert set(words) == set(COMMANDS)
    for name, what in words.items():
        assert name in script
        for flag in what.flags:
            assert (f"-l {flag[2:]}" if shell == "fish" else flag) in script
    for name in options("model"):
        assert f"model={name}" in script
