"""What no reader may let through, and what one model cannot use: the messages, with remedies.

Shapes: C cells, G genes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data.cells.cells import Cells, Scale
from leadline.data.cells.files import FileContents
from leadline.errors import UserError

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


NAMES = {
    Scale.COUNTS: "counts",
    Scale.LN_CP10K: "ln of 1 + counts per 10,000",
    Scale.LOG2_CP10K: "log2 of 1 + counts per 10,000",
    Scale.LOG_OTHER: "a logarithm of counts with another base or total than 10,000",
    Scale.ZSCORED: "z-scores",
    Scale.OTHER: "numbers of an unknown kind",
    Scale.SCBERT_BINS: "scBERT's bins from a token store",
    Scale.SCGPT_BINS: "scGPT's bins from a token store",
}


def require_scale(cells: Cells, accepted: Set[Scale], model: str) -> None:
    """Refuse cells on a scale that a model cannot use, and name what the file holds instead."""
    if cells.scale in accepted:
        return
    usable = [(name, scale) for name, scale in cells.other_layers if scale in accepted]
    overrule = f"data.scale={min(accepted)} if you know better" if accepted else ""
    if usable:
        found = ", ".join(f"data.layer={name} ({NAMES[scale]})" for name, scale in usable)
        remedy = f"the file also holds what it needs: {found}"
    elif cells.scale in (Scale.SCBERT_BINS, Scale.SCGPT_BINS):
        remedy = "name the file that it was built from with data=h5ad data.path=, or build a store "
        remedy += "with --model where there is one for this model"
    else:
        remedy = f"no other layer of the file will do; save such a matrix, or {overrule}"
    how = f" ({cells.how})" if cells.how else ""
    raise UserError(
        f"{model} needs {' or '.join(NAMES[scale] for scale in Scale if scale in accepted)}",
        got=f"{NAMES[cells.scale]} in {cells.layer} of {cells.name}{how}",
        remedy=remedy,
    )


def check_size(source: FileContents) -> None:
    """Refuse a matrix without cells or without genes."""
    n_cells, n_genes = source.matrix_CG.shape
    if n_cells and n_genes:
        return
    raise UserError(
        "a matrix must have cells and genes",
        got=f"{n_cells:,} cells and {n_genes:,} genes in {source.layer} of {source.path.name}",
        remedy="look at how the file was filtered before it was saved",
    )


def check_finite(source: FileContents, seen: Survey) -> None:
    """Refuse NaN and infinite values; say how many, in how many cells, and where the first is."""
    for count, what, test in (
        (seen.not_a_number, "NaN", np.isnan),
        (seen.infinite, "infinite", np.isinf),
    ):
        if count:
            cells_C = _cells_where(source.matrix_CG, test)
            raise UserError(
                f"{source.layer} of {source.path.name} must hold finite numbers",
                got=f"{count:,} {what} values in {_how_many(source, cells_C)}",
                remedy="repeat the step that made them (often a division by an empty cell or a "
                "constant gene), or name an earlier layer with data.layer=",
            )


def check_counts(source: FileContents, seen: Survey) -> None:
    """Refuse counts below zero."""
    if not seen.negative:
        return
    cells_C = _cells_where(source.matrix_CG, lambda values: values < 0)
    others = [name for name, scale in source.others if scale is Scale.COUNTS]
    remedy = (
        f"data.layer={others[0]} holds counts"
        if others
        else (
            "name a layer that holds raw counts with data.layer=, or say what else the numbers are "
            "with data.scale="
        )
    )
    raise UserError(
        f"counts in {source.layer} of {source.path.name} must not be negative",
        got=f"{seen.negative:,} negative values in {_how_many(source, cells_C)}",
        remedy=remedy,
    )


def check_cells_not_empty(source: FileContents) -> None:
    """Refuse cells without a single value above zero."""
    empty_C = np.diff(source.matrix_CG.indptr) == 0
    if not empty_C.any():
        return
    matrix = {"X": "adata.X", "raw": "adata.raw.X"}.get(
        source.layer, f"adata.layers[{source.layer!r}]"
    )
    raise UserError(
        f"every cell in {source.layer} of {source.path.name} must have counts",
        got=f"only zeros in {_how_many(source, empty_C)}",
        remedy=f"{source.read_command()}; adata[({matrix} != 0).sum(axis=1) > 0]"
        ".write_h5ad('no_empty_cells.h5ad')",
    )


def _cells_where(
    matrix_CG: sparse.csr_array, test: Callable[[NDArray[np.float32]], NDArray[np.bool_]]
) -> NDArray[np.bool_]:
    """Mark the cells that hold a value for which the test is true."""
    found_C = np.zeros(matrix_CG.shape[0], dtype=bool)
    for start, stop, low, high in pieces(matrix_CG):
        rows = np.repeat(np.arange(start, stop), np.diff(matrix_CG.indptr[start : stop + 1]))
        found_C[rows[test(matrix_CG.data[low:high])]] = True
    return found_C


def _how_many(source: FileContents, cells_C: NDArray[np.bool_]) -> str:
    first = source.obs.index[int(np.flatnonzero(cells_C)[0])]
    return f"{cells_C.sum():,} of {cells_C.size:,} cells (first: {first})"
