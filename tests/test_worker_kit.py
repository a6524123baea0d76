"""The worker kit, the check of invariance, and a study with a worker of another environment."""

import os
import shlex
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from leadline import cli
from leadline.models.external import check as checks
from leadline.models.invariance import dependences
from leadline.runs import record
from leadline.runs.record import State
from recipes import Edit, steps
from small import saved, small_cells
from workers_made import exchange_with, write_worker

ROOT = Path(__file__).resolve().parents[1]
CELLS = small_cells((30, 30))


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved(CELLS, tmp_path / "cells.h5ad")
    return tmp_path


def test_ten_minutes_of_a_method_author(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "external.md").read_text().partition("## What a worker is asked")[0]
    assert cli.main(["run", "model=logreg", "seed=1", "model.C=0.1"]) == cli.GOOD
    for step in steps(text):
        if isinstance(step, Edit):
            step.make(tmp_path)
            continue
        capsys.readouterr()
        assert cli.main(shlex.split(step)[1:]) == cli.GOOD, capsys.readouterr()
        if "check" in step:
            said = capsys.readouterr().out
            assert "WRONG" not in said and "pretrained=false: random weights" in said
    assert len(list(Path("runs").glob("mine*-*"))) == 2


def test_a_new_worker_needs_a_name_and_a_new_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, message in (("a-b", "a word of letters, digits and _"), ("ok", None), ("ok", "new")):
        code = cli.main(["worker", "new", name])
        assert code == (cli.GOOD if message is None else cli.MISTAKE)
        assert message is None or message in capsys.readouterr().err
    assert "NAME" not in Path("ok.py").read_text()
    assert len(Path("ok.py").read_text().splitlines()) < 120


MATES = "counts = counts + counts.mean(axis=0)\n    return np.log1p(counts"
PLACES = "999 for gene in map(str, range(len(genes)))]"
DEPTH = "counts.sum(axis=1, keepdims=True)"
WRONG = {
    "batch mates": ("return np.log1p(counts", MATES),
    "order of the genes": ("999 for gene in genes]", PLACES),
    "broken": ("main(sys.argv[1])", "sys.exit('broken')"),
    "versions": ('"versions": {"numpy"', '"versions": {} and {"numpy"'),
    "exit code 3": ("if out:", "if len(cells['ids']) == 1: sys.exit(3)\n    if out:"),
    "half of the genes": ("if out:", "if len(genes) < 30: sys.exit(4)\n    if out:"),
    "without a gene": (f"np.maximum({DEPTH}, 1)", DEPTH),
}


@pytest.mark.slow
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_said(tmp_path, wrong):
    change = WRONG[wrong]
    path = write_worker(tmp_path, replace=[change])
    found = list(checks.check_worker(exchange_with(path), CELLS.take(np.arange(20))))
    said = [text for good, text in found if not good]
    assert said and any(wrong in text for text in said), found
    assert all("\n" not in text for text in said)


def softmax(scores):
    chance = np.exp(scores - scores.max(axis=1, keepdims=True))
    return chance / chance.sum(axis=1, keepdims=True)


