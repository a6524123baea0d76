"""A training file and a file to be reported on, as one set of cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data.cells import Cells
from leadline.errors import UserError


def join(train: Cells, test: Cells) -> Cells:
    """Stack two files on the genes that both have, in the order of the first.

    The classes are the union of both (D04); ids tell the files apart.
    """
    check_alike(train, test)
    shared = np.isin(train.genes, test.genes)
    genes = train.genes[shared]
    place = {gene: column for column, gene in enumerate(test.genes.tolist())}
    columns = np.array([place[gene] for gene in genes.tolist()])
    matrix_CG = sparse.csr_array(
        sparse.vstack([train.matrix_CG[:, np.flatnonzero(shared)], test.matrix_CG[:, columns]])
    )
    matrix_CG.sort_indices()
    labels_C, classes = joined_labels(train, test)
    both_batches = train.batch_C is not None and test.batch_C is not None
    parts = (("train", train), ("test", test))
    return Cells(
        name=train.name,
        matrix_CG=matrix_CG,
        scale=train.scale,
        library_C=np.concatenate([train.library_C, test.library_C]),
        genes=genes,
        ids=np.concatenate([[f"{part}:{i}" for i in cells.ids] for part, cells in parts]),
        labels_C=labels_C,
        classes=classes,
        batch_C=np.concatenate([train.batch_C, test.batch_C]) if both_batches else None,
        given_C=np.repeat(["train", "test"], [len(train), len(test)]),
        notes=(
            *train.notes,
            f"{len(genes):,} genes are in both files; left out: {len(train.genes) - len(genes):,} "
            f"only in the training file, {len(test.genes) - len(genes):,} only in the test file",
        ),
    )


def check_alike(train: Cells, test: Cells) -> None:
    """Refuse files that hold other genes or other numbers than one another."""
    if not np.isin(train.genes, test.genes).any():
        raise UserError(
            "training and test file must share genes",
            got=f"none in common, for example {train.genes[0]} against {test.genes[0]}",
            remedy="use the same kind of gene name in both; data.gene_column= picks a column",
        )
    if train.scale is not test.scale:
        raise UserError(
            "training and test file must hold the same kind of numbers",
            got=f"{train.scale} and {test.scale}",
            remedy="say what they hold with data.scale=, or name a layer with data.layer=",
        )


def joined_labels(train: Cells, test: Cells) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Give the labels of both files as indices into the union of their classes."""
    classes = tuple(sorted({*train.classes, *test.classes}))
    labels = []
    for part in (train, test):
        assert part.labels_C is not None
        place_K = np.searchsorted(classes, part.classes)
        labels.append(place_K[part.labels_C].astype(np.int32))
    return np.concatenate(labels), classes
