import hashlib
import json
from importlib import resources

import anndata
import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.multiclass import OneVsRestClassifier

from leadline.data.datasets.synthetic import RECIPE, GeneTables, deal_classes
from leadline.data.datasets.synthetic.ms import write_ms_like
from leadline.data.datasets.synthetic.zheng import SIZES, write_zheng_like
from leadline.errors import UserError

SMALL_MS = {"n_train": 700, "n_test": 600, "n_genes": 80, "n_classes": 5}


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    for write, size in (
        (write_zheng_like, {"n_cells": 600, "n_genes": 90}),
        (write_ms_like, SMALL_MS),
    ):
        first = digest(write(tmp_path / "a.h5ad", **size, seed=3))
        assert digest(write(tmp_path / "b.h5ad", **size, seed=3)) == first
        assert digest(write(tmp_path / "c.h5ad", **size, seed=4)) != first


@pytest.mark.parametrize(
    ("write", "size", "expected"),
    [
        (write_zheng_like, {"n_cells": 600, "n_genes": 90}, "486b959c7615ac9e"),
        (write_ms_like, SMALL_MS, "b816410809b77bef"),
    ],
)
def test_the_recipe_is_the_one_that_was_tuned(tmp_path, write, size, expected):
    """Whoever changes these digests raises RECIPE, tunes again and rewrites docs/synthetic.md."""
    cells = anndata.read_h5ad(write(tmp_path / "cells.h5ad", **size))
    content = hashlib.sha256("".join(cells.obs["celltype"]).encode())
    for array in (cells.X.data, cells.X.indices, cells.X.indptr):
        content.update(array.astype("<i8").tobytes())
    assert (content.hexdigest()[:16], RECIPE) == (expected, 1)


def test_a_larger_zheng_like_set_begins_with_the_smaller(tmp_path):
    few = anndata.read_h5ad(write_zheng_like(tmp_path / "few.h5ad", n_cells=700, n_genes=90))
    many = anndata.read_h5ad(write_zheng_like(tmp_path / "many.h5ad", n_cells=1500, n_genes=90))
    np.testing.assert_array_equal(few.X.toarray(), many.X[:700].toarray())
    assert few.obs["celltype"].tolist() == many.obs["celltype"].tolist()[:700]


def test_a_larger_ms_like_set_begins_with_the_smaller_within_each_part(tmp_path):
    few = anndata.read_h5ad(write_ms_like(tmp_path / "few.h5ad", **SMALL_MS))
    larger = SMALL_MS | {"n_train": 1100, "n_test": 900}
    many = anndata.read_h5ad(write_ms_like(tmp_path / "many.h5ad", **larger))
    for part, n_cells in (("train", 700), ("test", 600)):
        old, new = few[few.obs["split"] == part], many[many.obs["split"] == part][:n_cells]
        np.testing.assert_array_equal(old.X.toarray(), new.X.toarray())
        assert old.obs[["celltype", "batch"]].equals(
            new.obs.set_index(old.obs_names)[["celltype", "batch"]]
        )


def test_zheng_like_has_the_classes_and_the_sparsity_of_zheng68k(tmp_path):
    told = []
    path = write_zheng_like(tmp_path / "cells.h5ad", n_cells=3000, progress=told.append)
    cells = anndata.read_h5ad(path)
    assert told == [512, 1024, 1536, 2048, 2560, 3000]
    assert cells.shape == (3000, 16_906)
    assert cells.X.nnz / 3000 / 16_906 == pytest.approx(0.047, abs=0.003)
    assert cells.X.dtype == np.uint16
    assert cells.X.data.min() == 1
    sizes = cells.obs["celltype"].value_counts()
    for name, size in SIZES.items():
        assert sizes[name] == pytest.approx(8 + (3000 - 88) * size / 68_450, abs=4)
    assert json.loads(cells.uns["synthetic"])["n_cells"] == 3000


def test_the_smallest_sets_are_whole(tmp_path):
    cells = anndata.read_h5ad(write_zheng_like(tmp_path / "z.h5ad", n_cells=100, n_genes=50))
    assert cells.obs["celltype"].value_counts().min() >= 8
    assert np.all(cells.X.sum(axis=1) >= 350)
    least = {"n_train": 16, "n_test": 16, "n_genes": 50, "n_classes": 2}
    cells = anndata.read_h5ad(write_ms_like(tmp_path / "m.h5ad", **least))
    assert cells.obs.groupby(["split", "celltype"], observed=True).size().tolist() == [8] * 4


def test_every_class_keeps_its_share_at_any_size():
    shares = np.array(list(SIZES.values())) / 68_450
    dealt = np.concatenate([deal_classes(chunk, shares) for chunk in range(134)])[:68_450]
    sizes = np.bincount(dealt)
    assert np.abs(sizes - np.array(list(SIZES.values()))).max() <= 30
    assert np.bincount(dealt[:88]).tolist() == [8] * 11


def test_no_donor_of_ms_like_is_in_both_parts(tmp_path):
    obs = anndata.read_h5ad(write_ms_like(tmp_path / "m.h5ad", **SMALL_MS)).obs
    donors = {part: set(rows["batch"]) for part, rows in obs.groupby("split", observed=True)}
    assert {part: len(names) for part, names in donors.items()} == {"train": 9, "test": 12}
    assert donors["train"].isdisjoint(donors["test"])


