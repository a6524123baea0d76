"""`leadline ablate own_data` on odd files: a useful refusal before anything runs, or a report."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from leadline import cli
from leadline.cli.ablate import planned
from leadline.cli.report import answer_lines
from leadline.report.write import headline
from leadline.studies import expand, read
from small import saved, small_cells


def ablate(path, runs, *words, expect=cli.MISTAKE):
    named = ["data.path=" + str(path), f"runs_dir={runs}"]
    assert cli.main(["ablate", "own_data", *named, *words]) == expect


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((9, 7, 4), "20 cells of 3 types, and with data.fraction=0.2 "),
        ((60,), "only where there are at least 2: got 60 cells, all 'type 0' in 'cell_type'"),
        ((40, 1, 30), "needs at least 2 cells to be split by class"),
        ((3, 3), "label more cells, merge types that are rare, or name a coarser column"),
    ],
    ids=["20 cells", "1 class", "a class of one cell", "6 cells"],
)
def test_cells_that_do_not_suffice_are_refused_in_one_line(sizes, message, tmp_path, capsys):
    path = saved(small_cells(sizes), tmp_path / "cells.h5ad", label="cell_type")
    ablate(path, tmp_path / "runs", "data.label=cell_type")
    shown = capsys.readouterr().err
    assert message in shown and len(shown.splitlines()) == 1
    assert not list((tmp_path / "runs").glob("*-*"))


def test_every_fold_must_have_cells_enough(tmp_path, capsys):
    # With a held out, there are 5 labelled cells of one type in b; with b held out, 3 of each in a.
    labels = np.repeat([0, 1, 2, 3, 0, 1, 2, 3], [15, 15, 15, 15, 26, 8, 8, 8]).astype(np.int32)
    cells = replace(small_cells((110,)), labels_C=labels, classes=("k", "l", "m", "n"))
    batch = np.repeat(["a", "b"], [60, 50])
    path = saved(cells, tmp_path / "cells.h5ad", label="cell_type", batch=batch)
    words = ["data.label=cell_type", "data.batch=protocol", "protocol.folds=2"]
    ablate(path, tmp_path / "runs", *words)
    shown = capsys.readouterr().err
    assert "data.fraction=0.2 12 labelled ones, at most 3 of a type, for 5 folds" in shown


def test_few_cells_are_told_what_they_suffice_for(tmp_path, capsys):
    path = saved(small_cells((9, 7, 4)), tmp_path / "cells.h5ad", label="cell_type")
    ablate(path, tmp_path / "runs", "data.label=cell_type")
    assert "study what they suffice for: data.fraction=1" in capsys.readouterr().err


def test_columns_that_could_be_labels_are_named(tmp_path, capsys):
    cells = small_cells((30, 30))
    path = saved(cells, tmp_path / "cells.h5ad", label="cell type", batch=["a", "b"] * 30)
    ablate(path, tmp_path / "runs")
    shown = capsys.readouterr().err
    assert "no data.label; cells.h5ad has cell type (2 values), protocol (2 values)" in shown
    assert "\"data.label='cell type'\"" in shown


def test_a_file_is_asked_for(tmp_path, capsys):
    assert cli.main(["ablate", "own_data", f"runs_dir={tmp_path / 'runs'}"]) == cli.MISTAKE
    assert "data=h5ad needs a file: got no data.path" in capsys.readouterr().err


@pytest.mark.slow
def test_ensembl_ids_and_a_batch_effect_are_no_obstacle(tmp_path, capsys):
    cells = small_cells((40, 30, 30), n_genes=60)
    noisy = cells.matrix_CG.toarray() * np.where(np.arange(100) % 2, 1, 3)[:, None]
    changed = replace(
        cells,
        genes=np.array([f"ENSG{i:011d}.{i % 5}" for i in range(60)]),
        matrix_CG=type(cells.matrix_CG)(noisy.astype(np.float32)),
    )
    path = saved(changed, tmp_path / "e.h5ad", label="cell_type", batch=["a", "b"] * 50)
    words = ["data.label=cell_type", "data.batch=protocol", "seed=1", "train.epochs=2"]
    # Each of the two batches is held out once.
    words += ["protocol.folds=2", "data.fraction=1.0"]
    ablate(path, tmp_path / "runs", *words, expect=cli.GOOD)
    said = capsys.readouterr().out
    *_, page = said.splitlines()
    assert "0 failed; 0 to do" in said and "logistic regression" in said
    assert page == str(tmp_path / "report" / "index.html") and Path(page).is_file()


def test_the_study_ends_with_its_answer_and_its_page(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = saved(small_cells((40, 30, 30), n_genes=60), tmp_path / "cells.h5ad", label="cell_type")
    study = {
        "question": "Is it enough?",
        "report": True,
        "reference": "logreg",
        "base": {"data": "h5ad", "data.path": str(path), "data.label": "cell_type"},
        "arms": {
            "logreg": {"model": "logreg", "model.grid": [0.1, 1]},
            "majority": {"model": "majority"},
        },
    }
    Path("mine.yaml").write_text(yaml.safe_dump(study))
    assert cli.main(["ablate", "mine.yaml"]) == cli.GOOD
    page = tmp_path / "report" / "index.html"
    _, answer, basis = headline(page)
    said = answer_lines(answer, basis, str(page))
    assert capsys.readouterr().out.splitlines()[-len(said) :] == said and len(said) <= 6
    assert answer.startswith("Majority class is behind logistic regression")


def changed(path, change):
    """Change a file of cells as a user's own may be."""
    import anndata

    adata = anndata.read_h5ad(path)
    change(adata)
    adata.write_h5ad(path)


