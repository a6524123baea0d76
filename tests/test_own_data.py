"""`leadline ablate own_data` on odd files: a useful refusal before anything runs, or a report."""

from dataclasses import replace

import numpy as np
import pytest

from leadline import cli
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
    ablate(path, tmp_path / "runs", *words, expect=cli.GOOD)
    assert "0 failed; 0 to do" in capsys.readouterr().out
    out = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "report")]
    assert cli.main(["report", "own_data", *out]) == cli.GOOD
