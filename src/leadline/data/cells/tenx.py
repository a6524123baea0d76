"""What Cell Ranger writes: `.h5` files (v3 and the older v2) and folders with `matrix.mtx`.

Their matrices are stored as genes by cells, so their columns are our rows.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data.cells.files import MATRIX_FILES, FileContents, genomes, open_hdf5
from leadline.data.cells.limits import (
    FREE_BYTES,
    MOST_LETTERS,
    MOST_PACKED,
    check_lengths,
    check_room,
    damaged,
    faults_of_the_file,
)
from leadline.data.cells.matrix_blocks import (
    MOST_ROWS,
    STEP,
    Stored,
    compressed,
    pair_of_sizes,
    scatter,
    to_csr,
)
from leadline.errors import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd

OBS_FILES = ("obs.csv", "obs.tsv", "obs.csv.gz", "obs.tsv.gz")
GENE_FILES = ("features.tsv.gz", "features.tsv", "genes.tsv", "genes.tsv.gz")
EXPRESSION = "Gene Expression"


def tenx_matrix(file: h5py.File, path: Path, layer: str | None) -> Stored:
    """Find the matrix of a 10x file; `layer` names the genome where a v2 file has several."""
    found = genomes(file)
    if layer is None and len(found) > 1:
        raise UserError(
            "one genome must be chosen",
            got=f"{path.name} with {', '.join(found)}",
            remedy=f"name one with data.layer={found[0]}",
        )
    if layer is not None and layer not in (*found, "X"):
        raise _no_layers(path, layer, found)
    group = file[layer if layer in found else found[0]]
    where = f"the matrix of {path.name}"
    shape = group["shape"]
    n_genes, n_cells = pair_of_sizes(
        shape[()] if isinstance(shape, h5py.Dataset) and shape.size == 2 else shape, where
    )
    return compressed(group, "csr", (n_cells, n_genes), where)


def read_tenx_h5(path: Path, layer: str | None, *, with_obs: bool) -> FileContents:
    """Read a 10x `.h5` file; obs comes from obs.csv or obs.tsv in the same folder."""
    import pandas as pd

    with open_hdf5(path) as file:
        stored = tenx_matrix(file, path, layer)
        matrix_CG = to_csr(stored)
        group = stored.values.parent
        barcodes = _strings(group["barcodes"], path)
        if "features" in group:
            features = group["features"]
            if not isinstance(features, h5py.Group):
                raise damaged(path, "features", "is no group")
            columns = {"gene_ids": features["id"], "gene_name": features["name"]}
            if "feature_type" in features:
                columns["feature_type"] = features["feature_type"]
        else:
            columns = {"gene_ids": group["genes"], "gene_name": group["gene_names"]}
        var = pd.DataFrame({name: _strings(node, path) for name, node in columns.items()})
    return _assemble(path, matrix_CG, barcodes, var, path.parent if with_obs else None)


def read_tenx_folder(path: Path, layer: str | None, *, with_obs: bool) -> FileContents:
    """Read a folder with matrix.mtx, barcodes.tsv and features.tsv or genes.tsv, or their .gz."""
    if layer not in (None, "X"):
        raise _no_layers(path, layer, [])
    with faults_of_the_file(path):
        return _read_folder(path, with_obs)


def _read_folder(path: Path, with_obs: bool) -> FileContents:
    names = _table(_one_of(path, ("barcodes.tsv.gz", "barcodes.tsv")))[0]
    check_lengths(names, "barcodes")
    barcodes = names.to_numpy(str)
    var = _table(_one_of(path, GENE_FILES))
    columns = ["gene_ids", "gene_name", "feature_type"][: var.shape[1]]
    var = var.iloc[:, : len(columns)].set_axis(columns, axis=1)
    matrix_CG = _read_mtx(_one_of(path, MATRIX_FILES))
    return _assemble(path, matrix_CG, barcodes, var, path if with_obs else None)


def _assemble(
    path: Path,
    matrix_CG: sparse.csr_array,
    barcodes: NDArray[np.str_],
    var: pd.DataFrame,
    obs_folder: Path | None,
) -> FileContents:
    if matrix_CG.shape != (len(barcodes), len(var)):
        raise UserError(
            "the matrix must have one row per gene and one column per barcode",
            got=f"{matrix_CG.shape[1]:,} x {matrix_CG.shape[0]:,} for {len(var):,} genes and "
            f"{len(barcodes):,} barcodes in {path.name}",
            remedy="take the three parts from the same Cell Ranger output",
        )
    notes: tuple[str, ...] = ()
    if "feature_type" in var:
        matrix_CG, var, notes = _only_expression(path, matrix_CG, var)
    obs_file = None if obs_folder is None else _obs_file(obs_folder)
    obs = _obs(path, obs_file, barcodes)
    names = "gene_name" if "gene_name" in var else "gene_ids"
    var = var.set_index(names, drop=False).rename_axis(None)
    return FileContents(
        path=path,
        matrix_CG=matrix_CG,
        obs=obs,
        var=var,
        genes_from=names,
        obs_file=obs_file,
        notes=notes,
    )


def _only_expression(
    path: Path, matrix_CG: sparse.csr_array, var: pd.DataFrame
) -> tuple[sparse.csr_array, pd.DataFrame, tuple[str, ...]]:
    kept_G = (var["feature_type"] == EXPRESSION).to_numpy()
    if kept_G.all():
        return matrix_CG, var, ()
    counts = var["feature_type"][~kept_G].value_counts()
    dropped = ", ".join(f"{n:,} of type {kind}" for kind, n in counts.items())
    if not kept_G.any():
        raise UserError(
            f"a 10x matrix must hold features of type {EXPRESSION}",
            got=f"{dropped} in {path.name}",
            remedy="name the output of a gene expression library",
        )
    note = f"kept {kept_G.sum():,} {EXPRESSION} features and dropped {dropped}"
    return matrix_CG[:, np.flatnonzero(kept_G)], var[kept_G], (note,)


def _obs_file(folder: Path) -> Path:
    for name in OBS_FILES:
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        "columns of 10x cells come from a table obs.csv or obs.tsv next to the matrix",
        got=f"none in {folder}",
        remedy="save one there with the barcodes in its first column and a header line",
    )


def _obs(path: Path, place: Path | None, barcodes: NDArray[np.str_]) -> pd.DataFrame:
    """Align obs.csv or obs.tsv with the barcodes; cells that it lacks get missing values."""
    import pandas as pd

    if place is None:
        return pd.DataFrame(index=pd.Index(barcodes))
    separator = "\t" if ".tsv" in place.name else ","
    try:
        table = pd.read_csv(place, sep=separator, index_col=0)
    except (ValueError, EOFError, OSError, zlib.error, pd.errors.ParserError) as error:
        raise UserError(
            f"{place.name} must be a table in UTF-8 with a header line",
            got=f"{place} ({' '.join(str(error).split())[:120]})",
            remedy="save it again, with the barcodes in its first column",
        ) from error
    table.index = table.index.astype(str)
    if table.index.has_duplicates:
        repeated = table.index[table.index.duplicated()]
        raise UserError(
            f"the first column of {place.name} must hold each barcode once",
            got=f"{len(repeated):,} repeated, such as {repeated[0]}",
            remedy="remove the repeated lines",
        )
    if not table.index.isin(barcodes).any():
        raise UserError(
            f"the first column of {place.name} must hold the barcodes of {path.name}",
            got=f"{table.index[0] if len(table) else 'nothing'} where the matrix has {barcodes[0]}",
            remedy="write the barcodes as the matrix has them, with their suffix",
        )
    return table.reindex(barcodes)


def _read_mtx(path: Path) -> sparse.csr_array:
    """Read a Matrix Market file of genes by cells twice in pieces: row lengths, then values."""
    shape, n_stored = _mtx_header(path)
    lengths_C = np.zeros(shape[0], np.int64)
    seen = 0
    for _, cells, _ in _mtx_entries(path, shape):
        lengths_C += np.bincount(cells, minlength=shape[0])
        seen += cells.size
    if seen != n_stored:
        raise _broken_mtx(path, f"{seen:,} of the {n_stored:,} entries it announces")
    return scatter(_mtx_blocks(path, shape), lengths_C, shape)


def _mtx_blocks(path: Path, shape: tuple[int, int]) -> Iterator[tuple[int, sparse.csr_array]]:
    for genes, cells, values in _mtx_entries(path, shape):
        # Each entry as a column of its own: scipy's conversion then groups them by cell in
        # linear time, whatever their order in the file.
        triple = (values, cells, np.arange(cells.size + 1))
        block = sparse.csc_array(triple, shape=(shape[0], cells.size)).tocsr()
        by_cell = (block.data, genes[block.indices], block.indptr)
        yield 0, sparse.csr_array(by_cell, shape=shape)


def _mtx_entries(
    path: Path, shape: tuple[int, int]
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]]:
    import pandas as pd

    types = {0: np.int32, 1: np.int32, 2: np.float32}
    try:
        with _open(path) as handle:
            _skip_header(handle)
            pieces = pd.read_csv(
                handle, sep=r"\s+", header=None, names=[0, 1, 2], dtype=types, chunksize=STEP
            )
            for piece in pieces:
                genes, cells = piece[0].to_numpy() - 1, piece[1].to_numpy() - 1
                for entries, size in ((genes, shape[1]), (cells, shape[0])):
                    if entries.min(initial=0) < 0 or entries.max(initial=-1) >= size:
                        raise _broken_mtx(path, f"an entry outside {shape[1]:,} x {shape[0]:,}")
                yield genes, cells, piece[2].to_numpy()
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile, OverflowError) as error:
        raise _broken_mtx(path, (str(error).splitlines() or ["cut off"])[0]) from error


def _mtx_header(path: Path) -> tuple[tuple[int, int], int]:
    try:
        with _open(path) as handle:
            banner, sizes = _skip_header(handle)
        n_genes, n_cells, n_stored = (int(word) for word in sizes.split())
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _broken_mtx(path, "a header without three sizes") from error
    if not (0 <= n_cells <= MOST_ROWS and 0 <= n_genes <= MOST_ROWS and n_stored >= 0):
        raise _broken_mtx(path, f"a header of {n_genes:,} x {n_cells:,}, {n_stored:,} entries")
    # Each entry takes five bytes at least; a packed file is read no further than it claims.
    room = path.stat().st_size * (MOST_PACKED if path.suffix == ".gz" else 1)
    if n_stored * 5 > max(room, FREE_BYTES) or n_cells > max(room, FREE_BYTES):
        raise _broken_mtx(path, f"a header of {n_cells:,} cells and {n_stored:,} entries")
    check_room(path.name, 8 * (n_cells + n_stored))
    words = banner.lower().split()
    if len(words) < 5:
        raise _broken_mtx(path, f"the header {banner.strip()[:60]!r}")
    if words[:3] != ["%%matrixmarket", "matrix", "coordinate"] or words[4:5] != ["general"]:
        raise _broken_mtx(path, f"the header {banner.strip()[:60]!r}")
    if words[3] not in ("integer", "real"):
        raise _broken_mtx(path, f"entries of type {words[3]}")
    return (n_cells, n_genes), n_stored


def _skip_header(handle: IO[str]) -> tuple[str, str]:
    banner = line = handle.readline(MOST_LETTERS)
    while line.startswith("%"):
        line = handle.readline(MOST_LETTERS)
    return banner, line


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", errors="replace")
    return path.open(encoding="utf-8", errors="replace")


def _broken_mtx(path: Path, got: str) -> UserError:
    return UserError(
        f"{path.name} must be a whole Matrix Market file of counts",
        got=got,
        remedy="copy or download it again",
    )


def _one_of(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        "a 10x folder must hold matrix.mtx, barcodes.tsv and features.tsv, gzipped or not",
        got=f"{folder} without {names[-1].removesuffix('.gz')}",
        remedy="copy the whole folder that Cell Ranger wrote",
    )


def _table(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(path, sep="\t", header=None, dtype=str, keep_default_na=False, quoting=3)
    except pd.errors.EmptyDataError:
        return pd.DataFrame({0: []}, dtype=str)
    except (ValueError, EOFError, OSError, zlib.error, pd.errors.ParserError) as error:
        raise damaged(path.parent, path.name, " ".join(str(error).split())[:120]) from error


def _strings(node: h5py.Dataset, path: Path) -> NDArray[np.str_]:
    name = str(node.name).removeprefix("/")
    if not isinstance(node, h5py.Dataset) or node.shape is None or node.ndim != 1:
        raise damaged(path, name, "is no list of texts")
    check_room(name, node.size * node.dtype.itemsize)
    if node.dtype.kind not in "SO":
        raise damaged(path, name, f"holds {node.dtype}, not texts")
    values = node[:].tolist()
    check_lengths(values, name)
    try:
        return np.array([bytes(value).decode() for value in values], dtype=np.str_)
    except (UnicodeDecodeError, TypeError) as error:
        raise damaged(path, name, f"is no text in UTF-8 ({error})") from error


def _no_layers(path: Path, layer: str, found: list[str]) -> UserError:
    several = f" but {', '.join(found)}" if len(found) > 1 else ""
    return UserError(
        "data.layer must name a matrix of the file",
        got=f"{layer}, and {path.name} has one matrix{several}",
        remedy=nearest(layer, found) if len(found) > 1 else "leave data.layer out",
    )
