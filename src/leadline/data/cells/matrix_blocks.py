"""A matrix on disk → CSR float32 in memory, in blocks, so that little else is ever held.

Shapes: C cells, G genes, B cells of one block, N stored values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data.cells.limits import check_room
from leadline.errors import UserError

# Values that one step holds beside the result: some 20 MB.
STEP = 1 << 19
# Indices are int32.
MOST_ROWS = (1 << 31) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Where the numbers of one matrix lie in an open file.

    Attributes
    ----------
    kind
        "dense" rows of cells; "csr" and "csc" compressed by cells and by genes.
    indices, indptr
        None for a dense matrix.
    where
        What messages call it, such as "X of cells.h5ad".
    """

    kind: Literal["dense", "csr", "csc"]
    shape: tuple[int, int]
    values: h5py.Dataset
    indices: h5py.Dataset | None = None
    indptr: NDArray[np.int64] | None = None
    where: str

    @property
    def n_stored(self) -> int:
        """Values on disk, zeros included."""
        return int(self.values.size)


def stored_matrix(node: h5py.Dataset | h5py.Group, where: str) -> Stored:
    """Recognise a dense, CSR or CSC matrix in AnnData's layout, the old one included."""
    if isinstance(node, h5py.Dataset):
        if node.shape is None or node.ndim != 2:
            dimensions = "no" if node.shape is None else node.ndim
            raise _malformed(where, f"an array of {dimensions} dimensions")
        check_room(where, 8 * node.shape[0])
        return Stored(
            kind="dense", shape=pair_of_sizes(node.shape, where), values=node, where=where
        )
    if not isinstance(node, h5py.Group):
        raise _malformed(where, "neither an array nor a group of arrays")
    kind = str(node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", "")))
    kind = kind.removesuffix("_matrix")
    shape = node.attrs.get("shape", node.attrs.get("h5sparse_shape"))
    if kind not in ("csr", "csc") or shape is None or not {"data", "indices", "indptr"} <= {*node}:
        raise _malformed(where, f"a group encoded as {kind or 'nothing known'}")
    return compressed(node, "csr" if kind == "csr" else "csc", pair_of_sizes(shape, where), where)


def compressed(
    group: h5py.Group, kind: Literal["csr", "csc"], shape: tuple[int, int], where: str
) -> Stored:
    """Take the three arrays of a compressed matrix as they lie, once they fit together."""
    n_major = shape[0] if kind == "csr" else shape[1]
    for name in ("data", "indices", "indptr"):
        array = group.get(name)
        if not isinstance(array, h5py.Dataset) or array.shape is None or array.ndim != 1:
            raise _malformed(where, f"{name} that is no array of one dimension")
        if name != "data" and array.dtype.kind not in "iu":
            raise _malformed(where, f"{name} of type {array.dtype}")
    n_stored = group["data"].size
    # Values and indices, as they come and as they are kept, and where rows begin.
    check_room(where, 8 * n_stored + 8 * (shape[0] + shape[1]))
    if group["indptr"].size != n_major + 1:
        raise _malformed(where, f"an indptr that does not fit {shape}")
    indptr = np.asarray(group["indptr"][:], dtype=np.int64)
    if indptr.size != n_major + 1 or indptr[0] != 0 or indptr[-1] != n_stored:
        raise _malformed(where, f"an indptr that does not fit {shape} and {n_stored:,} values")
    if (np.diff(indptr) < 0).any() or group["indices"].size != n_stored:
        raise _malformed(where, "indptr and indices that contradict one another")
    return Stored(
        kind=kind,
        shape=shape,
        values=group["data"],
        indices=group["indices"],
        indptr=indptr,
        where=where,
    )


def to_csr(stored: Stored) -> sparse.csr_array:
    """Read the whole matrix: float32, sorted, no explicit zeros, repeated entries summed."""
    if stored.kind == "csc":
        return _from_columns(stored)
    # Stored zeros are dropped, so for CSR this is an upper bound; dense rows grow as they come.
    room = 0 if stored.kind == "dense" else stored.n_stored
    return gather(row_blocks(stored), stored.shape, room)


def row_blocks(
    stored: Stored, rows: int | None = None, first: int = 0
) -> Iterator[sparse.csr_array]:
    """Yield the cells in order as CSR blocks of `rows` cells, or of whatever fits one step.

    With `rows`, cells before the `first` are not read.
    """
    if stored.kind == "csc":
        whole = _from_columns(stored)
        step = rows or max(1, STEP // max(1, stored.shape[1]))
        for start in range(first, stored.shape[0], step):
            yield whole[start : start + step]
        return
    cuts: Iterator[tuple[int, int]]
    if rows is not None:
        cuts = ((at, min(at + rows, stored.shape[0])) for at in range(first, stored.shape[0], rows))
    elif stored.indptr is not None:
        cuts = _cuts(stored.indptr)
    else:
        cuts = _dense_cuts(stored)
    for start, stop in cuts:
        yield _dense(stored, start, stop) if stored.indices is None else _rows(stored, start, stop)


def gather(
    blocks: Iterator[sparse.csr_array], shape: tuple[int, int], room: int
) -> sparse.csr_array:
    """Stack blocks of cells into arrays with room for so many values, more if it must be."""
    n_cells = shape[0]
    data, indices = np.empty(room, np.float32), np.empty(room, np.int32)
    indptr = np.zeros(n_cells + 1, np.int64)
    row = end = 0
    for block in blocks:
        stop, last = row + block.shape[0], end + block.nnz
        if last > data.size:
            room = max(last, int(1.05 * last * n_cells / stop))
            data.resize(room, refcheck=False)
            indices.resize(room, refcheck=False)
        data[end:last], indices[end:last] = block.data, block.indices
        indptr[row + 1 : stop + 1] = end + block.indptr[1:].astype(np.int64)
        row, end = stop, last
    data.resize(end, refcheck=False)
    indices.resize(end, refcheck=False)
    return as_csr(data, indices, indptr, shape)


def scatter(
    blocks: Iterator[tuple[int, sparse.csr_array]],
    lengths_C: NDArray[np.int64],
    shape: tuple[int, int],
) -> sparse.csr_array:
    """Put blocks of genes, each with its first gene, where the row lengths leave them room."""
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths_C)])
    data, indices = np.empty(indptr[-1], np.float32), np.empty(indptr[-1], np.int32)
    next_C = indptr[:-1].copy()
    for first_gene, block in blocks:
        lengths = np.diff(block.indptr)
        target = np.repeat(next_C - block.indptr[:-1], lengths)
        target += np.arange(block.nnz)
        data[target] = block.data
        indices[target] = block.indices + first_gene
        next_C += lengths
    matrix = as_csr(data, indices, indptr, shape)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix


