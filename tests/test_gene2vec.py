"""Embeddings of genes: read with care, or built from what is expressed together."""

import json

import numpy as np
import pytest
from scipy import sparse

from leadline import cli
from leadline.errors import UserError
from leadline.models import gene2vec
from leadline.models.scbert.tokens import Tokens, tokenise
from small import small_cells


def two_programmes(n_cells=300, n_genes=40, seed=0):
    """Genes of the first half are expressed together, those of the second in other cells."""
    rng = np.random.default_rng(seed)
    first = rng.random(n_cells) < 0.5
    rate = np.where(first[:, None] == (np.arange(n_genes) < n_genes // 2), 0.6, 0.1)
    on = rng.random((n_cells, n_genes)) < rate
    matrix = sparse.csr_array(np.pad(on.astype(np.uint8) * 3, ((0, 0), (0, 1))))
    return Tokens(matrix_CL=matrix, genes=np.array([f"G{i}" for i in range(n_genes)]))


@pytest.mark.parametrize("method", ["ppmi", "correlation"])
def test_association_is_what_its_definition_says(method):
    tokens = two_programmes(80, 12)
    dense = tokens.matrix_CL.toarray()[:, :12].astype(float)
    found = gene2vec.association(tokens, method)
    if method == "correlation":
        expected = np.corrcoef(dense.T)
    else:
        on = dense > 0
        both = (on.T.astype(float) @ on) / 80
        apart = np.outer(on.mean(axis=0), on.mean(axis=0))
        expected = np.log(np.maximum(np.where(both > 0, both, apart) / apart, 1))
        np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("method", ["ppmi", "correlation"])
def test_genes_of_one_programme_lie_together(method):
    built = gene2vec.build(two_programmes(), 4, method)
    unit = built.table_GW / np.linalg.norm(built.table_GW, axis=1, keepdims=True)
    cosine = unit @ unit.T
    within = (cosine[:20, :20].mean() + cosine[20:, 20:].mean()) / 2
    assert within > cosine[:20, 20:].mean() + 0.5
    assert np.square(built.table_GW).mean() == pytest.approx(1, rel=1e-5)
    assert 0 < built.energy <= 1


def test_it_is_the_same_each_time_and_its_first_columns_do_not_depend_on_the_width():
    first, again = (gene2vec.build(two_programmes(), 6).table_GW for _ in range(2))
    np.testing.assert_array_equal(first, again)
    narrow = gene2vec.build(two_programmes(), 3).table_GW
    scale = np.linalg.norm(first[:, :3]) / np.linalg.norm(narrow)
    np.testing.assert_allclose(first[:, :3], narrow * scale, atol=1e-5)


def test_iterations_find_what_all_eigenvectors_show(monkeypatch):
    table = gene2vec.association(two_programmes(200, 60), "ppmi")
    value, vector = gene2vec.largest(table, 5)
    monkeypatch.setattr(gene2vec, "GENES_FOR_ALL", 10)
    iterated, found = gene2vec.largest(table, 5)
    np.testing.assert_allclose(iterated, value, rtol=1e-4)
    # The first two stand apart from the noise, so that their vectors are determined.
    np.testing.assert_allclose(found[:, :2], vector[:, :2], atol=1e-3)


def test_genes_that_are_never_expressed_are_zeros_and_missing_rank_too():
    tokens = two_programmes(60, 10)
    matrix = tokens.matrix_CL.tolil()
    matrix[:, 4] = 0
    built = gene2vec.build(Tokens(matrix_CL=matrix.tocsr(), genes=tokens.genes), 30)
    assert not built.table_GW[4].any()
    assert built.expressed == 9
    assert not built.table_GW[:, 8:].any()
    assert np.isfinite(built.table_GW).all()


def test_cells_without_expression_are_refused():
    empty = sparse.csr_array((5, 4), dtype=np.uint8)
    with pytest.raises(UserError, match="at least 2 that are expressed"):
        gene2vec.build(Tokens(matrix_CL=empty, genes=np.array(["A", "B", "C"])), 2)


def test_a_random_identity_follows_from_its_generator_alone():
    first, again, other = (gene2vec.random(6, 4, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


def test_a_published_file_is_read_as_single_precision(tmp_path):
    genes = np.array(["A", "B", "C"])
    table = np.random.default_rng(0).standard_normal((3, 4))
    np.save(tmp_path / "table.npy", table)
    read = gene2vec.read(tmp_path / "table.npy", genes, 4)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, table.astype(np.float32))


def test_files_that_are_no_embedding_of_these_genes_are_refused(tmp_path):
    genes, path = np.array(["A", "B", "C"]), tmp_path / "table.npy"
    with pytest.raises(UserError, match="must be an .npy file"):
        gene2vec.read(path, genes, 4)
    path.write_bytes(b"not an array")
    with pytest.raises(UserError, match="must be an .npy file"):
        gene2vec.read(path, genes, 4)
    np.save(path, np.array([{"run": "me"}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="nothing that needs pickle"):
        gene2vec.read(path, genes, 4)
    np.save(path, np.zeros((2, 4)))
    with pytest.raises(UserError, match="2 x 4 of float64 for 3 genes and width 4"):
        gene2vec.read(path, genes, 4)
    np.save(path, np.full((3, 4), np.nan))
    with pytest.raises(UserError, match="finite numbers: got 12"):
        gene2vec.read(path, genes, 4)
    np.save(path, np.zeros((3, 4)))
    (tmp_path / gene2vec.GENES_FILE).write_text("A\nC\nB\n")
    with pytest.raises(UserError, match="another order"):
        gene2vec.read(path, genes, 4)


def test_a_run_makes_a_record_with_the_embedding(tmp_path, capsys):
    words = ["task=pretrain", "model=gene2vec", "model.width=16", f"runs_dir={tmp_path}"]
    assert cli.main(["run", *words]) == 0
    folder = tmp_path / capsys.readouterr().out.strip().rpartition("/")[2]
    facts = json.loads((folder / "record.json").read_text())
    found = facts["metrics"]["test"]
    assert found["gene2vec_agreement"] > 0.2
    assert facts["task"] == "pretrain"
    assert facts["fit"]["genes_embedded"] == 765
    names = (folder / "checkpoints" / gene2vec.GENES_FILE).read_text().split()
    read = gene2vec.read(folder / "checkpoints" / "pretrained_gene2vec.npy", np.array(names), 16)
    assert read.shape == (765, 16)
    assert not (folder / "predictions.npz").exists()
    assert cli.main(["run", *words]) == 0
    assert "done already" in capsys.readouterr().err


def test_it_names_no_cells(capsys):
    assert cli.main(["run", "model=gene2vec"]) == 2
    assert "add task=pretrain" in capsys.readouterr().err


def test_tokens_of_real_cells_are_embedded():
    tokens = tokenise(small_cells(sizes=(60, 60), n_genes=50))
    assert gene2vec.build(tokens, 8).table_GW.shape == (50, 8)
