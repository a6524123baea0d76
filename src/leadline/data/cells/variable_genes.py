"""The genes that vary most: fewer genes make networks faster, and the rest says little.

Shapes: C cells, B cells of a block, G genes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data.cells.cells import CELLS_AT_A_TIME, Cells


def keep_variable(cells: Cells, rows: NDArray[np.int64], count: int) -> Cells:
    """Give the cells with so many of their genes: those that vary most among `rows`.

    Library sizes stay those of all genes that were measured.
    """
    n_genes = len(cells.genes)
    if n_genes <= count:
        return cells
    kept_G = most_variable(cells.take(rows), count)
    note = (
        f"{count:,} of {n_genes:,} genes are used: those that vary most among the "
        f"{len(rows):,} cells that are not reported on"
    )
    return replace(
        cells,
        matrix_CG=sparse.csr_array(cells.matrix_CG[:, kept_G]),
        genes=cells.genes[kept_G],
        notes=(*cells.notes, note),
    )


def most_variable(cells: Cells, count: int) -> NDArray[np.int64]:
    """Find the genes with the largest variance of log-normalised expression, in their order.

    Of equal ones the earlier is taken.
    """
    matrix_CG, n_genes = cells.lognorm(), len(cells.genes)
    sum_G, square_G = np.zeros(n_genes), np.zeros(n_genes)
    for start in range(0, len(cells), CELLS_AT_A_TIME):
        ends = matrix_CG.indptr[[start, min(start + CELLS_AT_A_TIME, len(cells))]]
        gene_N = matrix_CG.indices[ends[0] : ends[1]]
        value_N = matrix_CG.data[ends[0] : ends[1]].astype(np.float64)
        sum_G += np.bincount(gene_N, value_N, minlength=n_genes)
        square_G += np.bincount(gene_N, value_N**2, minlength=n_genes)
    variance_G = square_G / len(cells) - (sum_G / len(cells)) ** 2
    return np.sort(np.argsort(-variance_G, kind="stable")[:count])
