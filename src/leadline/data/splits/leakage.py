"""What keeps the reported cells out of training, and what tells when they leak all the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data.cells import Cells
from leadline.data.splits.split import Split
from leadline.errors import UserError

# A gene that takes one value per class is a label only if enough cells say so.
CELLS_TO_CALL_A_LABEL = 10
ROWS_AT_A_TIME = 8192


def enforce(cells: Cells, split: Split, *, duplicates: str, selection: str) -> Split:
    """Check a split before anything is fitted; give it back with what had to be changed.

    Raises
    ------
    UserError
        When parts overlap, when a gene encodes the label, or when copies are refused.
    """
    check_disjoint(split, selection)
    if cells.labels_C is not None:
        check_encoded_labels(cells, split.train)
    split = settle_duplicates(cells, split, duplicates)
    warnings = list(split.warnings)
    if selection == "reported":
        warnings.append(
            "the selection set is the reported set: the reported metrics are optimistic"
        )
    confounded = batches_of_one_class(cells)
    if confounded:
        warnings.append(confounded)
    return replace(split, warnings=tuple(warnings))


def check_disjoint(split: Split, selection: str) -> None:
    """Refuse a cell that stands in two parts."""
    parts = {"train": split.train, "test": split.test, "unlabelled": split.unlabelled}
    if selection != "reported":
        parts["val"] = split.val
    names = list(parts)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            both = np.intersect1d(parts[first], parts[second])
            if len(both):
                raise UserError(
                    "a cell belongs to one part of the split",
                    got=f"{len(both):,} cells in both {first} and {second}",
                    remedy="correct the split column",
                )


def admit(train: Cells, reported: Cells) -> Cells:
    """Let cells through to `fit` only if none of them is reported on."""
    leaked = np.intersect1d(train.ids, reported.ids)
    if len(leaked):
        raise AssertionError(f"{len(leaked)} reported cells on their way to fit, e.g. {leaked[0]}")
    return train


def check_encoded_labels(cells: Cells, train: NDArray[np.int64]) -> None:
    """Refuse a gene whose value is the same within each class and differs between classes."""
    assert cells.labels_C is not None
    classes, cells_K = np.unique(cells.labels_C[train], return_counts=True)
    if len(classes) < 2:
        return
    sum_KG, nonzero_KG = class_totals(cells, train, classes)
    # Within a class all or none of the cells express the gene: cheap, and it leaves few suspects.
    all_or_none = ((nonzero_KG == 0) | (nonzero_KG == cells_K[:, None])).all(axis=0)
    differs = np.ptp(sum_KG / cells_K[:, None], axis=0) > 0
    suspects = np.flatnonzero(all_or_none & differs)
    # Few cells leave thousands of them: cut out together, each is then looked at quickly.
    value_CS = sparse.csc_array(cells.matrix_CG[:, suspects][train])
    for at, gene in enumerate(suspects):
        value_C = value_CS[:, [at]].toarray().ravel()
        of_class = [value_C[cells.labels_C[train] == k] for k in classes]
        expressed = nonzero_KG[:, gene] > 0
        constant = all(np.ptp(values) == 0 for values in of_class)
        if constant and cells_K[expressed].sum() >= CELLS_TO_CALL_A_LABEL:
            raise UserError(
                "no gene may encode the label",
                got=f"{str(cells.genes[gene])!r}, which has one value in each class",
                remedy="take it out of the matrix: it is a label, not expression",
            )


def class_totals(
    cells: Cells, rows: NDArray[np.int64], classes: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum expression, and count expressing cells, by class and gene; in blocks to save memory."""
    assert cells.labels_C is not None
    sum_KG = np.zeros((len(classes), len(cells.genes)))
    nonzero_KG = np.zeros_like(sum_KG)
    for start in range(0, len(rows), ROWS_AT_A_TIME):
        block = rows[start : start + ROWS_AT_A_TIME]
        matrix_BG = cells.matrix_CG[block]
        member_KB = sparse.csr_array(
            (cells.labels_C[block][None, :] == classes[:, None]).astype(np.float64)
        )
        sum_KG += (member_KB @ matrix_BG).toarray()
        matrix_BG.data = np.ones_like(matrix_BG.data)
        nonzero_KG += (member_KB @ matrix_BG).toarray()
    return sum_KG, nonzero_KG


def settle_duplicates(cells: Cells, split: Split, rule: str) -> Split:
    """Find training cells with the very expression of a reported cell; warn, drop or refuse."""
    searched = np.union1d(split.train, split.val if rule != "warn" else split.train)
    searched = np.setdiff1d(searched, split.test)
    copies = copies_of(cells.matrix_CG, searched, split.test)
    if not len(copies):
        return split
    found = f"{len(copies):,} cells whose expression equals that of a reported cell"
    if rule == "refuse":
        raise UserError(
            "training and reported cells must differ",
            got=found,
            remedy="remove the copies, or let protocol.duplicates=drop take them out of training",
        )
    if rule == "warn":
        return replace(split, warnings=(*split.warnings, f"in training: {found}"))
    return replace(
        split,
        train=split.train[~np.isin(split.train, copies)],
        val=split.val[~np.isin(split.val, copies)],
        dropped=np.union1d(split.dropped, copies),
        warnings=(*split.warnings, f"taken out of training: {found}"),
    )


def copies_of(
    matrix_CG: sparse.csr_array, rows: NDArray[np.int64], reported: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Give those of `rows` that equal one of `reported` in every value."""
    # Equal rows have equal projections, bit for bit; what shares one is compared in full.
    direction_G = np.random.default_rng(0).standard_normal(matrix_CG.shape[1])
    # Some rows at a time: scipy would widen the whole matrix to float64 at once.
    blocks = range(0, matrix_CG.shape[0], ROWS_AT_A_TIME)
    key_C = np.concatenate([matrix_CG[i : i + ROWS_AT_A_TIME] @ direction_G for i in blocks])
    suspects = rows[np.isin(key_C[rows], key_C[reported])]
    by_key = {float(key_C[row]): row for row in reported}
    same = [
        row
        for row in suspects
        if row_bytes(matrix_CG, row) == row_bytes(matrix_CG, by_key[key_C[row]])
    ]
    return np.array(same, dtype=np.int64)


def row_bytes(matrix_CG: sparse.csr_array, row: int) -> bytes:
    """Give a row's content as bytes that are equal only for equal rows."""
    one = matrix_CG[[row]]
    return bytes(one.indices.astype("<i8").tobytes() + one.data.astype("<f4").tobytes())


def batches_of_one_class(cells: Cells) -> str | None:
    """Warn where every batch holds a single class, so that batch and class cannot be told apart."""
    if cells.batch_C is None or cells.labels_C is None:
        return None
    pairs = {(str(b), int(k)) for b, k in zip(cells.batch_C, cells.labels_C, strict=True)}
    batches = {b for b, _ in pairs}
    if len(batches) < 2 or len(pairs) > len(batches):
        return None
    return f"each of the {len(batches)} batches holds one class: batch effects may pass for biology"
