"""What lies at a path: an `.h5ad`, a 10x `.h5`, a 10x folder, or something that cannot be read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
from scipy import sparse

from leadline.data.cells.cells import Scale
from leadline.data.cells.limits import check_file, faults_of_the_file
from leadline.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


ACCEPTED = "data.path must name an .h5ad file, a 10x .h5 file or a 10x matrix folder"
MATRIX_FILES = ("matrix.mtx", "matrix.mtx.gz")
# Room for decompressed chunks: blocks rarely end where a chunk ends.
CHUNK_CACHE_BYTES = 8 << 20


class Kind(StrEnum):
    """The layouts that can be read."""

    H5AD = "h5ad"
    TENX_H5 = "10x h5"
    TENX_FOLDER = "10x folder"


def kind_of(path: Path) -> Kind:
    """Say which of the readable layouts lies at a path, by its contents; refuse the others."""
    if not path.exists():
        raise _missing(path)
    if path.is_dir():
        if any((path / name).is_file() for name in MATRIX_FILES):
            return Kind.TENX_FOLDER
        raise _not_a_matrix_folder(path)
    with open_hdf5(path) as file:
        if genomes(file):
            return Kind.TENX_H5
        if "obs" in file and "var" in file:
            return Kind.H5AD
        found = ", ".join(sorted(file)[:8]) or "nothing"
        raise UserError(
            ACCEPTED,
            got=f"{path.name}, an HDF5 file with {found} at its root",
            remedy="save the cells with adata.write_h5ad('cells.h5ad') and name that file",
        )


def genomes(file: h5py.File) -> list[str]:
    """Name the groups of a file that hold a 10x matrix: `matrix` (v3) or one per genome (v2)."""
    parts = {"barcodes", "data", "indices", "indptr", "shape"}
    return [
        name
        for name in sorted(file)
        if isinstance(file[name], h5py.Group)
        and parts <= set(file[name])
        and ("features" in file[name] or "genes" in file[name])
    ]


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file to read; what cannot be opened or read to its end is a user's error."""
    _check_readable(path)
    try:
        file = h5py.File(path, "r", rdcc_nbytes=CHUNK_CACHE_BYTES, locking="best-effort")
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise _damaged(path, str(error)) from error
    with file, faults_of_the_file(path):
        check_file(file, path)
        try:
            yield file
        except OSError as error:
            raise _damaged(path, str(error)) from error


def _check_readable(path: Path) -> None:
    if not path.exists():
        raise _missing(path)
    if path.is_dir():
        raise _not_a_matrix_folder(path)
    if not path.is_file():
        raise UserError(ACCEPTED, got=f"{path}, which is no file", remedy="name a file on a disk")
    if not os.access(path, os.R_OK):
        raise UserError(
            "data.path must be readable",
            got=f"{path} without permission to read",
            remedy=f"run chmod u+r {path} or ask its owner",
        )
    if h5py.is_hdf5(path):
        return
    remedy = _conversion(path)
    if remedy is None:
        remedy = "download it again, or save it with adata.write_h5ad('cells.h5ad')"
    size = path.stat().st_size
    got = f"{path.name}, an empty file" if size == 0 else f"{path.name}, which is not an HDF5 file"
    raise UserError(ACCEPTED, got=got, remedy=remedy)


def _missing(path: Path) -> UserError:
    siblings = sorted(path.parent.glob("*.h5*")) if path.parent.is_dir() else []
    shown = ", ".join(sibling.name for sibling in siblings[:6])
    there = f"; {path.parent} holds {shown}" if shown else ""
    return UserError(
        ACCEPTED,
        got=f"{path}, which does not exist{there}",
        remedy="correct data.path= (a relative path starts at the current folder)",
    )


