"""Cross-validation: the cells parted into folds, so that each of them is reported once.

The partition is drawn with `protocol.split_seed`, as a single split is, and not with the seed of
the run: all models and seeds meet the same folds, and one pretraining a fold serves them all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leadline.config import ProtocolConfig
from leadline.data.cells import Cells
from leadline.data.splits.draws import Rows
from leadline.errors import UserError

Folds = NDArray[np.int64]


def fold_part(
    cells: Cells, rows: Rows, protocol: ProtocolConfig, source: str
) -> tuple[Rows, Rows, tuple[str, ...]]:
    """Separate the cells of one fold from the pool of all others; also what to warn of.

    `source` says how cells are parted: whole batches (`group`), or by class (`stratified`).
    """
    assert protocol.folds is not None
    if protocol.fold is None:
        raise UserError(
            "with protocol.folds a run reports on one of them",
            got=f"protocol.folds={protocol.folds} and no protocol.fold",
            remedy="add protocol.fold=1; leadline ablate makes the runs of all folds",
        )
    if source == "given":
        raise UserError(
            "protocol.folds parts all cells anew",
            got="protocol.reported=given, cells that the file assigns to parts",
            remedy="use protocol.reported=stratified, or leave protocol.folds out",
        )
    if len(rows) < protocol.folds:
        raise UserError(
            "each fold needs at least one cell",
            got=f"{len(rows):,} cells for protocol.folds={protocol.folds}",
            remedy="use fewer folds",
        )
    rng = np.random.default_rng([protocol.split_seed, protocol.folds])
    warnings: tuple[str, ...] = ()
    if source == "group":
        fold_C = by_batch(cells, rows, protocol, rng)
    else:
        fold_C = by_class(classes_of(cells, rows), protocol.folds, rng)
        warnings = told_of_folds(cells, rows, protocol)
    held_C = fold_C == protocol.fold - 1
    return rows[~held_C], rows[held_C], warnings


def by_class(classes_C: NDArray[np.int32], folds: int, rng: np.random.Generator) -> Folds:
    """Deal the cells of each class out to the folds, one after another, in random order.

    Sizes of folds differ by one cell at most, and so do the cells of a class in each.
    """
    fold_C = np.empty(len(classes_C), dtype=np.int64)
    dealt = 0
    for k in np.unique(classes_C):
        members = rng.permutation(np.flatnonzero(classes_C == k))
        fold_C[members] = (dealt + np.arange(len(members))) % folds
        dealt += len(members)
    return fold_C


def by_batch(cells: Cells, rows: Rows, protocol: ProtocolConfig, rng: np.random.Generator) -> Folds:
    """Give each batch, the largest first, to the fold that has the fewest cells so far."""
    assert protocol.folds is not None
    if cells.batch_C is None:
        raise UserError(
            "protocol.reported=group needs batches",
            got="none",
            remedy="name their column with data.batch=",
        )
    names, at_C, cells_B = np.unique(cells.batch_C[rows], return_inverse=True, return_counts=True)
    if len(names) < protocol.folds:
        raise UserError(
            "each fold needs at least one whole batch",
            got=f"{len(names)} batches for protocol.folds={protocol.folds}",
            remedy="use fewer folds, or part cells by class with protocol.reported=stratified",
        )
    fold_B = np.empty(len(names), dtype=np.int64)
    size_F = np.zeros(protocol.folds, dtype=np.int64)
    # Batches of one size come in random order.
    for batch in sorted(rng.permutation(len(names)), key=lambda batch: -cells_B[batch]):
        fold_B[batch] = size_F.argmin()
        size_F[fold_B[batch]] += cells_B[batch]
    return fold_B[at_C]


def classes_of(cells: Cells, rows: Rows) -> NDArray[np.int32]:
    """Give the class of each cell; without labels all are of one."""
    return np.zeros(len(rows), np.int32) if cells.labels_C is None else cells.labels_C[rows]


def told_of_folds(cells: Cells, rows: Rows, protocol: ProtocolConfig) -> tuple[str, ...]:
    """Name the classes that are too small for every fold, and batches that are not held out."""
    assert protocol.folds is not None
    said = []
    cells_K = np.bincount(classes_of(cells, rows), minlength=len(cells.classes))
    rare = [k for k, name in enumerate(cells.classes) if 0 < cells_K[k] < protocol.folds]
    if rare:
        names = ", ".join(f"{cells.classes[k]!r} ({cells_K[k]})" for k in rare[:5])
        said.append(
            f"{len(rare)} classes have fewer cells than the {protocol.folds} folds ({names}): "
            "some folds report on none of them, and others train on fewer"
        )
    if protocol.reported == "auto" and cells.batch_C is not None:
        count = len(np.unique(cells.batch_C[rows]))
        said.append(
            f"batches are not held out whole: {count} of them are too few for "
            f"{protocol.folds} folds"
        )
    return tuple(said)
