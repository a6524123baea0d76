"""The column layout that every fit of one fold shares: read once, without a second copy.

Shapes: C cells, G columns (genes, then the constant 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.errors import UserError
from leadline.stats.jit import compiled


@dataclass(frozen=True, slots=True)
class ColumnMatrix:
    """The cells of one fold as columns: float32 values, int32 row numbers, the constant 1 last."""

    data: NDArray[np.float32]
    indices: NDArray[np.int32]
    indptr: NDArray[np.int64]

    @property
    def arrays(self) -> tuple[Any, Any, Any]:
        """Give the three arrays in the order that the kernels take."""
        return self.data, self.indices, self.indptr

    def blocks(self, parts: int) -> list[tuple[int, int]]:
        """Cut the columns into ranges of about equal work."""
        cuts = np.searchsorted(self.indptr, np.linspace(0, self.indptr[-1], parts + 1))
        cuts[0], cuts[-1] = 0, self.indptr.size - 1
        return [(int(first), int(last)) for first, last in zip(cuts, cuts[1:], strict=False)]


def compressed(matrix_CG: Any) -> Any:
    """Return the matrix as CSR or CSC without duplicates; the caller's own if it is that."""
    if not sparse.issparse(matrix_CG):
        matrix_CG = np.asarray(matrix_CG)
        if matrix_CG.ndim != 2 or matrix_CG.dtype.kind not in "fiub":
            raise UserError(
                "the matrix must be cells x genes of numbers",
                got=f"{matrix_CG.ndim} dimensions of {matrix_CG.dtype}",
                remedy="pass a dense, CSR or CSC matrix",
            )
        return sparse.csr_array(matrix_CG)
    if matrix_CG.format not in ("csr", "csc"):
        return matrix_CG.tocsr()
    if not matrix_CG.has_canonical_format:
        matrix_CG = matrix_CG.copy()
        matrix_CG.sum_duplicates()
    return matrix_CG


def columns_of(matrix_CG: Any, rows_C: NDArray[np.int64]) -> ColumnMatrix:
    """Lay the chosen rows of a CSR or CSC matrix out as columns; the only copy that is made."""
    cells, genes = matrix_CG.shape
    count_G = np.zeros(genes, np.int64)
    place_C = np.full(cells, -1, np.int32)
    place_C[rows_C] = np.arange(rows_C.size, dtype=np.int32)
    arrays = matrix_CG.data, matrix_CG.indices, matrix_CG.indptr
    by_row = matrix_CG.format == "csr"
    if by_row:
        _count_of_rows(*arrays[1:], rows_C, count_G)
    else:
        _count_of_columns(*arrays[1:], place_C, count_G)
    indptr = np.concatenate([[0], np.cumsum(count_G)])
    data = np.ones(indptr[-1] + rows_C.size, np.float32)
    indices = np.empty(data.size, np.int32)
    (_rows_to_columns if by_row else _subset_columns)(
        *arrays, rows_C if by_row else place_C, indptr[:-1].copy(), data, indices
    )
    indices[indptr[-1] :] = np.arange(rows_C.size)
    if not np.isfinite(data.sum(dtype=np.float64)):
        raise UserError(
            "expression must be finite in float32",
            got="NaN or an infinite value",
            remedy="remove or impute those entries",
        )
    return ColumnMatrix(data, indices, np.append(indptr, data.size))


@compiled
def _count_of_rows(indices, indptr, rows_C, count_G):  # type: ignore[no-untyped-def]
    for row in rows_C:
        for at in range(indptr[row], indptr[row + 1]):
            count_G[indices[at]] += 1


@compiled
def _count_of_columns(indices, indptr, place_C, count_G):  # type: ignore[no-untyped-def]
    for column in range(count_G.size):
        for at in range(indptr[column], indptr[column + 1]):
            count_G[column] += place_C[indices[at]] >= 0


@compiled
def _rows_to_columns(data, indices, indptr, rows_C, next_G, out, out_rows):  # type: ignore[no-untyped-def]
    for place in range(rows_C.size):
        for at in range(indptr[rows_C[place]], indptr[rows_C[place] + 1]):
            column = indices[at]
            out[next_G[column]] = data[at]
            out_rows[next_G[column]] = place
            next_G[column] += 1


@compiled
def _subset_columns(data, indices, indptr, place_C, next_G, out, out_rows):  # type: ignore[no-untyped-def]
    for column in range(next_G.size):
        for at in range(indptr[column], indptr[column + 1]):
            place = place_C[indices[at]]
            if place >= 0:
                out[next_G[column]] = data[at]
                out_rows[next_G[column]] = place
                next_G[column] += 1
