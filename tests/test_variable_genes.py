"""data.variable_genes: which genes are kept, for whom, and that nobody else's run is renamed."""

from dataclasses import replace

import numpy as np
import pytest

from leadline.config import science
from leadline.config.compose import compose
from leadline.data.cells import keep_variable
from leadline.errors import UserError
from leadline.runs.prepare import prepare
from small import saved, small_cells


def dense_variance(cells):
    return np.asarray(cells.lognorm().todense(), np.float64).var(axis=0)


def test_the_genes_of_largest_variance_are_kept_in_their_order():
    cells = small_cells((30, 20), n_genes=40)
    rows = np.arange(0, 50, 2)
    fewer = keep_variable(cells, rows, 7)
    wanted = np.sort(np.argsort(-dense_variance(cells.take(rows)), kind="stable")[:7])
    assert fewer.genes.tolist() == cells.genes[wanted].tolist()
    assert (fewer.matrix_CG != cells.matrix_CG[:, wanted]).nnz == 0
    assert fewer.matrix_CG.has_sorted_indices
    # Counts per 10,000 stay those of all genes that were measured.
    assert np.array_equal(fewer.library_C, cells.library_C)
    assert fewer.notes[-1].startswith("7 of 40 genes are used: those that vary most among the 25 ")


def test_cells_of_few_genes_are_left_as_they_are():
    cells = small_cells((30, 20), n_genes=40)
    assert keep_variable(cells, np.arange(50), 40) is cells


def config_of(path, tmp_path, *words):
    return compose(
        ["data=h5ad", f"data.path={path}", "data.label=cell_type", f"runs_dir={tmp_path}", *words]
    )


def test_reported_cells_do_not_choose_genes_and_all_runs_have_the_same(tmp_path):
    cells = small_cells((40, 30, 30), n_genes=60)
    path = saved(cells, tmp_path / "cells.h5ad", label="cell_type")
    jobs = [
        prepare(config_of(path, tmp_path, "data.variable_genes=9", *words))
        for words in (
            ["model=logreg", "seed=1"],
            ["model=mlp", "seed=2", "data.fraction=0.5"],
            ["model=scgpt", "model.size=tiny", "task=pretrain"],
        )
    ]
    assert {tuple(job.cells.genes) for job in jobs} == {tuple(jobs[0].cells.genes)}
    others = np.setdiff1d(np.arange(100), jobs[0].split.test)
    kept = np.sort(np.argsort(-dense_variance(cells.take(others)), kind="stable")[:9])
    assert jobs[0].cells.genes.tolist() == cells.genes[kept].tolist()


def test_a_run_that_leaves_it_out_keeps_its_name(tmp_path):
    plain = config_of("x.h5ad", tmp_path)
    assert "variable_genes" not in science(plain)["data"]
    chosen = replace(plain, data=replace(plain.data, variable_genes=9))
    assert science(chosen)["data"]["variable_genes"] == 9


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_genes_are_refused(count, tmp_path):
    message = rf"data.variable_genes must lie in \[2, 10000000\]: got {count};"
    with pytest.raises(UserError, match=message):
        config_of("x.h5ad", tmp_path, f"data.variable_genes={count}")