def _not_a_matrix_folder(path: Path) -> UserError:
    if path.suffix == ".zarr":
        return UserError(
            ACCEPTED, got=f"{path.name}, a zarr store", remedy=_read_with("zarr", path)
        )
    usable = [
        child
        for child in sorted(path.iterdir())
        if child.suffix in (".h5ad", ".h5")
        or (child.is_dir() and any((child / name).is_file() for name in MATRIX_FILES))
    ]
    remedy = "a 10x folder holds matrix.mtx[.gz], barcodes.tsv[.gz] and features.tsv[.gz]"
    if usable:
        remedy = f"name what it holds: data.path={usable[0]}"
    return UserError(ACCEPTED, got=f"the folder {path} without matrix.mtx[.gz]", remedy=remedy)


def _damaged(path: Path, message: str) -> UserError:
    expected = re.search(r"stored_eof = (\d+)", message)
    size = path.stat().st_size
    got = f"{path.name}, which HDF5 cannot read ({' '.join(message.split())[:200]})"
    if expected:
        got = f"{path.name}, cut off after {size:,} of {int(expected[1]):,} bytes"
    return UserError(
        "data.path must name a whole file",
        got=got,
        remedy="copy or download it again and compare its size with the original's",
    )


def _conversion(path: Path) -> str | None:
    """Say how a file of a known foreign format becomes an `.h5ad`."""
    name = path.name.lower()
    if name.endswith((".mtx", ".mtx.gz")):
        return f"name the folder that holds it with its barcodes and genes: data.path={path.parent}"
    if name.endswith((".h5ad.gz", ".h5.gz")):
        return f"unpack it first: gunzip -k {path.name}"
    if name.endswith((".rds", ".rdata", ".h5seurat")):
        return (
            "in R: zellkonverter::writeH5AD(Seurat::as.SingleCellExperiment("
            f"readRDS('{path.name}')), 'cells.h5ad')"
        )
    if name.endswith(".loom"):
        return _read_with("loom", path) + " (needs pip install loompy)"
    for ending, more in (
        (".csv", ""),
        (".tsv", ", delimiter='\\t'"),
        (".txt", ", delimiter='\\t'"),
    ):
        if name.endswith((ending, ending + ".gz")):
            return (
                f"in Python: import anndata; anndata.io.read_csv('{path.name}'{more})"
                ".write_h5ad('cells.h5ad'), with .T before .write_h5ad if its rows are genes"
            )
    return None


def _read_with(reader: str, path: Path) -> str:
    return (
        f"in Python: import anndata; anndata.io.read_{reader}('{path.name}')"
        ".write_h5ad('cells.h5ad')"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FileContents:
    """The contents of a file, as they lie.

    Attributes
    ----------
    obs, var
        One row per cell and per gene; the index holds their names.
    layer
        The matrix that was read: "X", "raw", or the name of a layer.
    genes_from
        How messages call the index of `var`.
    obs_file
        The table that obs of 10x data comes from.
    others
        The other matrices whose scale could be seen from their first cells.
    """

    path: Path
    matrix_CG: sparse.csr_array
    obs: pd.DataFrame
    var: pd.DataFrame
    layer: str = "X"
    genes_from: str = "the var index"
    obs_file: Path | None = None
    others: tuple[tuple[str, Scale], ...] = ()
    notes: tuple[str, ...] = ()

    def read_command(self) -> str:
        """Write the Python that gives a user these cells as `adata`, to begin a remedy with."""
        name = repr(str(self.path))
        if self.genes_from.endswith("var index"):
            return f"in Python: import anndata; adata = anndata.read_h5ad({name})"
        reader = "read_10x_mtx" if self.path.is_dir() else "read_10x_h5"
        command = f"in Python: import pandas, scanpy; adata = scanpy.{reader}({name})"
        if self.obs_file is None:
            return command
        separator = ", sep='\\t'" if ".tsv" in self.obs_file.name else ""
        table = f"pandas.read_csv({str(self.obs_file)!r}, index_col=0{separator})"
        return f"{command}; adata.obs = {table}.reindex(adata.obs_names)"
