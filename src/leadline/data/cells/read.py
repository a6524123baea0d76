"""A path → Cells: read, look at every number, say what they are, refuse what is broken."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data.cells.cells import Cells, Scale
from leadline.data.cells.checks import (
    NAMES,
    Survey,
    check_cells_not_empty,
    check_counts,
    check_finite,
    check_size,
    pieces,
    survey,
)
from leadline.data.cells.files import FileContents, Kind, genomes, kind_of, open_hdf5
from leadline.data.cells.genes import gene_names
from leadline.data.cells.h5ad import h5ad_matrix, read_h5ad, table
from leadline.data.cells.library_size import library_sizes
from leadline.data.cells.matrix_blocks import row_blocks
from leadline.data.cells.obs import batches_of, ids_of, labels_of, parts_of
from leadline.data.cells.scale import ScaleGuess, recognise
from leadline.data.cells.tenx import read_tenx_folder, read_tenx_h5, tenx_matrix
from leadline.errors import UserError, nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnNames:
    """Which columns of a file's tables mean what."""

    label: str | None = None
    batch: str | None = None
    split: str | None = None
    genes: str | None = None
    library: str | None = None


def read_cells(
    path: str | os.PathLike[str],
    *,
    name: str,
    label: str | None = None,
    batch: str | None = None,
    split: str | None = None,
    layer: str | None = None,
    scale: Scale | str | None = None,
    gene_column: str | None = None,
    library_column: str | None = None,
) -> Cells:
    """Read the cells of one `.h5ad`, 10x `.h5` or 10x folder, or say what is wrong with it.

    Parameters
    ----------
    label, batch, split, library_column
        Columns of obs; for 10x data of obs.csv or obs.tsv next to the matrix, whose first
        column holds the barcodes.
    layer
        "X" (as None), "raw", or the name of a layer; in an old 10x file, the genome.
    scale
        What the numbers are, where the reader would not find out or is wrong.
    gene_column
        A column of var that holds the names of the genes, instead of its index.
    """
    with_obs = any(column is not None for column in (label, batch, split, library_column))
    source = read_source(Path(path), layer, with_obs=with_obs)
    columns = ColumnNames(
        label=label, batch=batch, split=split, genes=gene_column, library=library_column
    )
    return cells_of(source, name, columns, declared_scale(scale))


def cells_of(
    source: FileContents, name: str, columns: ColumnNames, declared: Scale | None = None
) -> Cells:
    """Check what a file holds and give it as cells; `declared` overrules what the numbers say."""
    seen, found = _look(source, declared)
    used = declared or found.scale
    rounding = _round_counts(source, seen) if used is Scale.COUNTS else ()
    genes, gene_kind, gene_notes = gene_names(source, columns.genes)
    libraries = library_sizes(source, used, seen, columns.library)
    ids, id_notes = ids_of(source.obs)
    labels = (None, ()) if columns.label is None else labels_of(source.obs, columns.label)
    return Cells(
        name=name,
        matrix_CG=source.matrix_CG,
        scale=used,
        library_C=libraries.sizes_C,
        genes=genes,
        ids=ids,
        labels_C=labels[0],
        classes=labels[1],
        batch_C=None if columns.batch is None else batches_of(source.obs, columns.batch),
        given_C=None if columns.split is None else parts_of(source.obs, columns.split),
        gene_kind=gene_kind,
        how=found.how if declared is None else "declared with data.scale=",
        layer=source.layer,
        other_layers=source.others,
        notes=(
            *source.notes,
            _scale_note(source, declared, found),
            *rounding,
            *libraries.notes,
            *gene_notes,
            *id_notes,
        ),
    )


def read_source(path: Path, layer: str | None = None, *, with_obs: bool = True) -> FileContents:
    """Read one matrix and the tables of a file, unchecked; `with_obs` if columns are needed."""
    kind = kind_of(path)
    if kind is Kind.TENX_FOLDER:
        return read_tenx_folder(path, layer, with_obs=with_obs)
    if kind is Kind.TENX_H5:
        return read_tenx_h5(path, layer, with_obs=with_obs)
    return read_h5ad(path, layer)