def without_some_labels(adata):
    labels = adata.obs["cell_type"].astype(object)
    labels.iloc[3:9] = np.nan
    adata.obs["cell_type"] = labels.astype("category")


def measured_labels(adata):
    adata.obs["cell_type"] = np.linspace(0, 1, adata.n_obs)


def numbers_for_labels(adata):
    adata.obs["cell_type"] = adata.obs["cell_type"].cat.codes.astype(float)


def genes_of_one_name(adata):
    names = list(adata.var_names)
    adata.var_names = [names[0], names[0], *names[2:]]


def one_batch(adata):
    adata.obs["protocol"] = "the same"


def logarithms(adata):
    counts = adata.X.toarray()
    adata.X = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)


def z_scores(adata):
    logarithms(adata)
    adata.X = (adata.X - adata.X.mean(axis=0)) / adata.X.std(axis=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_some_labels, "must have a value for every cell: got 6 of 100 cells without one"),
        (
            measured_labels,
            "must name a column of classes: got cell_type with 100 different numbers",
        ),
        (genes_of_one_name, "gene names must be unique: got 1 name"),
        (z_scores, "got z-scores in X of h5ad"),
    ],
)
def test_odd_files_are_refused_in_one_line_before_anything_runs(change, message, tmp_path, capsys):
    path = saved(small_cells((40, 30, 30), n_genes=60), tmp_path / "o.h5ad", label="cell_type")
    changed(path, change)
    ablate(path, tmp_path / "runs", "data.label=cell_type")
    shown = capsys.readouterr().err
    assert message in shown and len(shown.splitlines()) == 1
    assert not list((tmp_path / "runs").glob("*-*"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cell,G0,G1\na,1,2\n", "which is not an HDF5 file; download it again, or save it with "),
        (b"", "an empty file"),
        (None, "which does not exist"),
    ],
    ids=["csv", "empty", "missing"],
)
def test_files_that_are_none_are_refused_in_one_line(content, message, tmp_path, capsys):
    path = tmp_path / "cells.h5ad"
    if content is not None:
        path.write_bytes(content)
    ablate(path, tmp_path / "runs", "data.label=cell_type")
    shown = capsys.readouterr().err
    assert message in shown and len(shown.splitlines()) == 1


@pytest.mark.parametrize("change", [one_batch, logarithms, numbers_for_labels])
def test_files_that_are_only_unusual_are_studied(change, tmp_path):
    path = saved(small_cells((40, 30, 30), n_genes=60), tmp_path / "o.h5ad", label="cell_type")
    changed(path, change)
    words = [f"data.path={path}", "data.label=cell_type", f"runs_dir={tmp_path}", "seed=1"]
    if change is one_batch:
        words.append("data.batch=protocol")
    _, runs = planned("own_data", words)
    # Nine arms with two shares of the labels, and two pretrainings, in each of five folds.
    assert len(runs) == 100 and not any(run.problem for run in runs)


def test_work_follows_from_the_number_of_cells(tmp_path, monkeypatch):
    path = saved(small_cells((40, 30, 30), n_genes=60), tmp_path / "o.h5ad", label="cell_type")
    words = [f"data.path={path}", "data.label=cell_type"]
    # The package gives the function of that name, not the module.
    expanding, done = sys.modules["leadline.studies.expand"], []
    for count in (299, 799, 2499, 2999, 7999, 49_999, 50_000):
        monkeypatch.setattr(expanding, "cells_in", lambda *_, n=count: n)
        plan = expand(read("own_data"), words)
        (wish,) = (one for one in plan.runs if one.arm == "scgpt" and one.point.endswith("=1.0")
                   and one.settings["seed"] == 1
                   and one.settings.get("protocol.fold") in (None, 1))  # fmt: skip
        # Few cells are reported once each, in folds.
        assert wish.settings.get("protocol.folds") == (5 if count < 3000 else None)
        done.append((wish.settings["model.size"], count * wish.settings["train.epochs"]))
    assert [size for size, _ in done] == ["tiny"] * 6 + ["small"]
    # Cells that pass through a network in one fit: minutes on two cores.
    assert all(5_000 < passes < 20_000 for _, passes in done[:5]) and done[5][1] < 50_001
