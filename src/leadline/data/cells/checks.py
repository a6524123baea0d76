"""What no reader may let through, and what one model cannot use: the messages, with remedies.

Shapes: C cells, G genes.
"""

from __future__ import annotations

from collections.abc import Callable, Set

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data.cells.cells import Cells, Scale
from leadline.data.cells.checks__cells_survey import Survey, pieces
from leadline.data.cells.files__cells_source import Source
from leadline.errors import UserError

NAMES = {
    Scale.COUNTS: "counts",
    Scale.LN_CP10K: "ln of 1 + counts per 10,000",
    Scale.LOG2_CP10K: "log2 of 1 + counts per 10,000",
    Scale.LOG_OTHER: "a logarithm of counts with another base or total than 10,000",
    Scale.ZSCORED: "z-scores",
    Scale.OTHER: "numbers of an unknown kind",
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
    else:
        remedy = f"no other layer of the file will do; save such a matrix, or {overrule}"
    how = f" ({cells.how})" if cells.how else ""
    raise UserError(
        f"{model} needs {' or '.join(NAMES[scale] for scale in Scale if scale in accepted)}",
        got=f"{NAMES[cells.scale]} in {cells.layer} of {cells.name}{how}",
        remedy=remedy,
    )


def check_size(source: Source) -> None:
    """Refuse a matrix without cells or without genes."""
    n_cells, n_genes = source.matrix_CG.shape
    if n_cells and n_genes:
        return
    raise UserError(
        "a matrix must have cells and genes",
        got=f"{n_cells:,} cells and {n_genes:,} genes in {source.layer} of {source.path.name}",
        remedy="look at how the file was filtered before it was saved",
    )


def check_finite(source: Source, seen: Survey) -> None:
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


def check_counts(source: Source, seen: Survey) -> None:
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


def check_cells_not_empty(source: Source) -> None:
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


def _how_many(source: Source, cells_C: NDArray[np.bool_]) -> str:
    first = source.obs.index[int(np.flatnonzero(cells_C)[0])]
    return f"{cells_C.sum():,} of {cells_C.size:,} cells (first: {first})"
