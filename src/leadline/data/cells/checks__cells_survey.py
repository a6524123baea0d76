"""One look at every value of a matrix, in pieces; what it finds decides what is refused.

Shapes: C cells, G genes, N stored values of one piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

PIECE = 1 << 19
# Counts that went through a logarithm and back, or through float16, are this close to integers.
INTEGER_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What the values of a matrix are like, all of them.

    Attributes
    ----------
    not_a_number, infinite, negative, fractional
        How many stored values are so; fractional ones are further than 0.001 from an integer.
    rounded
        How many values are not integers but within 0.001 of one.
    sums_C
        Total of each cell.
    """

    stored: int
    not_a_number: int
    infinite: int
    negative: int
    fractional: int
    rounded: int
    largest: float
    sums_C: NDArray[np.float64]

    @property
    def integral(self) -> bool:
        """Whether every value is an integer, up to float noise."""
        return self.fractional == 0


def survey(matrix_CG: sparse.csr_array) -> Survey:
    """Count what is missing, infinite, negative or fractional among all values."""
    counts = np.zeros(5, np.int64)
    largest = 0.0
    sums_C = np.zeros(matrix_CG.shape[0])
    for start, stop, low, high in pieces(matrix_CG):
        values_N = matrix_CG.data[low:high]
        finite_N = np.isfinite(values_N)
        if not finite_N.all():
            missing = np.count_nonzero(np.isnan(values_N))
            counts[0] += missing
            counts[1] += values_N.size - np.count_nonzero(finite_N) - missing
            values_N = np.where(finite_N, values_N, 0)
        integers_N = np.rint(values_N)
        # A small fraction is no noisy zero: zeros are not stored.
        away_N = np.where((integers_N == 0) & (values_N != 0), 1.0, np.abs(values_N - integers_N))
        counts[2] += np.count_nonzero(values_N < 0)
        counts[3] += np.count_nonzero(away_N > INTEGER_TOLERANCE)
        counts[4] += np.count_nonzero((away_N > 0) & (away_N <= INTEGER_TOLERANCE))
        largest = max(largest, float(values_N.max(initial=0.0)))
        rows_N = np.repeat(np.arange(stop - start), np.diff(matrix_CG.indptr[start : stop + 1]))
        sums_C[start:stop] = np.bincount(rows_N, weights=values_N, minlength=stop - start)
    return Survey(
        stored=int(matrix_CG.nnz),
        not_a_number=int(counts[0]),
        infinite=int(counts[1]),
        negative=int(counts[2]),
        fractional=int(counts[3]),
        rounded=int(counts[4]),
        largest=largest,
        sums_C=sums_C,
    )


def pieces(matrix_CG: sparse.csr_array) -> Iterator[tuple[int, int, int, int]]:
    """Yield runs of cells with their values: first cell, one past the last, first value, last."""
    indptr, n_cells = matrix_CG.indptr, matrix_CG.shape[0]
    start = 0
    while start < n_cells:
        stop = int(np.searchsorted(indptr, int(indptr[start]) + PIECE, side="right")) - 1
        stop = min(max(stop, start + 1), n_cells)
        yield start, stop, int(indptr[start]), int(indptr[stop])
        start = stop


def gene_moments(matrix_CG: sparse.csr_array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each gene over all cells, zeros included."""
    n_cells, n_genes = matrix_CG.shape
    sums_G, squares_G = np.zeros(n_genes), np.zeros(n_genes)
    for _, _, low, high in pieces(matrix_CG):
        genes_N, values_N = matrix_CG.indices[low:high], matrix_CG.data[low:high].astype(np.float64)
        sums_G += np.bincount(genes_N, weights=values_N, minlength=n_genes)
        squares_G += np.bincount(genes_N, weights=values_N**2, minlength=n_genes)
    means_G = sums_G / n_cells
    return means_G, np.sqrt(np.maximum(squares_G / n_cells - means_G**2, 0.0))
