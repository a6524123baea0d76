"""The value that every other room receives: cells in memory, as CSR, on a known scale."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data.cells.stored_rows import StoredRows
from leadline.errors import UserError

TARGET_SUM = 1e4
CELLS_AT_A_TIME = 4096
FARTHEST_FROM_INTEGER = 0.25


class Scale(StrEnum):
    """What the numbers of a matrix mean."""

    COUNTS = "counts"
    LN_CP10K = "ln_cp10k"
    LOG2_CP10K = "log2_cp10k"
    LOG_OTHER = "log_other"
    ZSCORED = "zscored"
    OTHER = "other"
    # Tokens of a store: what was made of expression, no expression any more.
    SCBERT_BINS = "scbert_bins"
    SCGPT_BINS = "scgpt_bins"


# ln of the base of each logarithm of 1 + counts per 10k.
LOG_BASE = {Scale.LN_CP10K: 1.0, Scale.LOG2_CP10K: float(np.log(2.0))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Cells of one dataset, immutable.

    Attributes
    ----------
    matrix_CG
        CSR, float32, sorted indices, no explicit zeros, on the scale that `scale` names; of a
        token store `StoredRows`, which stay on disk.
    library_C
        Total counts of each cell over all genes that were measured, which may be more genes
        than the matrix holds; NaN where the file does not tell.
    labels_C, classes
        Class index of each cell into the sorted class names; None where no label was asked for.
    given_C
        The part that the file itself assigns each cell to ("train", "validation", "test").
    positions_CD
        What another program made of each cell, for models that read nothing else.
    gene_kind
        What the gene names are: "symbol", "ensembl" or "other".
    how
        How the scale was recognised, half a sentence for messages.
    layer, other_layers
        The matrix of the file that this is, and the file's other matrices with their scales.
    notes
        What the reader found out or did, one sentence each; they go into the record.
    """

    name: str
    matrix_CG: sparse.csr_array
    scale: Scale
    library_C: NDArray[np.float64]
    genes: NDArray[np.str_]
    ids: NDArray[np.str_]
    labels_C: NDArray[np.int32] | None = None
    classes: tuple[str, ...] = ()
    batch_C: NDArray[np.str_] | None = None
    given_C: NDArray[np.str_] | None = None
    positions_CD: NDArray[np.float32] | None = None
    gene_kind: str = "other"
    how: str = ""
    layer: str = "X"
    other_layers: tuple[tuple[str, Scale], ...] = ()
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return int(self.matrix_CG.shape[0])

    def take(self, rows: NDArray[np.integer]) -> Cells:
        """Give these rows, in this order, as cells of their own; the classes stay the same."""
        if len(rows) == len(self) and np.array_equal(rows, np.arange(len(self))):
            return self  # immutable, and as large as memory may hold
        matrix = self.matrix_CG
        return replace(
            self,
            matrix_CG=matrix.view(rows) if isinstance(matrix, StoredRows) else matrix[rows],
            library_C=self.library_C[rows],
            ids=self.ids[rows],
            labels_C=None if self.labels_C is None else self.labels_C[rows],
            batch_C=None if self.batch_C is None else self.batch_C[rows],
            given_C=None if self.given_C is None else self.given_C[rows],
            positions_CD=None if self.positions_CD is None else self.positions_CD[rows],
        )

    def lognorm(self, scale: Scale | None = None) -> sparse.csr_array:
        """Give log-normalised expression, float32 CSR.

        `None` keeps a log scale as it is and turns counts into ln(1 + counts per 10k). Other
        log scales convert exactly into one another; the caller's matrix is never changed.
        """
        if scale is None:
            scale = Scale.LN_CP10K if self.scale is Scale.COUNTS else self.scale
        if scale is self.scale:
            return self.matrix_CG
        if self.scale is Scale.COUNTS and scale in LOG_BASE:
            return self._per_value(
                TARGET_SUM / self.library_C, lambda x, f: np.log1p(x * f) / LOG_BASE[scale]
            )
        if self.scale in LOG_BASE and scale in LOG_BASE:
            factor = LOG_BASE[self.scale] / LOG_BASE[scale]
            return self._per_value(np.full(len(self), factor), np.multiply)
        raise UserError(
            f"{scale} needs counts or a known log scale",
            got=f"a matrix on the scale {self.scale}",
            remedy="name a layer that holds counts with data.layer=, or say what the numbers are "
            "with data.scale=",
        )

    def counts(self) -> sparse.csr_array:
        """Give raw counts, recovered from a log scale where the library sizes are known."""
        if self.scale is Scale.COUNTS:
            return self.matrix_CG
        known = bool(np.isfinite(self.library_C).all())
        if self.scale not in LOG_BASE or not known:
            raise UserError(
                "counts can be recovered only from ln or log2 counts per 10k with library sizes",
                got=f"the scale {self.scale}, library sizes {'known' if known else 'unknown'}",
                remedy="name a layer that holds counts with data.layer=",
            )
        base, worst = LOG_BASE[self.scale], 0.0

        def undo(logs: NDArray[np.float64], unit: NDArray[np.float64]) -> NDArray[np.float64]:
            nonlocal worst
            raw = np.expm1(logs * base) * unit
            counts = np.rint(raw)
            worst = max(worst, float(np.abs(raw - counts).max(initial=0.0)))
            return counts

        recovered = self._per_value(self.library_C / TARGET_SUM, undo)
        if worst > FARTHEST_FROM_INTEGER:
            raise UserError(
                "recovered counts must be integers",
                got=f"a value {worst:.2f} away from the nearest integer",
                remedy="the library sizes do not belong to this matrix; name a layer that holds "
                "counts with data.layer=",
            )
        return recovered

    def fingerprint(self) -> str:
        """SHA-256 over values, genes, ids, labels, batches and given parts; no path, no date.

        Positions are not among them: they belong to the model that reads them.
        """
        digest = hashlib.sha256()
        matrix = self.matrix_CG
        digest.update(repr((matrix.shape, str(self.scale), self.classes)).encode())
        stored = isinstance(matrix, StoredRows)
        if stored:
            digest.update(matrix.content.encode())
        for array, kind in (
            (matrix.rows_C if stored else matrix.indptr, "<i8"),
            (None if stored else matrix.indices, "<i4"),
            (None if stored else matrix.data, "<f4"),
            (self.library_C, "<f8"),
            (self.labels_C, "<i4"),
        ):
            if array is not None:
                digest.update(np.ascontiguousarray(array, dtype=kind).tobytes())
        for words in (self.genes, self.ids, self.batch_C, self.given_C):
            digest.update("\x1f".join(words.tolist() if words is not None else ()).encode())
            digest.update(b"\x1e")
        return digest.hexdigest()

    def _per_value(
        self,
        factor_C: NDArray[np.float64],
        function: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
    ) -> sparse.csr_array:
        """Apply a function of (value, factor of its cell) in float64, some cells at a time."""
        matrix = self.matrix_CG
        data = np.empty_like(matrix.data)
        for start in range(0, len(self), CELLS_AT_A_TIME):
            ends = matrix.indptr[start : start + CELLS_AT_A_TIME + 1]
            factor = np.repeat(factor_C[start : start + CELLS_AT_A_TIME], np.diff(ends))
            data[ends[0] : ends[-1]] = function(
                matrix.data[ends[0] : ends[-1]].astype(np.float64), factor
            )
        return sparse.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)
