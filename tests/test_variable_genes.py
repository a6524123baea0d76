"""data.variable_genes: which genes are kept, for whom, and that nobody else's run is renamed."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from leadline.config import science
from leadline.config.compose import compose
from leadline.config.projections import FLAVOURS
from leadline.data.cells import keep_variable
from leadline.data.cells.genes import chosen_genes, local_quadratic
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


def naive_seurat(cells, count):
    """Scanpy's description of the flavour, with pandas."""
    table = np.expm1(cells.lognorm().toarray().astype(np.float64))
    mean = table.mean(axis=0)
    mean[mean == 0] = 1e-12
    with np.errstate(divide="ignore"):
        dispersion = np.log(table.var(axis=0, ddof=1) / mean)
    genes = pd.DataFrame({"mean": np.log1p(mean), "dispersion": dispersion})
    genes["dispersion"] = genes["dispersion"].replace(-np.inf, np.nan)
    groups = genes.groupby(pd.cut(genes["mean"], bins=20), observed=True)["dispersion"]
    centre, spread = groups.transform("mean"), groups.transform("std")
    alone = groups.transform("count") == 1
    score = (genes["dispersion"] - centre.where(~alone, 0)) / spread.where(~alone, centre)
    return np.sort(np.argsort(-score.fillna(-np.inf).to_numpy(), kind="stable")[:count])


def naive_cell_ranger(cells, count):
    table = cells.lognorm().toarray().astype(np.float64)
    mean = table.mean(axis=0)
    mean[mean == 0] = 1e-12
    genes = pd.DataFrame({"mean": mean, "dispersion": table.var(axis=0, ddof=1) / mean})
    edges = np.r_[-np.inf, np.percentile(mean, np.arange(10, 105, 5)), np.inf]
    where = pd.cut(genes["mean"], edges)
    away = genes["dispersion"] - genes.groupby(where, observed=True)["dispersion"].transform(
        "median"
    )
    spread = away.abs().groupby(where, observed=True).transform("median") / 0.6744897501960817
    return np.sort(np.argsort(-(away / spread).to_numpy(), kind="stable")[:count])


def test_the_flavours_of_dispersion_are_those_of_their_description():
    cells = small_cells((60, 60, 60), n_genes=300, seed=3)
    for count in (20, 100):
        assert np.array_equal(chosen_genes(cells, count, "seurat"), naive_seurat(cells, count))
        found = chosen_genes(cells, count, "cell_ranger")
        assert np.array_equal(found, naive_cell_ranger(cells, count))


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_each_flavour_prefers_genes_that_tell_classes_apart(flavour):
    cells = small_cells((80, 80, 80), n_genes=200, signal=1.0, seed=5)
    counts = cells.matrix_CG.toarray()
    rng = np.random.default_rng(0)
    for gene in range(150, 160):
        counts[:, gene] = rng.poisson(np.where(cells.labels_C == 1, 3.0, 0.05))
    told = replace(
        cells,
        matrix_CG=sparse.csr_array(counts),
        library_C=counts.sum(axis=1).astype(np.float64),
    )
    found = chosen_genes(told, 20, flavour)
    # In a bin with nothing but such genes none stands out: that is how cell_ranger ranks.
    least = 10 if flavour != "cell_ranger" else 2
    assert len(set(range(150, 160)) & set(found.tolist())) >= least and len(found) == 20
    assert np.array_equal(chosen_genes(told, 500, flavour), np.arange(200))


def test_a_parabola_is_fitted_exactly():
    x = np.random.default_rng(1).normal(size=60)
    assert np.allclose(local_quadratic(x, 2 + x - 3 * x**2), 2 + x - 3 * x**2)
