"""What a person wants to know of a file before they name its columns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leadline.data.cells.checks import NAMES
from leadline.data.cells.files import open_hdf5
from leadline.data.cells.files__cells_source import Source
from leadline.data.cells.h5ad import h5ad_matrix, table
from leadline.data.cells.read import Columns, cells_of, read_source

# A column with more values than this, or one in every second cell, is no cell type.
MOST_CLASSES = 200


@dataclass(frozen=True, slots=True)
class Outline:
    """What can be known of an `.h5ad` without reading its matrix."""

    n_cells: int
    genes: NDArray[np.str_]


def outline(path: Path) -> Outline:
    """Look at the size of X and the order of its genes, whatever the size of the file.

    Raises
    ------
    UserError
        When the file cannot be opened or has no X.
    """
    with open_hdf5(path) as file:
        _, stored = h5ad_matrix(file, path, None)
        genes = table(file, "var").index.to_numpy(dtype=np.str_)
    return Outline(stored.shape[0], genes)


def describe_file(path: Path) -> list[str]:
    """Say in a few lines what a file holds, and which of its columns could be labels.

    Raises
    ------
    UserError
        When the file cannot be read or holds what nothing could use.
    """
    source = read_source(path, with_obs=False)
    cells = cells_of(source, path.name, Columns())
    lines = [f"{len(cells):,} cells x {len(cells.genes):,} genes", *cells.notes]
    lines += [f"data.layer={name} holds {NAMES[scale]}" for name, scale in cells.other_layers]
    found = columns_of_few_values(source)
    if found:
        lines.append(f"could be data.label, data.batch or data.split: {', '.join(found)}")
    return lines


def could_be_labels(path: Path) -> list[str]:
    """Name the columns of a file that could be labels, with how many values each has."""
    return columns_of_few_values(read_source(path))


def columns_of_few_values(source: Source) -> list[str]:
    """Name the columns of obs that say one of a few things of each cell."""
    most = min(MOST_CLASSES, len(source.obs) // 2)
    counts = {str(column): int(source.obs[column].nunique()) for column in source.obs.columns}
    return [f"{column} ({count} values)" for column, count in counts.items() if 2 <= count <= most]
