"""scBERT's tokens: bins that are exact at their boundaries, genes in the order of a list."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from leadline.data.cells import Scale
from leadline.errors import UserError
from leadline.models.scbert import tokens as scbert
from leadline.models.scbert.tokens import (
    ACCEPTED,
    HIGHEST_BIN,
    N_TOKENS,
    align,
    read_genes,
    require_same_genes,
    tokenise,
)
from small import small_cells


def cells_of(counts, **changes):
    counts = np.asarray(counts, dtype=np.float32)
    fields = {
        "matrix_CG": sparse.csr_array(counts),
        "library_C": counts.sum(axis=1, dtype=np.float64),
        "genes": np.array([f"G{i}" for i in range(counts.shape[1])]),
        "ids": np.array([f"cell{i}" for i in range(len(counts))]),
        "labels_C": None,
        "classes": (),
    }
    return small_cells(**(fields | changes))


def on_scale(cells, scale):
    return cells_of(
        cells.lognorm(scale).toarray(), scale=scale, library_C=cells.library_C, genes=cells.genes
    )


def dense(tokens):
    return tokens.dense(np.arange(len(tokens)))


def test_a_boundary_belongs_to_the_bin_above_it_on_every_scale():
    # CP10k of 1, 3, 7, 15, 31 and one count beside each, in a cell of 10,000 counts.
    values = [0, 1, 2, 3, 6, 7, 14, 15, 30, 31, 32, 500]
    expected = [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5]
    cells = cells_of([[*values, 10_000 - sum(values)]])
    for scale in ACCEPTED:
        tokens = dense(tokenise(cells if scale is Scale.COUNTS else on_scale(cells, scale)))
        np.testing.assert_array_equal(tokens[0], [*expected, 5, 0])
        assert tokens.dtype == np.uint8


@settings(max_examples=150, deadline=None)
@given(
    library=st.integers(1, 300_000),
    counts=st.lists(st.integers(0, 300_000), min_size=1, max_size=12),
    start=st.sampled_from([1, 3, 7, 15, 31]),
    beside=st.integers(-2, 2),
)
def test_tokens_are_those_of_whole_numbers_on_every_scale(library, counts, start, beside):
    # One count lies at a boundary or beside it.
    counts = [*counts, max(start * library // 10_000 + beside, 0)]
    library = max(library, sum(counts))
    cells = cells_of([counts], library_C=np.array([float(library)]))
    exact = [sum(10_000 * c >= (2**t - 1) * library for t in range(1, 6)) for c in counts]
    for scale in ACCEPTED:
        tokens = tokenise(cells if scale is Scale.COUNTS else on_scale(cells, scale))
        assert dense(tokens)[0].tolist() == [*exact, 0]


def test_only_tokens_that_are_not_zero_are_stored_and_the_cells_stay_as_they_were():
    cells = small_cells(sizes=(20, 30), n_genes=60)
    before = cells.fingerprint()
    tokens = tokenise(cells)
    assert tokens.matrix_CL.dtype == np.uint8
    assert tokens.matrix_CL.indices.dtype == np.int32
    assert (tokens.matrix_CL.data > 0).all()
    assert tokens.matrix_CL.shape == (50, 61)
    assert cells.fingerprint() == before


def test_tokens_do_not_depend_on_how_many_cells_are_held_at_a_time(monkeypatch):
    cells, reference = small_cells(sizes=(20, 30), n_genes=60), np.array(["G9", "no", "G3", "G50"])
    for listed in (None, reference):
        whole = tokenise(cells, listed, total="reference").matrix_CL
        with monkeypatch.context() as patched:
            patched.setattr(scbert, "CELLS_AT_A_TIME", 7)
            pieces = tokenise(cells, listed, total="reference").matrix_CL
        for part in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(whole, part), getattr(pieces, part))
    assert len(tokenise(cells.take(np.arange(0)))) == 0


def test_batches_and_histograms_are_those_of_the_dense_matrix():
    tokens = tokenise(small_cells(sizes=(20, 30), n_genes=60))
    rows = np.array([7, 3, 3, 49, 0])
    whole = tokens.matrix_CL.toarray()[rows]
    np.testing.assert_array_equal(tokens.dense(rows), whole)
    cell_N, gene_N, bin_N = tokens.stored(rows)
    rebuilt = np.zeros_like(whole)
    rebuilt[cell_N, gene_N] = bin_N
    np.testing.assert_array_equal(rebuilt, whole)
    expected = [np.bincount(row, minlength=N_TOKENS) for row in whole]
    np.testing.assert_array_equal(tokens.histograms(rows), expected)
    nothing = tokens.stored(rows[:0])
    assert all(len(part) == 0 for part in nothing)
    assert tokens.dense(rows[:0]).shape == (0, 61)


def test_genes_are_brought_into_the_order_of_a_list_and_missing_ones_are_zeros():
    cells = small_cells(sizes=(10, 10), n_genes=30)
    reference = np.array(["G7", "absent", "G2", "G29", "also absent", "G11"])
    tokens = tokenise(cells, reference, least_overlap=0.5)
    own = dense(tokenise(cells))
    found = dense(tokens)
    for place, name in enumerate(reference):
        column = np.flatnonzero(cells.genes == name)
        expected = own[:, column[0]] if len(column) else np.zeros(20)
        np.testing.assert_array_equal(found[:, place], expected)
    assert tokens.alignment.report() == {
        "reference_genes": 6,
        "genes_of_the_cells": 30,
        "shared": 4,
        "share_of_the_reference": 4 / 6,
        "share_of_the_cells": 4 / 30,
    }
    assert tokens.matrix_CL.has_sorted_indices


def test_the_total_is_that_of_all_counts_or_of_the_listed_genes():
    cells = cells_of([[1, 1, 0, 9998]])
    listed = np.array(["G0", "G1", "G2"])
    measured = dense(tokenise(cells, listed))[0]
    of_list = dense(tokenise(cells, listed, total="reference"))[0]
    np.testing.assert_array_equal(measured, [1, 1, 0, 0])
    np.testing.assert_array_equal(of_list, [HIGHEST_BIN, HIGHEST_BIN, 0, 0])


def test_versions_of_ensembl_ids_do_not_count():
    ids = [f"ENSG{i:011d}" for i in range(5)]
    found = align(np.array([f"{gene}.{3}" for gene in ids]), np.array(ids[::-1]), 1.0)
    assert found.column_G.tolist() == [4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("genes", "reference", "remedy"),
    [
        (["CD3D", "CD19", "MS4A1"], [f"ENSG{i:011d}" for i in range(3)], "by symbols, the model"),
        (["Cd3d", "Cd19", "Ms4a1"], ["CD3D", "CD19", "MS4A1"], "upper and lower case"),
        (["CD3D", "CD19", "MS4A1"], ["TP53", "GAPDH", "ACTB"], "lower model.least_overlap"),
    ],
)
def test_too_few_shared_genes_are_refused_with_the_likely_reason(genes, reference, remedy):
    with pytest.raises(UserError, match="0 of 3 .*" + remedy):
        align(np.array(genes), np.array(reference), 0.5)


def test_another_scale_is_refused():
    with pytest.raises(UserError, match="need counts, or ln or log2"):
        tokenise(small_cells(scale=Scale.LOG_OTHER))


def test_a_list_of_genes_is_read_and_a_bad_one_refused(tmp_path):
    path = tmp_path / "genes.txt"
    path.write_text("CD3D\n\n CD19 \n")
    assert read_genes(path).tolist() == ["CD3D", "CD19"]
    path.write_text("CD3D\nCD3D\n")
    with pytest.raises(UserError, match="name each gene once"):
        read_genes(path)
    with pytest.raises(UserError, match="must be a text file"):
        read_genes(tmp_path / "missing.txt")


def test_weights_of_other_genes_are_refused():
    require_same_genes(["A", "B"], ["A", "B"])
    with pytest.raises(UserError, match="another order"):
        require_same_genes(["A", "B"], ["B", "A"])
    with pytest.raises(UserError, match="1 of them shared"):
        require_same_genes(["A", "B"], ["A", "C", "D"])
