"""Positions that another program gave the cells: obsm of an `.h5ad`, or an .npz with names.

Shapes: C cells, D dimensions.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline import files as npz
from leadline.config import DataConfig, EmbeddingConfig
from leadline.data.cells import Cells
from leadline.data.cells.files import Kind, kind_of, open_hdf5
from leadline.data.datasets import files
from leadline.errors import UserError, nearest

Positions = NDArray[np.float32]


def read_obsm(path: Path, key: str) -> Positions:
    """Read one entry of obsm: a row for each cell, in the order of the file."""
    from anndata.io import read_elem

    if kind_of(path) is not Kind.H5AD:
        raise UserError(
            "model.key names positions in obsm of an .h5ad",
            got=f"{path}, 10x data without obsm",
            remedy="save them in an .npz and name it with model.file=",
        )
    with open_hdf5(path) as file:
        found = file.get("obsm", {})
        if key not in found:
            raise UserError(
                "model.key must name an entry of obsm",
                got=f"{key!r}, which {path.name} does not have",
                remedy=nearest(key, found),
            )
        held = read_elem(found[key])
        n_cells = len(read_elem(file["obs"])) if "obs" in file else 0
    return checked(held, n_cells, f"obsm[{key!r}] of {path.name}")


def read_npz(path: Path, ids: NDArray[np.str_]) -> Positions:
    """Read the arrays `ids` and `embedding` and give the rows of these cells, in their order."""
    names, held = arrays_of(path)
    place = {name: row for row, name in enumerate(names.tolist())}
    if len(place) < len(names):
        raise UserError(
            f"{path.name} must hold each cell once",
            got=f"{len(names) - len(place):,} repeated names in ids",
            remedy="make the names of the cells unique, as in the cells' own file",
        )
    missing = [name for name in ids.tolist() if name not in place]
    if missing:
        raise UserError(
            f"{path.name} must hold a position for every cell",
            got=f"{len(missing):,} of {len(ids):,} cells without one (first: {missing[0]}; its own "
            f"first: {names[0] if len(names) else 'none'})",
            remedy="write ids as the index of obs, after leadline's renaming of repeated names",
        )
    rows = np.array([place[name] for name in ids.tolist()], dtype=np.int64)
    return checked(held, len(names), path.name)[rows]


def arrays_of(path: Path) -> tuple[NDArray[np.str_], NDArray[Any]]:
    """Open an .npz with positions; objects that would be unpickled are not let in."""
    needed = "model.file must name an .npz with the arrays ids and embedding"
    remedy = "in Python: numpy.savez('positions.npz', ids=adata.obs_names.astype(str), embedding=Z)"
    try:
        if path.suffix == ".npz" and path.is_file():
            npz.check_arrays(path)
        with np.load(path, allow_pickle=False) as stored:
            found = sorted(getattr(stored, "files", ["a single array"]))
            if {"ids", "embedding"} <= set(found):
                return stored["ids"].astype(np.str_), stored["embedding"]
    except FileNotFoundError:
        raise UserError(needed, got=f"{path}, which does not exist", remedy=remedy) from None
    except npz.NPZ_ERRORS as error:
        raise UserError(
            needed, got=f"{path} ({' '.join(str(error).split())[:120]})", remedy=remedy
        ) from error
    raise UserError(needed, got=f"{path} with {', '.join(found)}", remedy=remedy)


def checked(held: Any, n_cells: int, where: str) -> Positions:
    """Give positions as float32, or say what is wrong with them."""
    if sparse.issparse(held):
        held = held.toarray()
    values = np.asarray(getattr(held, "values", held))
    if values.ndim != 2 or values.dtype.kind not in "fiu" or len(values) != n_cells:
        raise UserError(
            f"{where} must hold a row of numbers for each cell",
            got=f"shape {values.shape} of {values.dtype} for {n_cells:,} cells",
            remedy="write it again from the program that made it",
        )
    wrong_C = ~np.isfinite(values.astype(np.float64)).all(axis=1)
    if wrong_C.any():
        raise UserError(
            f"{where} must hold finite numbers",
            got=f"NaN or infinity in {wrong_C.sum():,} of {n_cells:,} cells",
            remedy="remove those cells, or make their positions again",
        )
    return np.ascontiguousarray(values, dtype=np.float32)


def positions_of(
    cells: Cells, data: DataConfig, data_dir: Path, model: EmbeddingConfig
) -> Positions:
    """Read the positions of a dataset's cells, in their order."""
    if model.file is not None:
        return read_npz(Path(model.file).expanduser(), cells.ids)
    if model.key is None:
        raise UserError(
            "model=embedding needs positions of the cells",
            got="neither model.key nor model.file",
            remedy="name a key of obsm (model.key=X_scVI) or an .npz (model.file=positions.npz)",
        )
    # Several files of one dataset are stacked in this order.
    found = [read_obsm(path, model.key) for path in files(data, data_dir)]
    widths = sorted({part.shape[1] for part in found})
    if len(widths) > 1:
        raise UserError(
            f"obsm[{model.key!r}] must have as many dimensions in each file of a dataset",
            got=" and ".join(map(str, widths)),
            remedy="make both with one model",
        )
    return np.concatenate(found)


def digest(positions_CD: Positions) -> str:
    """SHA-256 of positions, in the order of the cells."""
    content = f"{positions_CD.shape}".encode() + positions_CD.astype("<f4").tobytes()
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def placed(
    cells: Cells, data: DataConfig, data_dir: Path, model: EmbeddingConfig
) -> tuple[Cells, EmbeddingConfig]:
    """Give the cells with their positions, and the configuration that knows them by content."""
    positions_CD = positions_of(cells, data, data_dir, model)
    with_positions = replace(cells, positions_CD=positions_CD)
    return with_positions, replace(model, digest=digest(positions_CD))
