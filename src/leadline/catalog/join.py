"""A training file and a file to be reported on, as one set of cells."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from leadline.cells import Cells
from leadline.errors import UserError


def join(train: Cells, test: Cells) -> Cells:
    """Stack two files on the genes that both have, in the order of the first.

    The classes are the union of both (D04); ids tell the files apart.
    """
    shared = np.isin(train.genes, test.genes)
    genes = train.genes[shared]
    if not len(genes):
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
    place = {gene: column for column, gene in enumerate(test.genes.tolist())}
    columns = np.array([place[gene] for gene in genes.tolist()])
    assert train.labels_C is not None and test.labels_C is not None
    classes = tuple(sorted({*train.classes, *test.classes}))
    labels = [
        np.searchsorted(classes, np.array(part.classes))[part.labels_C].astype(np.int32)
        for part in (train, test)
        if part.labels_C is not None
    ]
    matrix_CG = sparse.csr_array(
        sparse.vstack([train.matrix_CG[:, np.flatnonzero(shared)], test.matrix_CG[:, columns]])
    )
    matrix_CG.sort_indices()
    both_batches = train.batch_C is not None and test.batch_C is not None
    return Cells(
        name=train.name,
        matrix_CG=matrix_CG,
        scale=train.scale,
        library_C=np.concatenate([train.library_C, test.library_C]),
        genes=genes,
        ids=np.concatenate(
            [
                [f"{part}:{i}" for i in cells.ids]
                for part, cells in (("train", train), ("test", test))
            ]
        ),
        labels_C=np.concatenate(labels),
        classes=classes,
        batch_C=np.concatenate([train.batch_C, test.batch_C]) if both_batches else None,
        given_C=np.repeat(["train", "test"], [len(train), len(test)]),
        notes=(
            *train.notes,
            f"{len(genes):,} genes are in both files; left out: {len(train.genes) - len(genes):,} "
            f"only in the training file, {len(test.genes) - len(genes):,} only in the test file",
        ),
    )