def test_the_shift_moves_the_test_part_alone(tmp_path):
    still = anndata.read_h5ad(write_ms_like(tmp_path / "a.h5ad", **SMALL_MS, shift=0.0))
    moved = anndata.read_h5ad(write_ms_like(tmp_path / "b.h5ad", **SMALL_MS, shift=2.0))
    train = (still.obs["split"] == "train").to_numpy()
    assert (still.X[train] != moved.X[train]).nnz == 0
    assert (still.X[~train] != moved.X[~train]).nnz > 1000


def test_gene_tables_draw_the_profile():
    rng = np.random.default_rng(0)
    profiles = rng.gamma(0.3, 1.0, (3, 40))
    profiles /= profiles.sum(axis=1, keepdims=True)
    source = np.repeat([0, 1, 2], 200_000)
    drawn = GeneTables(profiles).draw(source, rng)
    for row in range(3):
        seen = np.bincount(drawn[source == row], minlength=40) / 200_000
        np.testing.assert_allclose(seen, profiles[row], atol=5 * np.sqrt(0.25 / 200_000))


def test_an_interrupted_file_is_not_there(tmp_path):
    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_zheng_like(tmp_path / "cells.h5ad", n_cells=600, n_genes=60, progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("write", "wrong", "message"),
    [
        (write_zheng_like, {"n_cells": 99}, "n_cells must be a whole number of at least 100"),
        (write_zheng_like, {"n_cells": 1e3}, r"got 1000\.0; pass n_cells=100 or more"),
        (write_zheng_like, {"n_genes": 49}, "n_genes must be .* at least 50 .* got 49"),
        (write_zheng_like, {"seed": -1}, "seed must be .* at least 0 .* got -1"),
        (write_zheng_like, {"strength": -0.1}, r"strength must be .* got -0\.1"),
        (write_ms_like, {"n_train": 143}, r"n_train .* at least 144 \(8 cells of every class\)"),
        (write_ms_like, {"n_test": 10}, "n_test .* got 10; pass n_test=144 or more"),
        (write_ms_like, {"n_classes": 1}, "n_classes .* got 1; pass n_classes=2 or more"),
        (write_ms_like, {"n_classes": "many"}, "n_classes .* got 'many'"),
        (write_ms_like, {"shift": float("nan")}, "shift must be .* got nan"),
    ],
)
def test_bad_arguments_are_named(tmp_path, write, wrong, message):
    with pytest.raises(UserError, match=message):
        write(tmp_path / "cells.h5ad", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_the_embedded_cells_are_counts_under_a_logarithm():
    folder = resources.files("leadline") / "data/datasets/embedded"
    with resources.as_file(folder / "pbmc68k_reduced.h5ad") as path:
        assert path.stat().st_size < 1_000_000
        cells = anndata.read_h5ad(path)
    assert cells.shape == (700, 765)
    assert cells.X.dtype == np.float32
    assert cells.X.nnz == 174_400
    sizes = [240, 129, 95, 68, 54, 43, 31, 19, 13, 8]
    assert cells.obs["bulk_labels"].value_counts().tolist() == sizes
    total = np.repeat(cells.obs["n_counts"].to_numpy(np.float64), np.diff(cells.X.indptr))
    counts = np.expm1(cells.X.data.astype(np.float64)) * total / 1e4
    np.testing.assert_allclose(counts, np.rint(counts), atol=0.1)
    assert counts.min() > 0.9


def log_cp10k(cells):
    matrix = sparse.csr_array(cells.X).astype(np.float64)
    total = np.repeat(matrix.sum(axis=1), np.diff(matrix.indptr))
    matrix.data = np.log1p(1e4 * matrix.data / total)
    return matrix


def l1_accuracy(x_train, y_train, x_test, y_test):
    model = LogisticRegression(l1_ratio=1, solver="liblinear", C=0.1, random_state=0)
    return OneVsRestClassifier(model).fit(x_train, y_train).score(x_test, y_test)


@pytest.mark.slow
def test_zheng_like_is_as_hard_as_tuned(tmp_path):
    """At 10,000 cells, since 68,450 take ten minutes; docs/synthetic.md has the curve."""
    cells = anndata.read_h5ad(write_zheng_like(tmp_path / "z.h5ad", n_cells=10_000))
    matrix, labels = log_cp10k(cells) / np.log(2), cells.obs["celltype"].to_numpy(np.str_)
    train, test = train_test_split(
        np.arange(10_000), test_size=0.2, stratify=labels, random_state=2022
    )
    accuracy = l1_accuracy(matrix[train], labels[train], matrix[test], labels[test])
    assert 0.745 < accuracy < 0.795


@pytest.mark.slow
def test_ms_like_is_as_hard_as_tuned(tmp_path):
    cells = anndata.read_h5ad(write_ms_like(tmp_path / "m.h5ad"))
    matrix, labels = log_cp10k(cells), cells.obs["celltype"].to_numpy(np.str_)
    train = (cells.obs["split"] == "train").to_numpy()
    accuracy = l1_accuracy(matrix[train], labels[train], matrix[~train], labels[~train])
    assert 0.80 < accuracy < 0.82
