"""An `.h5ad` larger than memory: its tables at once, its cells in checked blocks.

Legend: C cells of the file, G genes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from leadline.data.cells.cells import Cells, Scale
from leadline.data.cells.files import FileContents, Kind, kind_of, open_hdf5
from leadline.data.cells.genes import gene_names
from leadline.data.cells.h5ad import h5ad_matrix, is_raw, matrix_var, table
from leadline.data.cells.matrix_blocks import row_blocks
from leadline.data.cells.obs import batches_of, labels_of, parts_of
from leadline.data.cells.read import ColumnNames, cells_of, declared_scale
from leadline.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

FIRST_CELLS = 4096
MARK_BYTES = 1 << 20


class H5adBlocks:
    """One file; its first block says on which scale all of it is, unless the user does."""

    def __init__(
        self, path: Path, columns: ColumnNames, layer: str | None, scale: str | None
    ) -> None:
        if kind_of(path) is not Kind.H5AD:
            raise UserError(
                "a token store is built from .h5ad files",
                got=f"{path}, which is 10x data",
                remedy="save it with adata.write_h5ad('cells.h5ad') and name that file",
            )
        self.path, self.columns, self.layer = path, columns, layer
        with open_hdf5(path) as file:
            name, stored = h5ad_matrix(file, path, layer)
            self.obs: pd.DataFrame = table(file, "obs")
            self.var: pd.DataFrame = matrix_var(file, name)
            raw = is_raw(file, name)
        if stored.kind == "csc":
            raise UserError(
                "a token store reads cells in blocks",
                got=f"{stored.where}, which is stored by genes (CSC)",
                remedy="in Python: adata.X = adata.X.tocsr(); adata.write_h5ad('cells.h5ad')",
            )
        for axis, size, rows in (("obs", 0, len(self.obs)), ("var", 1, len(self.var))):
            if rows != stored.shape[size]:
                raise UserError(
                    f"{axis} must have one row per {('cell', 'gene')[size]} of {stored.where}",
                    got=f"{rows:,} rows for a matrix of {stored.shape}",
                    remedy="write the file again with adata.write_h5ad()",
                )
        self.n_cells, self.matrix = len(self.obs), name
        self.genes_from = "the raw var index" if raw else "the var index"
        self.declared = declared_scale(scale)
        self.genes: NDArray[np.str_] = gene_names(self._contents(None, 0, 0), columns.genes)[0]

    def mark(self) -> dict[str, Any]:
        """Tell this file from others without reading all of it: name, size, both of its ends."""
        size = self.path.stat().st_size
        digest = hashlib.sha256()
        with open(self.path, "rb") as file:
            digest.update(file.read(MARK_BYTES))
            file.seek(max(0, size - MARK_BYTES))
            digest.update(file.read(MARK_BYTES))
        return {"name": self.path.name, "bytes": size, "ends": digest.hexdigest()}

    def names(self) -> list[str]:
        """Give the names of the cells, which may recur."""
        return [str(name) for name in self.obs.index]

    def column(self, table: str) -> NDArray[np.str_]:
        """Give what labels, batches or parts the cells have, as words."""
        columns = self.columns
        if table == "labels":
            label_C, classes = labels_of(self.obs, str(columns.label))
            return np.array(classes, np.str_)[label_C]
        if table == "batches":
            return batches_of(self.obs, str(columns.batch))
        return parts_of(self.obs, str(columns.split))

    def notes(self) -> list[str]:
        """Say what the numbers are and how that showed."""
        return [f"{self.path.name}: {note}" for note in self._first.notes]

    def blocks(self, first: int, last: int, size: int) -> Iterator[Cells]:
        """Give these cells, checked, so many at a time."""
        scale = self._first.scale
        with open_hdf5(self.path) as file:
            _, stored = h5ad_matrix(file, self.path, self.layer)
            at = first
            for matrix_BG in row_blocks(stored, size, first):
                stop = min(at + matrix_BG.shape[0], last)
                yield self._cells(matrix_BG[: stop - at], at, stop, scale)
                at = stop
                if at == last:
                    return

    @cached_property
    def _first(self) -> Cells:
        """Give the first cells, whose scale is taken for that of all."""
        with open_hdf5(self.path) as file:
            _, stored = h5ad_matrix(file, self.path, self.layer)
            block = next(row_blocks(stored, FIRST_CELLS), None)
        if block is None:
            block = np.zeros((0, len(self.genes)))
        return self._cells(block, 0, block.shape[0], self.declared)

    def _cells(self, matrix_BG: Any, first: int, last: int, scale: Scale | None) -> Cells:
        columns = ColumnNames(genes=self.columns.genes, library=self.columns.library)
        return cells_of(self._contents(matrix_BG, first, last), self.path.name, columns, scale)

    def _contents(self, matrix_BG: Any, first: int, last: int) -> FileContents:
        wanted = [] if self.columns.library is None else [self.columns.library]
        there = [column for column in wanted if column in self.obs]
        return FileContents(
            path=self.path,
            matrix_CG=matrix_BG,
            obs=self.obs.iloc[first:last][there],
            var=self.var,
            layer=self.matrix,
            genes_from=self.genes_from,
        )
