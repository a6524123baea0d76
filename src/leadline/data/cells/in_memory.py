"""An AnnData in memory → a file named by its content, for whatever reads cells from files.

The object is only read: never changed, never imported from anndata. Shapes: B cells of a block,
G genes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data.cells.cells import CELLS_AT_A_TIME
from leadline.data.cells.obs import batches_of, column_of, labels_of
from leadline.data.cells.write import H5adWriter
from leadline.errors import UserError, nearest


def write_in_memory(
    adata: Any,
    folder: Path,
    *,
    label: str | None,
    batch: str | None,
    layer: str | None = None,
    others: Sequence[str] = (),
) -> Path:
    """Write matrix, labels and batches of an AnnData into `folder`, once; give the path.

    Views, backed objects, layers, `raw`, dense and sparse matrices of any number type are read
    block by block. `others` are further columns of obs that are to be kept. Equal content is one
    file, whoever asks for it again.

    Raises
    ------
    UserError
        When it is no AnnData, or lacks the layer, the labels or the batches.
    """
    for part in ("X", "obs", "var_names", "layers"):
        if not hasattr(adata, part):
            raise UserError(
                "cells in memory must be an AnnData",
                got=type(adata).__name__,
                remedy="pass an AnnData, the path of a file, or the name of a dataset",
            )
    columns: dict[str, NDArray[Any]] = {
        name: np.asarray(column_of(adata.obs, name, name)) for name in others
    }
    if label is not None:
        codes_C, classes = labels_of(adata.obs, label)
        columns[label] = np.array(classes, dtype=np.str_)[codes_C]
    if batch is not None:
        columns[batch] = batches_of(adata.obs, batch)
    genes = np.asarray(_source(adata, layer).var_names, dtype=np.str_)
    ids = np.asarray(adata.obs_names, dtype=np.str_)
    digest = hashlib.sha256()
    for values in (genes, ids, *columns.values()):
        digest.update("\x1f".join(map(str, values.tolist())).encode() + b"\x1e")
    dtype = None
    for block_BG in _blocks(adata, layer):
        dtype = dtype or (np.int32 if block_BG.dtype.kind in "iub" else np.float32)
        for part_N in (block_BG.indptr, block_BG.indices, block_BG.data):
            digest.update(np.ascontiguousarray(part_N).tobytes())
    path = folder / f"cells-{digest.hexdigest()[:12]}.h5ad"
    if path.exists():
        return path
    with H5adWriter(path, genes, dtype=dtype or np.float32) as writer:
        start = 0
        for block_BG in _blocks(adata, layer):
            rows = slice(start, start + block_BG.shape[0])
            own = {name: values[rows] for name, values in columns.items()}
            writer.append(block_BG, own, ids[rows])
            start = rows.stop
    return path


def _source(adata: Any, layer: str | None) -> Any:
    """Give what holds the genes of the matrix that is asked for."""
    if layer == "raw":
        if adata.raw is None:
            raise UserError(
                "layer must name a matrix of the AnnData",
                got="raw, which it does not have",
                remedy=nearest("raw", ["X", *adata.layers]),
            )
        return adata.raw
    if layer not in (None, "X") and layer not in adata.layers:
        raise UserError(
            "layer must name a matrix of the AnnData",
            got=repr(layer),
            remedy=nearest(str(layer), ["X", "raw", *adata.layers]),
        )
    return adata


def _blocks(adata: Any, layer: str | None) -> Iterator[sparse.csr_array]:
    """Give the matrix in blocks of rows, each a fresh canonical CSR."""
    _source(adata, layer)
    for start in range(0, len(adata.obs_names), CELLS_AT_A_TIME):
        rows = slice(start, start + CELLS_AT_A_TIME)
        part = adata[rows]
        if layer == "raw":
            values = adata.raw[rows].X
        else:
            values = part.X if layer in (None, "X") else part.layers[layer]
        values = values if sparse.issparse(values) else np.asarray(values)
        block_BG = sparse.csr_array(values, copy=True)
        block_BG.sum_duplicates()
        block_BG.eliminate_zeros()
        yield block_BG
