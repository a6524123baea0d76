"""The cells that are looked for, with every name of their genes and their ids in archives.

Shapes: C cells, G genes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from leadline.config import DataConfig, FileData
from leadline.data import datasets
from leadline.data.cells import Cells, Scale
from leadline.data.cells.files import Kind, kind_of, open_hdf5
from leadline.data.cells.h5ad import counts_matrix
from leadline.data.cells.obs import MISSING
from leadline.data.cells.read import ColumnNames, cells_of, read_source
from leadline.data.cells.tenx import OBS_FILES
from leadline.data.overlap.corpus import DATA_SET, JOIN_ID
from leadline.data.overlap.gene_names import Namings, namings_of
from leadline.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetCells:
    """Cells to look for in a corpus.

    Attributes
    ----------
    counts_known
        Whether `cells` are counts, or were turned into them.
    keys_C
        Data set and join id of each cell, in one text; None where the file does not have both.
    no_keys
        Why there are no keys.
    """

    cells: Cells
    namings: Namings
    counts_known: bool
    keys_C: NDArray[np.str_] | None = None
    no_keys: str = ""
    notes: tuple[str, ...] = ()

    def take(self, rows: NDArray[np.integer]) -> TargetCells:
        """Give some of the cells."""
        return TargetCells(
            cells=self.cells.take(rows),
            namings=self.namings,
            counts_known=self.counts_known,
            keys_C=None if self.keys_C is None else self.keys_C[rows],
            no_keys=self.no_keys,
            notes=self.notes,
        )


def read_target(data: DataConfig, data_dir: Path, dataset_id: str | None = None) -> TargetCells:
    """Read the cells that a configuration names; counts where there are any.

    `dataset_id` says which data set of CELLxGENE all the cells are of, where no column does.

    Raises
    ------
    UserError
        When a file is missing, or holds what nothing could use.
    """
    paths = datasets.files(data, data_dir)
    if len(paths) > 1:
        cells = datasets.load(data, data_dir)
        return of_counts(cells, {"names": cells.genes}, None, "several files make one data set")
    (path,) = paths
    layer = data.layer
    if layer is None and isinstance(data, FileData) and kind_of(path) is Kind.H5AD:
        with open_hdf5(path) as file:
            layer = counts_matrix(file, path)
    asked = data.split is not None or data.library_column is not None
    source = read_source(path, layer, with_obs=asked or has_obs(path))
    columns = ColumnNames(split=data.split, genes=data.gene_column, library=data.library_column)
    declared = None if data.scale == "auto" else Scale(data.scale)
    cells = cells_of(source, data.name, columns, declared)
    keys_C, why = keys_of(source.obs, dataset_id)
    return of_counts(cells, namings_of(source.var, data.gene_column), keys_C, why)


def has_obs(path: Path) -> bool:
    """Say whether a file has a table of cells; that of 10x data lies beside it, or is not there."""
    folder = path if path.is_dir() else path.parent
    beside = any((folder / name).is_file() for name in OBS_FILES)
    return kind_of(path) is Kind.H5AD or beside


def of_counts(
    cells: Cells, namings: Namings, keys_C: NDArray[np.str_] | None, no_keys: str
) -> TargetCells:
    """Turn cells into counts where that can be done exactly."""
    try:
        counts_CG, known = cells.counts(), True
    except UserError:
        counts_CG, known = cells.matrix_CG, False
    if known and cells.scale is not Scale.COUNTS:
        cells = replace(cells, matrix_CG=counts_CG, scale=Scale.COUNTS)
    return TargetCells(
        cells=cells,
        namings=namings,
        counts_known=known,
        keys_C=keys_C,
        no_keys=no_keys,
        notes=cells.notes,
    )


def keys_of(obs: pd.DataFrame, dataset_id: str | None) -> tuple[NDArray[np.str_] | None, str]:
    """Give (data set, join id) of each cell, or say what lacks: a join id alone is not unique."""
    if JOIN_ID not in obs:
        return None, f"the data have no column {JOIN_ID}"
    if dataset_id is None and DATA_SET not in obs:
        return None, (
            f"the data have {JOIN_ID}, which is unique only within a data set, but no "
            f"{DATA_SET}: name it with --dataset-id"
        )
    ids_C = obs[JOIN_ID].astype(str).to_numpy(dtype=np.str_)
    sets_C = np.full(len(obs), dataset_id) if dataset_id else obs[DATA_SET].astype(str)
    keys_C = np.char.add(np.char.add(np.asarray(sets_C, dtype=np.str_), "\x1f"), ids_C)
    # A cell without an id has no key, and is not taken for another without one.
    missing_C = np.isin(ids_C, sorted(MISSING))
    return np.where(missing_C, "", keys_C), ""