def as_csr(
    data: NDArray[np.float32],
    indices: NDArray[np.int32],
    indptr: NDArray[np.int64],
    shape: tuple[int, int],
) -> sparse.csr_array:
    """Wrap three arrays without a copy, unless more than 2^31 values need wider indices."""
    narrow = indptr[-1] <= np.iinfo(np.int32).max
    return sparse.csr_array(
        (data, indices, indptr.astype(np.int32) if narrow else indptr), shape=shape
    )


def as_float32(values: NDArray[Any], where: str) -> NDArray[np.float32]:
    """Narrow any real numbers; what float32 cannot hold becomes infinite and is refused later."""
    if values.dtype.kind not in "biuf":
        raise UserError(
            "a matrix of expression must hold numbers",
            got=f"{where} of type {values.dtype}",
            remedy="name a layer that holds numbers with data.layer=",
        )
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _from_columns(stored: Stored) -> sparse.csr_array:
    """CSC → CSR: one look at the row indices to lay out the rows, then one pass to fill them."""
    assert stored.indices is not None
    lengths_C = np.zeros(stored.shape[0], np.int64)
    for start in range(0, stored.n_stored, STEP):
        rows = _inside(stored, stored.indices[start : start + STEP])
        lengths_C += np.bincount(rows, minlength=stored.shape[0])
    return scatter(_columns(stored), lengths_C, stored.shape)