def read_matrix_blocks(
    path: str | os.PathLike[str], layer: str | None = None, rows: int = 4096
) -> Iterator[sparse.csr_array]:
    """Yield the cells of an `.h5ad` or 10x `.h5` in order, as CSR float32 blocks of `rows` cells.

    Dense and CSR matrices stream: one block is in memory at a time. A CSC matrix cannot be cut
    by cells, so it is converted whole first. Values are not checked, and features of a 10x file
    that are not genes stay.
    """
    if kind_of(Path(path)) is Kind.TENX_FOLDER:
        raise UserError(
            "only HDF5 files can be read in blocks",
            got=f"the 10x folder {path}",
            remedy="save it as an .h5ad: import scanpy; "
            f"scanpy.read_10x_mtx({str(path)!r}).write_h5ad('cells.h5ad')",
        )
    with open_hdf5(Path(path)) as file:
        if genomes(file):
            stored = tenx_matrix(file, Path(path), layer)
        else:
            _, stored = h5ad_matrix(file, Path(path), layer)
        yield from row_blocks(stored, rows)


def declared_scale(scale: Scale | str | None) -> Scale | None:
    """Read what a user says of the numbers; None leaves it to the reader."""
    if scale is None:
        return None
    try:
        return Scale(scale)
    except ValueError:
        raise UserError(
            f"data.scale must be one of {', '.join(Scale)}",
            got=str(scale),
            remedy=nearest(str(scale), Scale),
        ) from None


def _look(source: FileContents, declared: Scale | None) -> tuple[Survey, ScaleGuess]:
    """Look at every number: refuse what nothing could use, and say what the rest is."""
    check_size(source)
    seen = survey(source.matrix_CG)
    check_finite(source, seen)
    found = recognise(source.matrix_CG, seen)
    # Integers, some of them below zero, are counts that went wrong, unless the user says what.
    if declared is Scale.COUNTS or (declared is None and seen.integral):
        check_counts(source, seen)
    check_cells_not_empty(source)
    return seen, found


def _scale_note(source: FileContents, declared: Scale | None, found: ScaleGuess) -> str:
    if declared is None:
        return f"{source.layer} holds {NAMES[found.scale]}: {found.how}"
    if declared is found.scale:
        return f"{source.layer} holds {NAMES[declared]}, as data.scale={declared} says: {found.how}"
    if found.scale is Scale.OTHER:
        seems = f"the numbers alone do not show it: {found.how}"
    else:
        seems = f"the numbers contradict it, they look like {NAMES[found.scale]}: {found.how}"
    return f"{source.layer} is taken for {NAMES[declared]} as data.scale={declared} says; {seems}"


def _round_counts(source: FileContents, seen: Survey) -> tuple[str, ...]:
    """Remove float noise from counts, in the arrays that were just read."""
    if not seen.rounded or not seen.integral:
        return ()
    data = source.matrix_CG.data
    for _, _, low, high in pieces(source.matrix_CG):
        np.rint(data[low:high], out=data[low:high])
    return (f"{seen.rounded:,} counts within 0.001 of an integer were rounded",)


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
    cells = cells_of(source, path.name, ColumnNames())
    lines = [f"{len(cells):,} cells x {len(cells.genes):,} genes", *cells.notes]
    lines += [f"data.layer={name} holds {NAMES[scale]}" for name, scale in cells.other_layers]
    found = columns_of_few_values(source)
    if found:
        lines.append(f"could be data.label, data.batch or data.split: {', '.join(found)}")
    return lines


def could_be_labels(path: Path) -> list[str]:
    """Name the columns of a file that could be labels, with how many values each has."""
    return columns_of_few_values(read_source(path))


def columns_of_few_values(source: FileContents) -> list[str]:
    """Name the columns of obs that say one of a few things of each cell."""
    most = min(MOST_CLASSES, len(source.obs) // 2)
    counts = {str(column): int(source.obs[column].nunique()) for column in source.obs.columns}
    return [f"{column} ({count} values)" for column, count in counts.items() if 2 <= count <= most]
