"""Which genes a perturbation hits: names, folds, vectors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from leadline.data.perturbations import responses
from leadline.data.perturbed_genes import folds_by_gene, genes_seen, merge_names, vector_rows
from leadline.errors import UserError

GENES = [f"G{at}" for at in range(12)]


def test_one_knock_out_under_two_names_is_one_perturbation():
    names, messages = merge_names(["B+A", "A+B", "KIAA1804", "MAP3K21", "control", "C"])
    assert list(names) == ["A+B", "A+B", "MAP3K21", "MAP3K21", "control", "C"]
    assert any("KIAA1804, MAP3K21 are one perturbation" in text for text in messages)
    assert any("A+B, B+A are one perturbation" in text for text in messages)


@given(st.permutations(GENES), st.integers(0, 50))
def test_folds_follow_from_the_seed_and_the_genes_alone(order, seed):
    fold = dict(zip(order, folds_by_gene(order, seed=seed), strict=True))
    again = dict(zip(GENES, folds_by_gene(GENES, seed=seed), strict=True))
    assert fold == again
    assert np.bincount(list(fold.values())).max() <= 3


def test_a_gene_under_an_old_symbol_is_never_on_both_sides():
    fold = folds_by_gene([*GENES, "KIAA1804", "MAP3K21"], seed=1)
    assert fold[-1] == fold[-2]
    with pytest.raises(UserError, match="as many perturbed genes as folds: got 2 genes for 5"):
        folds_by_gene(["A", "B"], seed=1)


def test_doubles_are_told_by_how_many_of_their_genes_were_seen():
    names = ["A", "B", "A+B", "A+C", "C+D"]
    assert list(genes_seen(names, [0, 1, 2, 2, 2])) == [0, 0, 2, 1, 0]
    # A gene whose single is held out in the same fold was not seen.
    assert list(genes_seen(names, [2, 1, 2, 2, 2]))[2] == 1


def test_vectors_are_found_under_current_symbols_and_summed_over_a_double():
    vectors = {"A": np.array([1.0, 0.0]), "MAP3K21": np.array([0.0, 2.0])}
    rows, messages = vector_rows(["A", "A+KIAA1804", "Z"], vectors)
    assert rows[:2].tolist() == [[1, 0], [1, 2]] and np.isnan(rows[2]).all()
    assert messages[0] == "2 of 3 perturbations have a vector"
    assert "KIAA1804 as MAP3K21" in messages[1] and "no vector: Z" in messages[2]
    with pytest.raises(UserError, match="There are vectors: got none"):
        vector_rows(["A"], {})


def test_one_cell_and_a_batch_without_control_are_flags():
    x = np.random.default_rng(2).normal(size=(45, 3))
    names = ["A"] * 20 + ["B"] + ["C"] * 12 + ["control"] * 12
    batch = [0] * 21 + [1] * 12 + [0] * 12
    found = responses(x, names, batch)
    flags = dict(zip(found.perturbations_P, found.flags_P, strict=True))
    assert flags["A"] == () and "few_cells" in flags["B"] and "no_control" in flags["C"]
    assert np.isnan(found.delta_PG[2]).all() and found.messages
    assert list(found.kept_P) == [True, False, False]


def test_sparse_and_dense_cells_give_the_same_sums_however_many_at_a_time(monkeypatch):
    from leadline.data import perturbations

    x = np.random.default_rng(5).poisson(1.0, (60, 7)).astype(float)
    word = np.repeat(["A", "B", "C", "control"], 15)
    batch = np.arange(60) % 2
    monkeypatch.setattr(perturbations, "VALUES_AT_A_TIME", 11)
    for stored in (sparse.csr_array(x), sparse.csc_matrix(x)):
        found, wanted = (responses(each, word, batch) for each in (stored, x))
        np.testing.assert_allclose(found.delta_PG, wanted.delta_PG, atol=1e-12)
        tests, known = (perturbations.welch(each, word) for each in (stored, x))
        np.testing.assert_allclose(tests.t_PG, known.t_PG, atol=1e-9)
