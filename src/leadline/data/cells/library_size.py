"""Library sizes: total counts of each cell, from the counts, a column, or the logarithms.

Shapes: C cells, N values of one piece, S sampled cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data.cells.cells import TARGET_SUM, Scale
from leadline.data.cells.checks import Survey, pieces
from leadline.data.cells.files import FileContents
from leadline.data.cells.obs import column_of
from leadline.data.cells.scale import integer_libraries, sample_rows, units_of
from leadline.errors import UserError

COLUMNS = (
    "n_counts",
    "total_counts",
    "nCount_RNA",
    "n_umi",
    "n_umis",
    "nUMI",
    "nUMIs",
    "total_umis",
    "library_size",
    "sum_counts",
)
LOG_SCALES = {Scale.LN_CP10K: 1.0, Scale.LOG2_CP10K: float(np.log(2.0))}
# Recovered counts up to this one are compared with integers; above it noise hides them.
LARGEST_COMPARED = 50.0
# So many values of a cell must agree before their unit is taken for one count.
FEWEST_VALUES = 20


@dataclass(frozen=True, slots=True)
class Libraries:
    """Library sizes, NaN where nothing tells, and where they come from."""

    sizes_C: NDArray[np.float64]
    notes: tuple[str, ...] = ()


def library_sizes(
    source: FileContents, scale: Scale, seen: Survey, column: str | None
) -> Libraries:
    """Find the total counts of each cell, by a column where one is named or fits."""
    if column is not None:
        sizes_C = _numbers(source, column)
        _check(source, scale, seen, column, sizes_C)
        return Libraries(sizes_C, (f"library sizes come from obs column {column}",))
    if scale is Scale.COUNTS:
        return Libraries(seen.sums_C, _hint_at_subset(source, seen))
    if scale not in LOG_SCALES:
        return Libraries(np.full(len(source.obs), np.nan))
    notes = []
    for name in (name for name in COLUMNS if name in source.obs):
        try:
            sizes_C = _numbers(source, name)
        except UserError as error:
            notes.append(f"obs column {name} was ignored: {error.got}")
            continue
        off = _share_off(source.matrix_CG, scale, sizes_C)
        if off <= 0.01:
            notes.append(f"library sizes come from obs column {name}: it gives integer counts")
            return Libraries(sizes_C, tuple(notes))
        notes.append(
            f"obs column {name} was ignored as library size: with it {off:.0%} of the sampled "
            "values are not integer counts"
        )
    sizes_C = _inferred(source.matrix_CG, scale)
    known = int(np.isfinite(sizes_C).sum())
    notes.append(
        f"library sizes were inferred from the values for {known:,} of {sizes_C.size:,} cells"
        if known
        else "library sizes are unknown; data.library_column= names a column that holds them"
    )
    return Libraries(sizes_C, tuple(notes))


def _numbers(source: FileContents, column: str) -> NDArray[np.float64]:
    import pandas as pd

    series = column_of(source.obs, "data.library_column", column)
    sizes_C = pd.to_numeric(series.astype(object), errors="coerce").to_numpy(dtype=np.float64)
    wrong_C = ~(np.isfinite(sizes_C) & (sizes_C > 0))
    if wrong_C.any():
        raise UserError(
            f"data.library_column={column} must hold the total counts of every cell",
            got=f"{wrong_C.sum():,} of {wrong_C.size:,} values that are not positive numbers",
            remedy="name another column or leave data.library_column out",
        )
    return sizes_C


def _check(
    source: FileContents, scale: Scale, seen: Survey, column: str, sizes_C: NDArray[np.float64]
) -> None:
    """Refuse a column that the numbers contradict."""
    got = None
    if scale is Scale.COUNTS:
        below = int((sizes_C < 0.999 * seen.sums_C).sum())
        if below:
            got = f"{below:,} of {sizes_C.size:,} cells with more counts than it says"
    elif scale in LOG_SCALES:
        off = _share_off(source.matrix_CG, scale, sizes_C)
        if off > 0.01:
            got = f"{off:.0%} of the sampled values that it does not turn into integer counts"
    if got:
        raise UserError(
            f"data.library_column={column} must hold the total counts of every cell",
            got=got,
            remedy="name another column or leave data.library_column out",
        )


def _hint_at_subset(source: FileContents, seen: Survey) -> tuple[str, ...]:
    for name in (name for name in COLUMNS if name in source.obs):
        try:
            sizes_C = _numbers(source, name)
        except UserError:
            continue
        if (sizes_C >= 0.999 * seen.sums_C).all() and (sizes_C > 1.001 * seen.sums_C).any():
            return (
                f"library sizes are the sums of the matrix, though obs column {name} is larger: "
                f"if genes were left out, data.library_column={name} counts them too",
            )
    return ()


def _share_off(matrix_CG: sparse.csr_array, scale: Scale, sizes_C: NDArray[np.float64]) -> float:
    """Part of the small values of sampled cells that do not come out as integer counts."""
    off = compared = 0
    for row in sample_rows(matrix_CG.shape[0]).tolist():
        values_N = matrix_CG.data[matrix_CG.indptr[row] : matrix_CG.indptr[row + 1]]
        counts_N = _undone(values_N, scale) * sizes_C[row] / TARGET_SUM
        # A column that is far too small would leave only noise to compare below one count.
        near_N = counts_N[counts_N <= LARGEST_COMPARED]
        compared += near_N.size
        allowed_N = np.maximum(0.05, 5e-3 * near_N)
        off += int((np.abs(near_N - np.maximum(np.rint(near_N), 1.0)) > allowed_N).sum())
    return off / compared if compared else 1.0


def _inferred(matrix_CG: sparse.csr_array, scale: Scale) -> NDArray[np.float64]:
    """Take 10,000 / unit for the library size where the values of the cell leave no doubt.

    That is: at least twenty values below twenty-one counts, all of them multiples of the unit,
    and an integer library size of known precision.
    """
    sizes_C = np.full(matrix_CG.shape[0], np.nan)
    for start, stop, low, high in pieces(matrix_CG):
        starts = matrix_CG.indptr[start:stop].astype(np.int64) - low
        units, errors, residuals = units_of(_undone(matrix_CG.data[low:high], scale), starts)
        libraries, _, certain = integer_libraries(units, errors)
        certain &= (residuals < 0.01) & (np.diff(starts, append=high - low) >= FEWEST_VALUES)
        sizes_C[start:stop] = np.where(certain, np.rint(libraries), np.nan)
    return sizes_C


def _undone(values_N: NDArray[np.float32], scale: Scale) -> NDArray[np.float64]:
    return np.expm1(values_N.astype(np.float64) * LOG_SCALES[scale])