def _columns(stored: Stored) -> Iterator[tuple[int, sparse.csr_array]]:
    assert stored.indices is not None and stored.indptr is not None
    for start, stop in _cuts(stored.indptr):
        low, high = stored.indptr[start], stored.indptr[stop]
        values = as_float32(stored.values[low:high], stored.where)
        triple = (values, stored.indices[low:high], stored.indptr[start : stop + 1] - low)
        block = sparse.csc_array(triple, shape=(stored.shape[0], stop - start))
        yield start, block.tocsr()


def _rows(stored: Stored, start: int, stop: int) -> sparse.csr_array:
    assert stored.indices is not None and stored.indptr is not None
    low, high = stored.indptr[start], stored.indptr[stop]
    values = as_float32(stored.values[low:high], stored.where)
    indices = _inside(stored, stored.indices[low:high])
    indptr = stored.indptr[start : stop + 1] - low
    block = sparse.csr_array((values, indices, indptr), shape=(stop - start, stored.shape[1]))
    block.sum_duplicates()
    block.eliminate_zeros()
    return block


def _dense(stored: Stored, start: int, stop: int) -> sparse.csr_array:
    # Narrowed before zeros are dropped: a number too small for float32 is a zero here.
    return sparse.csr_array(as_float32(stored.values[start:stop], stored.where))


def _dense_cuts(stored: Stored) -> Iterator[tuple[int, int]]:
    n_cells, n_genes = stored.shape
    rows = max(1, STEP // max(1, n_genes))
    if stored.values.chunks:
        # Whole chunks, or each one would be decompressed for every block that touches it.
        band = min(stored.values.chunks[0], 8 * rows)
        rows = -(-rows // band) * band
    for start in range(0, n_cells, rows):
        yield start, min(start + rows, n_cells)


def _cuts(indptr: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Cut rows (or columns) into runs of at most one step of values, one row at least."""
    start, n_major = 0, indptr.size - 1
    while start < n_major:
        stop = int(np.searchsorted(indptr, indptr[start] + STEP, side="right")) - 1
        stop = min(max(stop, start + 1), n_major)
        yield start, stop
        start = stop


def _inside(stored: Stored, indices: NDArray[np.integer]) -> NDArray[np.integer]:
    n_minor = stored.shape[1] if stored.kind == "csr" else stored.shape[0]
    if indices.size and (int(indices.min()) < 0 or int(indices.max()) >= n_minor):
        raise _malformed(stored.where, f"an index outside 0 to {n_minor - 1:,}")
    return indices


def _malformed(where: str, got: str) -> UserError:
    return UserError(
        f"{where} must be a dense, CSR or CSC matrix of cells by genes",
        got=got,
        remedy="write the file again with adata.write_h5ad(), or name a layer with data.layer=",
    )


def pair_of_sizes(shape: Any, where: str) -> tuple[int, int]:
    """Read a shape that a file tells: two numbers of cells and genes that indices can count."""
    sizes = np.atleast_1d(np.asarray(shape))
    if sizes.shape != (2,) or sizes.dtype.kind not in "iu":
        raise _malformed(where, f"a shape of {str(shape)[:60]!r}")
    n_cells, n_genes = (int(size) for size in sizes)
    if not (0 <= n_cells <= MOST_ROWS and 0 <= n_genes <= MOST_ROWS):
        raise _malformed(where, f"a shape of {n_cells:,} x {n_genes:,}")
    return n_cells, n_genes
