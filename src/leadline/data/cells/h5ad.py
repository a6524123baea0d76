"""AnnData files, old and new: the only module that knows how anndata lays them out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from leadline.data.cells.cells import Scale
from leadline.data.cells.files import FileContents, open_hdf5
from leadline.data.cells.limits import check_lengths, check_room, damaged
from leadline.data.cells.matrix_blocks import Stored, row_blocks, stored_matrix, to_csr
from leadline.data.cells.scale import recognise
from leadline.errors import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd

# Cells of each other matrix that are looked at, so that a message can name a usable one.
PEEK_CELLS = 64
PEEK_VALUES = 1 << 20


def h5ad_matrix(file: h5py.File, path: Path, layer: str | None) -> tuple[str, Stored]:
    """Find X, raw or a layer: its name and where its numbers lie."""
    name, node = _choose(file, path, layer)
    return name, stored_matrix(node, f"{name} of {path.name}")


def read_h5ad(path: Path, layer: str | None) -> FileContents:
    """Read one matrix of an AnnData file with obs and the var that belongs to it."""
    with open_hdf5(path) as file:
        name, stored = h5ad_matrix(file, path, layer)
        obs = table(file, "obs")
        raw = is_raw(file, name)
        var = matrix_var(file, name)
        for axis, size, frame in (("obs", 0, obs), ("var", 1, var)):
            if len(frame) != stored.shape[size]:
                raise UserError(
                    f"{axis} must have one row per {('cell', 'gene')[size]} of {stored.where}",
                    got=f"{len(frame):,} rows for a matrix of {stored.shape}",
                    remedy="write the file again with adata.write_h5ad()",
                )
        return FileContents(
            path=path,
            matrix_CG=to_csr(stored),
            obs=obs,
            var=var,
            layer=name,
            genes_from="the raw var index" if raw else "the var index",
            others=tuple(_peek_all(file, path, name)),
        )


def is_raw(file: h5py.File, name: str) -> bool:
    """Say whether a name is that of raw, whose genes are its own, and not of a layer."""
    return name == "raw" and "raw" not in file.get("layers", ())


def matrix_var(file: h5py.File, name: str) -> pd.DataFrame:
    """Read the table of genes that belongs to a matrix."""
    return table(file, raw_part(file, "var") if is_raw(file, name) else "var")


def counts_matrix(file: h5py.File, path: Path) -> str | None:
    """Name the first matrix that looks like counts by its first cells: X, raw, then the layers."""
    found = _peek_all(file, path, "")
    return next((name for name, scale in found if scale is Scale.COUNTS), None)


def has_column(file: h5py.File, column: str) -> bool:
    """Say whether obs has a column, without reading it."""
    node = file["obs"]
    return column in ((node.dtype.names or ()) if isinstance(node, h5py.Dataset) else node)


def obs_column(file: h5py.File, column: str, start: int, stop: int) -> NDArray[np.str_]:
    """Read some rows of a column of obs as texts, whatever the size of the table."""
    node = file["obs"]
    if isinstance(node, h5py.Dataset):
        return np.asarray(_texts(node[start:stop][column]), dtype=np.str_)
    held = node[column]
    if isinstance(held, h5py.Dataset):
        return np.asarray(_texts(held[start:stop]), dtype=np.str_)
    if "codes" not in held:
        return np.asarray(_texts(held["values"][start:stop]), dtype=np.str_)
    # A missing value has the code -1.
    names = np.asarray([*_texts(held["categories"][:]), "nan"], dtype=np.str_)
    return names[held["codes"][start:stop]]


def _matrices(file: h5py.File) -> dict[str, h5py.Dataset | h5py.Group]:
    """Name every matrix of cells by genes in a file: X, raw, and the layers."""
    found = {}
    if "X" in file and file["X"].attrs.get("encoding-type") != "null":
        found["X"] = file["X"]
    raw = raw_part(file, "X")
    if raw in file:
        found["raw"] = file[raw]
    layers = file.get("layers", {})
    if isinstance(layers, h5py.Dataset):
        raise damaged(Path(str(file.filename)), "layers", "is no group")
    for name, node in layers.items():
        if node.attrs.get("encoding-type") != "null":
            found[name] = node
    return found


def raw_part(file: h5py.File, part: str) -> str:
    """Say where raw.X and raw.var lie; before anndata 0.7 they were at the root."""
    return f"raw.{part}" if f"raw.{part}" in file else f"raw/{part}"


def _choose(
    file: h5py.File, path: Path, layer: str | None
) -> tuple[str, h5py.Dataset | h5py.Group]:
    found = _matrices(file)
    name = layer or "X"
    if name in found:
        return name, found[name]
    if layer is None:
        remedy = (
            f"name one with data.layer=: {', '.join(found)}"
            if found
            else ("write the file again with its counts in adata.X")
        )
        raise UserError(
            "an .h5ad file must hold a matrix X", got=f"{path.name} without one", remedy=remedy
        )
    raise UserError(
        "data.layer must name a matrix of the file",
        got=f"{layer}, which {path.name} does not have",
        remedy=nearest(layer, found),
    )


def table(file: h5py.File, name: str) -> pd.DataFrame:
    """Read obs or var whole, with texts as its index."""
    import pandas as pd
    from anndata.io import read_elem

    path = Path(str(file.filename))
    if name not in file:
        raise damaged(path, name, "is missing")
    node = file[name]
    check_table(node, name)
    frame = _legacy_frame(file, node) if isinstance(node, h5py.Dataset) else read_elem(node)
    if not isinstance(frame, pd.DataFrame):
        raise damaged(path, name, f"is no table (encoding {node.attrs.get('encoding-type')!r})")
    check_lengths(frame.index, f"the index of {name}")
    frame.index = frame.index.astype(str)
    return frame


def check_table(node: h5py.Dataset | h5py.Group, name: str) -> None:
    """Refuse a table that does not fit into memory, before any of its columns is read."""
    arrays = [node] if isinstance(node, h5py.Dataset) else []
    if not arrays:
        node.visititems(lambda _, each: arrays.append(each) if hasattr(each, "nbytes") else None)
    check_room(name, sum(array.size * array.dtype.itemsize for array in arrays if array.shape))


def _legacy_frame(file: h5py.File, node: h5py.Dataset) -> pd.DataFrame:
    """Read a table of anndata before 0.7: one compound array, its categories kept in uns."""
    import pandas as pd

    if node.dtype.names is None or node.ndim != 1:
        raise damaged(Path(str(file.filename)), node.name[1:], "is no table")
    rows = node[()]
    columns: dict[str, Any] = {}
    for column in rows.dtype.names or ():
        values = _texts(rows[column])
        categories = file.get(f"uns/{column}_categories")
        # Genes have no categories of their own; a code is an integer into them, -1 if missing.
        if node.name == "/obs" and categories is not None and values.dtype.kind == "i":
            values = pd.Categorical.from_codes(values, _texts(np.atleast_1d(categories[()])))
        columns[column] = values
    frame = pd.DataFrame(columns)
    return frame.set_index(frame.columns[0])


def _texts(values: Any) -> Any:
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8", "replace")
    if values.dtype.kind == "O":
        return np.array(
            [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values]
        )
    return values


def _peek_all(file: h5py.File, path: Path, chosen: str) -> Iterator[tuple[str, Scale]]:
    for name, node in _matrices(file).items():
        if name == chosen:
            continue
        try:
            stored = stored_matrix(node, f"{name} of {path.name}")
        except UserError:  # a matrix that nobody asked for may be of any kind
            continue
        scale = _peek(stored)
        if scale is not None:
            yield name, scale


def _peek(stored: Stored) -> Scale | None:
    """Recognise a matrix by its first cells; None for a large CSC, which would be read whole."""
    if stored.values.dtype.kind not in "biuf" or 0 in stored.shape:
        return None
    if stored.kind == "csc" and stored.n_stored > PEEK_VALUES:
        return None
    return recognise(next(row_blocks(stored, PEEK_CELLS))).scale