def clean_model(seed):
    """Give a model whose answers are each cell's own: linear, nearest, a forest, counting."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(40, 3)) * 10.0 ** rng.integers(-3, 2)
    kinds = {
        0: lambda X: softmax(X @ weight),
        1: lambda X: softmax(-((X[:, None] - weight.T) ** 2).sum(axis=2)),
        2: lambda X: softmax(X.astype(np.float32) @ weight.astype(np.float32)),
        3: lambda X: softmax(np.log1p(X / X.sum(axis=1, keepdims=True)) @ weight),
    }
    return lambda cells: kinds[seed % 4](cells.matrix_CG.toarray())


@pytest.mark.parametrize("seed", range(20))
def test_no_alarm_on_a_clean_model(seed):
    assert not any(each.found for each in dependences(clean_model(seed), CELLS, seed=seed))


def dense(cells):
    return cells.matrix_CG.toarray().astype(float)


PLANTED = {
    "batch mates": lambda cells: softmax(dense(cells)[:, :3] - dense(cells)[:, :3].mean(axis=0)),
    "size of the batch": lambda cells: softmax(dense(cells)[:, :3] / len(cells)),
    "order of the cells": lambda cells: softmax(
        dense(cells)[:, :3] + 0.01 * np.arange(len(cells))[:, None] * [0, 0, 1]
    ),
}


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize("seed", range(5))
def test_a_planted_dependence_is_found(planted, seed):
    found = {each.changed: each for each in dependences(PLANTED[planted], CELLS, seed=seed)}
    assert found[planted].found and found[planted].largest > 1e-3
    assert not found["the same question again"].found
    if planted == "size of the batch":
        assert not found["batch mates"].found and not found["order of the cells"].found


def by_place(cells):
    return dense(cells) @ np.arange(dense(cells).shape[1] * 2.0).reshape(-1, 2)


def by_number_of_genes(cells):
    return dense(cells).sum(axis=1, keepdims=True) / dense(cells).shape[1]


def test_other_genes_and_luck_are_found():
    for ask, kind in (
        (by_place, "order of the genes"),
        (by_number_of_genes, "genes that no cell expresses"),
    ):
        found = dependences(ask, CELLS, vectors=True, genes=True)
        changed = {each.changed for each in found if each.found}
        assert kind in changed and "batch mates" not in changed
    rng = np.random.default_rng(0)
    luck = dependences(lambda cells: softmax(rng.normal(size=(len(cells), 3))), CELLS)
    assert len(luck) == 1 and luck[0].found


def test_invariance_of_a_model(place, capsys):
    words = ["data=h5ad", "data.path=cells.h5ad", "data.label=celltype"]
    assert cli.main(["invariance", "nearest_centroid", *words]) == cli.GOOD
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and all(line.startswith("ok ") for line in lines)
    assert cli.main(["invariance", "pca", "task=zero_shot", *words]) == cli.MISTAKE
    assert "fits a model that names cells: got task=zero_shot" in capsys.readouterr().err


STUDY = """
question: Does it help?
artefacts: [runs]
base: {{data: h5ad, data.path: cells.h5ad, data.label: celltype}}
arms:
  reference: {{model: nearest_centroid}}
  mine: {{model: external, model.worker: mine.py, model.python: {python}}}
  mine_random:
    {{model: external, model.worker: mine.py, model.python: {python}, model.pretrained: false}}
grid: {{seed: [1, 2], data.fraction: [0.5, 1.0]}}
compare: {{family: mine, tests: [paired_t], metrics: [accuracy], equivalence_margin: 0.01}}
"""


def test_a_study_says_what_does_not_apply(place, capsys):
    write_worker(place, replace=[("return np.stack([np.random", "unsupported('none')  # ")])
    (place / "mine.yaml").write_text(STUDY.format(python=sys.executable))
    assert cli.main(["ablate", "mine.yaml", "hydra/launcher=basic"]) == cli.GOOD
    said = capsys.readouterr()
    assert "mine_random: not applicable: " in said.out and "4 not applicable" in said.out
    states = [record.state(path) for path in Path("runs").glob("mine-*")]
    assert states.count(State.NOT_APPLICABLE) == 4 and states.count(State.DONE) == 4
    assert cli.main(["plan", "mine.yaml"]) == cli.GOOD
    assert capsys.readouterr().out.count("not applicable") >= 4
    assert cli.main(["report", "--out", "page"]) == cli.GOOD
    assert "not applicable" in (place / "page" / "index.html").read_text()


@pytest.mark.slow
def test_an_environment_without_leadline_and_with_another_numpy(place):
    made = os.environ.get("LEADLINE_OTHER_PYTHON")
    if made is None:
        venv.create(place / "env", with_pip=True)
        made = str(place / "env" / "bin" / "python")
        words = [made, "-m", "pip", "install", "-q", "numpy<2"]
        if subprocess.run(words, capture_output=True).returncode:
            pytest.skip("no package registry can be reached")
    write_worker(place)
    (place / "mine.yaml").write_text(STUDY.format(python=made))
    assert cli.main(["ablate", "mine.yaml", "hydra/launcher=basic"]) == cli.GOOD
    done = [path for path in Path("runs").glob("mine-*") if record.state(path) is State.DONE]
    versions = {record.read_facts(path)["fit"]["reply"]["versions"]["numpy"] for path in done}
    assert len(done) == 8 and len(versions) == 1 and versions != {np.__version__}
