"""What cells are looked for in: files, block by block, however large they are.

Whatever has names of its genes and gives its cells in blocks is a `CellCorpus`: a store of tokens
needs no more than that.

Shapes: B cells of a block, G genes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data.cells import Scale
from leadline.data.cells.files import ACCEPTED, MATRIX_FILES, Kind, kind_of, open_hdf5
from leadline.data.cells.h5ad import (
    counts_matrix,
    h5ad_matrix,
    has_column,
    matrix_var,
    obs_column,
)
from leadline.data.cells.matrix_blocks import row_blocks
from leadline.data.cells.read import read_source
from leadline.data.cells.scale import recognise
from leadline.data.overlap.gene_names import Namings, namings_of
from leadline.errors import UserError

# CELLxGENE's names of a cell: the join id is unique only within its data set.
DATA_SET, JOIN_ID = "dataset_id", "observation_joinid"
ROWS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusBlock:
    """Some cells of a corpus; `keys_B` are data set and join id, where it has both."""

    matrix_BG: sparse.csr_array
    keys_B: NDArray[np.str_] | None = None


class CellCorpus(Protocol):
    """A collection of cells that can be gone through."""

    @property
    def name(self) -> str:
        """Say what messages call it."""

    @property
    def namings(self) -> Namings:
        """Give the names of the genes of its matrix."""

    @property
    def scale(self) -> Scale:
        """Say what its numbers are."""

    def blocks(self) -> Iterator[CorpusBlock]:
        """Give all cells, some at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusFile:
    """One `.h5ad`, 10x `.h5` or 10x folder; of an `.h5ad` one block is in memory at a time."""

    path: Path
    layer: str | None
    namings: Namings
    scale: Scale

    @property
    def name(self) -> str:
        """Give the name of the file."""
        return self.path.name

    def blocks(self) -> Iterator[CorpusBlock]:
        """Read the cells in the order of the file."""
        if kind_of(self.path) is not Kind.H5AD:
            whole_CG = read_source(self.path, self.layer, with_obs=False).matrix_CG
            for start in range(0, whole_CG.shape[0], ROWS):
                yield CorpusBlock(matrix_BG=whole_CG[start : start + ROWS])
            return
        with open_hdf5(self.path) as file:
            _, stored = h5ad_matrix(file, self.path, self.layer)
            named = has_column(file, DATA_SET) and has_column(file, JOIN_ID)
            start = 0
            for matrix_BG in row_blocks(stored, ROWS):
                stop, keys_B = start + matrix_BG.shape[0], None
                if named:
                    sets_B = obs_column(file, DATA_SET, start, stop)
                    ids_B = obs_column(file, JOIN_ID, start, stop)
                    keys_B = np.char.add(np.char.add(sets_B, "\x1f"), ids_B)
                yield CorpusBlock(matrix_BG=matrix_BG, keys_B=keys_B)
                start = stop


def corpus_file(path: Path, layer: str | None = None, genes: str | None = None) -> CorpusFile:
    """Look at a file: which of its matrices holds counts, and what its genes are called.

    Raises
    ------
    UserError
        When it cannot be read, or lacks the layer or the column of genes.
    """
    if kind_of(path) is Kind.H5AD:
        with open_hdf5(path) as file:
            layer = layer or counts_matrix(file, path)
            name, stored = h5ad_matrix(file, path, layer)
            var = matrix_var(file, name)
            first_BG = next(row_blocks(stored, ROWS), None)
    else:
        source = read_source(path, layer, with_obs=False)
        var, first_BG = source.var, source.matrix_CG[:ROWS]
    if genes is not None and genes not in var:
        raise UserError(
            "--corpus-genes must name a column of var",
            got=f"{genes}, which {path.name} does not have",
            remedy=f"choose one of {', '.join(map(str, var.columns)) or 'none'}",
        )
    empty = first_BG is None or first_BG.nnz == 0
    scale = Scale.OTHER if empty else recognise(first_BG).scale
    return CorpusFile(path=path, layer=layer, namings=namings_of(var, genes), scale=scale)


def corpus_files(
    path: Path, layer: str | None = None, genes: str | None = None
) -> list[CorpusFile]:
    """Look at a file, or at every `.h5ad` of a folder, of which none is read whole."""
    matrix = any((path / name).is_file() for name in MATRIX_FILES)
    paths = sorted(path.glob("*.h5ad")) if path.is_dir() and not matrix else [path]
    if not paths:
        raise UserError(
            ACCEPTED.replace("data.path", "--corpus"),
            got=f"the folder {path} without any of them",
            remedy="name a file, or a folder of .h5ad files",
        )
    try:
        return [corpus_file(each, layer, genes) for each in paths]
    except UserError as error:
        # Readers speak of the data; here it is the corpus that is wrong.
        rule, got, remedy = (_of_corpus(text) for text in (error.rule, error.got, error.remedy))
        raise UserError(rule, got=got, remedy=remedy) from error


def _of_corpus(text: str) -> str:
    for option, ours in (("path", "--corpus"), ("layer", "--corpus-layer")):
        text = text.replace(f"data.{option}=", f"{ours} ").replace(f"data.{option}", ours)
    return text
