"""Cells → `.h5ad`, block by block, so that a file may be larger than memory.

The layout is anndata's on-disk format (root 0.1.0, CSR 0.1.0), made with h5py alone. Shapes:
B cells of one block, C all cells, G genes, N stored values.

    with H5adWriter("cells.h5ad", genes, dtype=np.uint16) as writer:
        writer.append(block_BG, obs={"celltype": names_B})
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy import sparse

from leadline.errors import UserError
from leadline.files import TEMPORARY, flush_folder

# Values of one HDF5 chunk. Only whole chunks are handed to HDF5, so neither the size of the
# file nor a byte of it depends on how the cells were cut into blocks.
CHUNK = 1 << 17
DTYPES = (np.dtype(np.uint16), np.dtype(np.int32), np.dtype(np.float32))


class H5adWriter:
    """A streaming writer: `append` blocks of cells; the file is whole at the end or not there.

    Everything goes to a hidden temporary file beside `path`, which replaces `path` when the
    `with` block ends well and is deleted when it does not. The same cells, in whatever blocks,
    give the same bytes (with one version of h5py). Memory holds one block, two chunks, and
    the obs columns.

    Parameters
    ----------
    genes
        Names of the G columns, without duplicates.
    dtype
        Of the stored values: uint16 or int32 for counts (others are refused), float32.
    gzip_level
        0 (none) to 9.
    uns
        Texts about the whole file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        genes: Sequence[str] | NDArray[np.str_],
        *,
        dtype: DTypeLike = np.float32,
        gzip_level: int = 3,
        uns: Mapping[str, str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.genes = np.asarray(genes, dtype=np.str_)
        self.dtype = np.dtype(dtype)
        if self.dtype not in DTYPES:
            raise UserError(
                "values are stored as uint16, int32 or float32",
                got=str(self.dtype),
                remedy="pass one of these as dtype=",
            )
        repeated = self.genes.size - np.unique(self.genes).size
        if repeated:
            raise UserError(
                "gene names must be unique",
                got=f"{repeated} repeated names among {self.genes.size:,}",
                remedy="sum the columns of a gene or make their names unique first",
            )
        self._gzip = {"compression": "gzip", "compression_opts": gzip_level, "shuffle": True}
        if gzip_level == 0:
            self._gzip = {}
        self._uns = dict(uns or {})
        self._temporary = self.path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
        self._file: h5py.File | None = None
        self._lengths: list[NDArray[np.int64]] = []
        self._obs: dict[str, list[_Column]] = {}
        self._ids: list[NDArray[np.bytes_]] = []

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = h5py.File(self._temporary, "w")
        _encode(self._file, "anndata", "0.1.0")
        group = self._file.create_group("X")
        _encode(group, "csr_matrix", "0.1.0")
        self._values = _Growing(group, "data", self.dtype, self._gzip)
        self._columns = _Growing(group, "indices", np.dtype(np.int32), self._gzip)
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._discard()

    def append(
        self,
        matrix_BG: sparse.csr_array | sparse.csr_matrix,
        obs: Mapping[str, ArrayLike] | None = None,
        ids: ArrayLike | None = None,
    ) -> None:
        """Add the cells of one block; the caller's arrays are neither kept nor changed.

        `obs` names the same columns in every block: texts become categories, numbers stay
        numbers. Without `ids` a cell is called by its row, "cell0000000".
        """
        if self._file is None:
            raise RuntimeError("append works inside `with H5adWriter(...)` only")
        columns = {name: np.asarray(values) for name, values in (obs or {}).items()}
        names_B = None if ids is None else np.char.encode(np.asarray(ids, dtype=np.str_), "utf-8")
        self._check(matrix_BG, columns, names_B)
        if not (matrix_BG.has_canonical_format and matrix_BG.data.all()):
            matrix_BG = matrix_BG.copy()
            matrix_BG.sum_duplicates()
            matrix_BG.eliminate_zeros()
        self._values.add(self._exact(matrix_BG.data))
        self._columns.add(matrix_BG.indices.astype(np.int32, copy=False))
        self._lengths.append(np.diff(matrix_BG.indptr).astype(np.int64))
        for name, values in columns.items():
            self._obs.setdefault(name, []).append(_Column.of(values))
        if names_B is not None:
            self._ids.append(names_B)

    def _check(
        self,
        matrix_BG: sparse.csr_array,
        columns: Mapping[str, NDArray[Any]],
        names_B: NDArray[np.bytes_] | None,
    ) -> None:
        n_cells, n_genes = matrix_BG.shape
        if n_genes != self.genes.size:
            raise UserError(
                "a block has one column per gene",
                got=f"{n_genes:,} columns for {self.genes.size:,} genes",
                remedy="pass the genes of this matrix to H5adWriter",
            )
        sizes = {name: values.shape for name, values in columns.items()}
        if names_B is not None:
            sizes["ids"] = names_B.shape
        for name, shape in sizes.items():
            if shape != (n_cells,):
                raise UserError(
                    "an obs column has one value per cell of its block",
                    got=f"shape {shape} in {name} for {n_cells:,} cells",
                    remedy="cut the column like the matrix",
                )
        kinds = {name: values.dtype.kind in "OSU" for name, values in columns.items()}
        known = {name: blocks[0].words is not None for name, blocks in self._obs.items()}
        if self._lengths and (kinds != known or (names_B is None) != (not self._ids)):
            raise UserError(
                "every block has the same obs columns, each of texts or of numbers",
                got=f"{sorted(kinds)} after {sorted(known)}",
                remedy="pass the same obs in every block, and ids always or never",
            )

    def _exact(self, values_N: NDArray[Any]) -> NDArray[Any]:
        with np.errstate(invalid="ignore"):  # NaN is refused below, by name
            stored_N = values_N.astype(self.dtype)
        if self.dtype.kind in "iu" and not np.array_equal(stored_N, values_N):
            wrong = values_N[stored_N != values_N][0]
            raise UserError(
                f"values must fit {self.dtype} exactly",
                got=f"{wrong:g}",
                remedy="store fractions as float32 and large counts as int32",
            )
        return stored_N

    def _finish(self) -> None:
        assert self._file is not None
        self._values.finish()
        self._columns.finish()
        lengths_C = np.concatenate([np.zeros(1, np.int64), *self._lengths])
        indptr = np.cumsum(lengths_C)
        group = self._file["X"]
        # scipy wants indptr and indices of one width; 64 bits only where 32 do not suffice.
        narrow = indptr[-1] <= np.iinfo(np.int32).max
        _array(group, "indptr", indptr.astype(np.int32 if narrow else np.int64), self._gzip)
        n_cells = lengths_C.size - 1
        group.attrs["shape"] = np.array([n_cells, self.genes.size], dtype=np.int64)
        self._write_obs(n_cells)
        var = self._file.create_group("var")
        _frame(var, [])
        _array(var, "_index", np.char.encode(self.genes, "utf-8"), self._gzip)
        for name in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
            _encode(self._file.create_group(name), "dict", "0.1.0")
        for name, text in sorted(self._uns.items()):
            self._file["uns"][name] = text
            _encode(self._file["uns"][name], "string", "0.2.0")
        self._file.close()
        # A file that is complete under another name is synced just as a folder is.
        flush_folder(self._temporary)
        os.replace(self._temporary, self.path)
        flush_folder(self.path.parent)

    def _write_obs(self, n_cells: int) -> None:
        assert self._file is not None
        group = self._file.create_group("obs")
        _frame(group, list(self._obs))
        rows_C = np.array([f"cell{row:07d}" for row in range(n_cells)], dtype=np.bytes_)
        _array(group, "_index", np.concatenate(self._ids) if self._ids else rows_C, self._gzip)
        for name, blocks in self._obs.items():
            _column(group, name, blocks, self._gzip)

    def _discard(self) -> None:
        """Close and delete the temporary file; after a rename there is none."""
        if self._file is not None:
            self._file.close()
        self._file = None
        self._temporary.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Column:
    """One block of an obs column: numbers, or codes into the sorted words of the block."""

    values_B: NDArray[Any]
    words: NDArray[np.str_] | None

    @classmethod
    def of(cls, values_B: NDArray[Any]) -> _Column:
        if values_B.dtype.kind not in "OSU":
            return cls(values_B.copy(), None)
        words, codes_B = np.unique(values_B.astype(np.str_), return_inverse=True)
        return cls(codes_B.astype(np.int32), words)


class _Growing:
    """A one-dimensional dataset that grows by whole chunks; the rest waits in memory."""

    def __init__(
        self, group: h5py.Group, name: str, dtype: np.dtype[Any], gzip: Mapping[str, Any]
    ) -> None:
        self._data = group.create_dataset(
            name, shape=(0,), maxshape=(None,), chunks=(CHUNK,), dtype=dtype, **gzip
        )
        _encode(self._data, "array", "0.2.0")
        self._waiting: NDArray[Any] = np.empty(0, dtype)

    def add(self, values_N: NDArray[Any]) -> None:
        waiting = np.concatenate([self._waiting, values_N])
        whole = waiting.size - waiting.size % CHUNK
        self._write(waiting[:whole])
        self._waiting = waiting[whole:].copy()

    def finish(self) -> None:
        self._write(self._waiting)

    def _write(self, values_N: NDArray[Any]) -> None:
        start = self._data.shape[0]
        # One resize per chunk: HDF5's index of chunks grows alike however the values come.
        for offset in range(0, values_N.size, CHUNK):
            part = values_N[offset : offset + CHUNK]
            self._data.resize((start + offset + part.size,))
            self._data[start + offset :] = part


def _encode(node: h5py.HLObject, kind: str, version: str) -> None:
    node.attrs["encoding-type"] = kind
    node.attrs["encoding-version"] = version


def _frame(group: h5py.Group, columns: list[str]) -> None:
    _encode(group, "dataframe", "0.2.0")
    group.attrs["_index"] = "_index"
    group.attrs["column-order"] = np.array(columns, dtype=h5py.string_dtype())


def _array(group: h5py.Group, name: str, values: NDArray[Any], gzip: Mapping[str, Any]) -> None:
    """Write numbers, or UTF-8 texts at a fixed width: those compress, HDF5's free ones do not."""
    dtype = values.dtype
    if dtype.kind == "S":
        dtype = h5py.string_dtype("utf-8", max(1, dtype.itemsize))
    data = group.create_dataset(name, data=values.astype(dtype), **(gzip if values.size else {}))
    _encode(data, "string-array" if values.dtype.kind == "S" else "array", "0.2.0")


def _column(group: h5py.Group, name: str, blocks: list[_Column], gzip: Mapping[str, Any]) -> None:
    if blocks[0].words is None:
        _array(group, name, np.concatenate([block.values_B for block in blocks]), gzip)
        return
    vocabularies = [block.words for block in blocks if block.words is not None]
    words = np.unique(np.concatenate(vocabularies))
    codes = [
        np.searchsorted(words, own)[block.values_B]
        for block, own in zip(blocks, vocabularies, strict=True)
    ]
    column = group.create_group(name)
    _encode(column, "categorical", "0.2.0")
    column.attrs["ordered"] = False
    _array(column, "categories", np.char.encode(words, "utf-8"), gzip)
    _array(column, "codes", np.concatenate(codes).astype(np.int32), gzip)
