"""What must not reach fit does not, and what leaks is found."""

import dataclasses

import numpy as np
import pytest
from scipy import sparse

from leadline.data.splits import leakage
from leadline.data.splits.split import Split
from leadline.errors import UserError
from small import small_cells


def split_with(train, test, val=(), unlabelled=()):
    rows = {"train": train, "test": test, "val": val, "unlabelled": unlabelled, "dropped": ()}
    return Split(**{name: np.array(part, dtype=np.int64) for name, part in rows.items()})


def enforce(cells, split, duplicates="drop", selection="none"):
    return leakage.enforce(cells, split, duplicates=duplicates, selection=selection)


def with_row(cells, row, like):
    matrix = cells.matrix_CG.tolil()
    matrix[row] = matrix[like]
    return dataclasses.replace(cells, matrix_CG=sparse.csr_array(matrix))


def with_gene(cells, values, name="a_label"):
    column = sparse.csr_array(np.asarray(values, dtype=np.float32)[:, None])
    return dataclasses.replace(
        cells,
        matrix_CG=sparse.csr_array(sparse.hstack([cells.matrix_CG, column])),
        genes=np.append(cells.genes, name),
    )


def halves(cells):
    return split_with(range(0, len(cells), 2), range(1, len(cells), 2))


def test_a_clean_split_passes_unchanged():
    cells = small_cells()
    split = halves(cells)
    assert enforce(cells, split).fingerprint() == split.fingerprint()
    assert enforce(cells, split).warnings == ()


def test_overlapping_parts_are_refused():
    with pytest.raises(UserError, match="one part of the split: got 2 cells in both train and te"):
        enforce(small_cells(), split_with([0, 1, 2], [1, 2, 3]))
    with pytest.raises(UserError, match="1 cells in both train and val"):
        enforce(small_cells(), split_with([0, 1], [4], val=[1]))


def test_selecting_on_the_reported_set_is_said():
    split = split_with([0, 1], [4, 5], val=[4, 5])
    warned = enforce(small_cells(), split, selection="reported").warnings
    assert "the selection set is the reported set" in warned[0]


def test_reported_cells_do_not_get_through_to_fit():
    cells = small_cells()
    reported = cells.take(np.array([5, 6]))
    assert leakage.admit(cells.take(np.array([0, 1])), reported) is not None
    with pytest.raises(AssertionError, match="1 reported cells on their way to fit"):
        leakage.admit(cells.take(np.array([1, 5])), reported)


def test_copies_of_reported_cells_are_taken_out_of_training():
    cells = with_row(small_cells(), 4, like=7)
    split = enforce(cells, halves(cells))
    assert 4 in split.dropped and 4 not in split.train
    assert split.warnings == (
        "taken out of training: 1 cells whose expression equals that of a reported cell",
    )
    kept = enforce(cells, halves(cells), duplicates="warn")
    assert 4 in kept.train and "in training: 1 cells" in kept.warnings[0]
    with pytest.raises(UserError, match="training and reported cells must differ: got 1 cells"):
        enforce(cells, halves(cells), duplicates="refuse")


def test_copies_are_also_taken_out_of_the_selection_set():
    cells = with_row(small_cells(), 4, like=7)
    split = enforce(cells, split_with([0, 1, 2], [7, 8], val=[4, 5]))
    assert split.val.tolist() == [5]


def test_copies_within_training_are_left_alone():
    cells = with_row(small_cells(), 4, like=6)
    assert enforce(cells, halves(cells)).warnings == ()


def test_a_nearly_equal_cell_is_not_a_copy():
    cells = with_row(small_cells(), 4, like=7)
    changed = cells.matrix_CG.copy()
    changed.data[changed.indptr[4]] += 1
    cells = dataclasses.replace(cells, matrix_CG=changed)
    assert enforce(cells, halves(cells)).warnings == ()


@pytest.mark.parametrize("code", [lambda k: k + 1, lambda k: k == 1])
def test_a_gene_that_encodes_the_label_is_refused(code):
    cells = small_cells()
    cells = with_gene(cells, code(cells.labels_C))
    with pytest.raises(UserError, match="no gene may encode the label: got 'a_label'"):
        enforce(cells, halves(cells))


def test_genes_that_only_look_like_labels_pass():
    cells = small_cells(sizes=(20, 30, 3))
    # One value in each class, but carried by three cells only: chance can do that.
    rare = with_gene(cells, cells.labels_C == 2)
    # A perfect marker whose level varies is biology.
    rng = np.random.default_rng(0)
    marker = with_gene(cells, (cells.labels_C == 1) * rng.integers(1, 9, len(cells)))
    constant = with_gene(cells, np.ones(len(cells)))
    for harmless in (rare, marker, constant):
        assert enforce(harmless, halves(harmless)).warnings == ()


def test_batches_of_one_class_are_said():
    cells = small_cells()
    confounded = dataclasses.replace(cells, batch_C=np.array([f"b{k}" for k in cells.labels_C]))
    assert "each of the 3 batches holds one class" in enforce(confounded, halves(cells)).warnings[0]
    mixed = dataclasses.replace(cells, batch_C=np.array([f"b{i % 2}" for i in range(len(cells))]))
    assert enforce(mixed, halves(cells)).warnings == ()


def test_the_callers_cells_are_not_changed():
    cells = with_row(small_cells(), 4, like=7)
    before = cells.fingerprint()
    enforce(cells, halves(cells))
    assert cells.fingerprint() == before
