"""scBERT's tokens: expression in bins of log2, genes in the order of a reference list.

A token is min(trunc(log2(1 + counts per 10k)), 5). Tokens stay sparse until a batch is cut.

Legend: C cells, B cells of a batch, G genes, L positions: the genes and the closing CLS.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data import array_cache
from leadline.data.cells import Cells, Scale
from leadline.data.cells.genes import kind_of_genes, match_keys
from leadline.data.cells.stored_rows import StoredRows
from leadline.errors import UserError
from leadline.stats.jit import compiled

# The draw at which a cell's choice ends is looked for among those with the same leading bits.
LEADING_BITS = 10


@compiled
def count_tokens(cell_N, token_N, counts_BT):  # type: ignore[no-untyped-def]
    """Count each token in each cell."""
    for place in range(len(cell_N)):
        counts_BT[cell_N[place], token_N[place]] += 1


@compiled
def choose_lowest(draw_N, start_B, wanted_B, bits, place_K):  # type: ignore[no-untyped-def]
    """Find the places of so many lowest draws of each cell; of equal draws the first ones.

    Draws have so many bits. There is room in `place_K` for all that is wanted and one more.
    """
    shift = np.uint64(max(bits - LEADING_BITS, 0))
    found = 0
    count_H = np.empty(1 << LEADING_BITS, np.int64)
    for cell in range(len(wanted_B)):
        wanted = wanted_B[cell]
        if wanted == 0:
            continue
        draw_M = draw_N[start_B[cell] : start_B[cell + 1]]
        count_H[:] = 0
        for draw in draw_M:
            count_H[draw >> shift] += 1
        head = np.uint64(0)
        while count_H[head] < wanted:
            wanted -= count_H[head]
            head += np.uint64(1)
        near_M = np.sort(draw_M[(draw_M >> shift) == head])
        last = near_M[wanted - 1]
        equal = wanted - np.searchsorted(near_M, last)
        for place in range(len(draw_M)):
            place_K[found] = start_B[cell] + place
            tie = draw_M[place] == last and equal > 0
            equal -= tie
            found += draw_M[place] < last or tie


HIGHEST_BIN = 5
# One token is both what a masked gene shows and what the loss ignores.
MASK = HIGHEST_BIN + 1
N_TOKENS = MASK + 1
ACCEPTED = frozenset({Scale.COUNTS, Scale.LN_CP10K, Scale.LOG2_CP10K})
# What the model can be given: these, or the tokens themselves.
READABLE = ACCEPTED | {Scale.SCBERT_BINS}
TARGET_SUM = 1e4
# 1 + CP10k at which the bins 1 to 5 begin, less one.
STARTS = 2.0 ** np.arange(1, HIGHEST_BIN + 1) - 1
# A logarithm stored in float32 may fall this short of the whole number that it stands for. Counts
# come as close to it without reaching it only in cells of more than about 400,000 counts.
SHORT = 1e-6
NAMES_SHOWN = 3
# What is held on the way to tokens never grows with the corpus.
CELLS_AT_A_TIME = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """Which column of the cells stands for each gene of a reference list; -1: none does."""

    column_G: NDArray[np.int64]
    cells_genes: int

    def report(self) -> dict[str, Any]:
        """Give the overlap as the record keeps it."""
        shared = int((self.column_G >= 0).sum())
        return {
            "reference_genes": len(self.column_G),
            "genes_of_the_cells": self.cells_genes,
            "shared": shared,
            "share_of_the_reference": shared / max(len(self.column_G), 1),
            "share_of_the_cells": shared / max(self.cells_genes, 1),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Tokens of cells, without the zeros; the last column is the CLS, always zero.

    Those of a token store are rows of its files, which have no column for the CLS.
    """

    matrix_CL: sparse.csr_array | StoredRows
    genes: NDArray[np.str_]
    alignment: Alignment | None = None

    def __len__(self) -> int:
        return int(self.matrix_CL.shape[0])

    @property
    def length(self) -> int:
        """Count the positions: genes and the CLS."""
        return len(self.genes) + 1

    def dense(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Cut cells out: tokens_BL, uint8."""
        matrix = self.matrix_CL
        if isinstance(matrix, StoredRows):
            return matrix.dense(rows, self.length)
        tokens_BL = np.zeros((len(rows), matrix.shape[1]), np.uint8)
        starts, ends = matrix.indptr[rows].tolist(), matrix.indptr[rows + 1].tolist()
        # For a few cells faster than scipy, which makes a matrix of them first.
        for tokens_L, start, end in zip(tokens_BL, starts, ends, strict=True):
            tokens_L[matrix.indices[start:end]] = matrix.data[start:end]
        return tokens_BL

    def stored(
        self, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8]]:
        """Give the N tokens of these cells that are not zero: cell in the batch, gene, token."""
        matrix = self.matrix_CL
        if isinstance(matrix, StoredRows):
            return matrix.gather(rows)
        starts, ends = matrix.indptr[rows], matrix.indptr[rows + 1]
        slices = [slice(*pair) for pair in zip(starts.tolist(), ends.tolist(), strict=True)]
        cell_N = np.repeat(np.arange(len(rows)), ends - starts)
        if not slices:
            return cell_N, matrix.indices[:0], matrix.data[:0]
        gene_N = np.concatenate([matrix.indices[piece] for piece in slices])
        return cell_N, gene_N, np.concatenate([matrix.data[piece] for piece in slices])

    def histograms(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Count the tokens of each cell, CLS included: counts_BT with T = 7."""
        cell_N, _, bin_N = self.stored(rows)
        return histograms(cell_N, bin_N, len(rows), self.length)


def histograms(
    cell_N: NDArray[np.int64], bin_N: NDArray[np.uint8], n_cells: int, length: int
) -> NDArray[np.int64]:
    """Count each token in each cell of so many positions; what is not stored is zero."""
    counts_BT = np.zeros((n_cells, N_TOKENS), np.int64)
    count_tokens(cell_N, bin_N, counts_BT)
    counts_BT[:, 0] += length - counts_BT.sum(axis=1)
    return counts_BT


def tokenise(
    cells: Cells,
    reference: NDArray[np.str_] | None = None,
    *,
    least_overlap: float = 0.5,
    total: str = "measured",
) -> Tokens:
    """Turn counts or a log scale into tokens.

    Parameters
    ----------
    reference
        Genes in the order that the model knows; those that the cells lack are zeros. None: the
        cells' own.
    least_overlap
        Share of the reference that the cells must have.
    total
        What counts are divided by: `measured`, all counts of a cell, or `reference`, those of the
        genes that are in the reference, as the paper's preparation of its PBMC does. A log scale
        is normalised already.

    Raises
    ------
    UserError
        When the scale cannot be used or too few genes are shared.
    """
    alignment = None
    genes = cells.genes
    if reference is not None and not np.array_equal(reference, genes):
        alignment = align(genes, reference, least_overlap)
        genes = reference
    starts = range(0, max(len(cells), 1), CELLS_AT_A_TIME)
    parts = [binned(cells, slice(i, i + CELLS_AT_A_TIME), alignment, total) for i in starts]
    held_C, gene_N, bin_N = (np.concatenate(pieces) for pieces in zip(*parts, strict=True))
    matrix_CL = sparse.csr_array((len(cells), len(genes) + 1), dtype=np.uint8)
    # Put in place by hand: scipy's constructor would widen the indices.
    matrix_CL.data, matrix_CL.indices = bin_N, gene_N
    matrix_CL.indptr = np.concatenate([[0], np.cumsum(held_C)])
    return Tokens(matrix_CL=matrix_CL, genes=genes, alignment=alignment)


def binned(
    cells: Cells, some: slice, alignment: Alignment | None, total: str
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8]]:
    """Bin some cells: how many tokens each holds that are not zero, and their genes and bins."""
    matrix_BG = cells.matrix_CG[some]
    if alignment is not None:
        matrix_BG = reordered(matrix_BG, alignment)
    total_B = cells.library_C[some]
    if total == "reference":
        total_B = np.asarray(matrix_BG.sum(axis=1, dtype=np.float64)).ravel()
    bin_N = bins(matrix_BG, cells.scale, total_B)
    kept_N = bin_N > 0
    before = np.concatenate([[0], np.cumsum(kept_N)])
    held_B = np.diff(before[matrix_BG.indptr])
    return held_B, matrix_BG.indices[kept_N].astype(np.int32), bin_N[kept_N]


def bins(
    matrix_CG: sparse.csr_array, scale: Scale, total_C: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Give the token of each stored value.

    A boundary belongs to the bin above it, exactly: from counts by comparing whole numbers.
    """
    if scale is Scale.COUNTS:
        # count x 10,000 >= (2^t - 1) x total: both sides are exact in float64.
        total_N = np.repeat(total_C, np.diff(matrix_CG.indptr))
        scaled_N = matrix_CG.data.astype(np.float64) * TARGET_SUM
        bin_N = np.zeros(matrix_CG.nnz, np.uint8)
        for start in STARTS:
            bin_N += scaled_N >= start * total_N
        return bin_N
    if scale not in ACCEPTED:
        raise UserError(
            "scBERT's tokens need counts, or ln or log2 of 1 + counts per 10,000",
            got=f"the scale {scale}",
            remedy="name a layer that holds counts with data.layer=",
        )
    log2_N = matrix_CG.data.astype(np.float64)
    if scale is Scale.LN_CP10K:
        log2_N /= np.log(2.0)
    return np.clip(np.floor(log2_N + SHORT), 0, HIGHEST_BIN).astype(np.uint8)


def align(genes: NDArray[np.str_], reference: NDArray[np.str_], least_overlap: float) -> Alignment:
    """Find each gene of a reference among the genes of the cells.

    Versions of Ensembl ids do not count.
    """
    column_of = {str(name): column for column, name in enumerate(match_keys(genes))}
    wanted = match_keys(reference).tolist()
    column_G = np.array([column_of.get(name, -1) for name in wanted], dtype=np.int64)
    share = float((column_G >= 0).mean()) if len(wanted) else 0.0
    if share < least_overlap:
        raise UserError(
            f"the cells must have at least {least_overlap:.0%} of the model's genes "
            "(model.least_overlap)",
            got=f"{(column_G >= 0).sum():,} of {len(reference):,} ({share:.1%})",
            remedy=remedy_for(genes, reference, column_of),
        )
    return Alignment(column_G=column_G, cells_genes=len(genes))


def remedy_for(
    genes: NDArray[np.str_], reference: NDArray[np.str_], column_of: dict[str, int]
) -> str:
    """Say why genes may not be found: another kind of name, another case, other genes."""
    here, there = kind_of_genes(genes), kind_of_genes(reference)
    if here != there:
        words = {"symbol": "symbols", "ensembl": "Ensembl ids", "other": "names of another kind"}
        return (
            f"the cells name genes by {words[here]}, the model by {words[there]}: name a column "
            "of var that holds the latter with data.gene_column="
        )
    lower = {name.lower() for name in column_of}
    missed = [name for name in match_keys(reference).tolist() if name not in column_of]
    by_case = [name for name in missed if name.lower() in lower]
    if by_case:
        shown = ", ".join(by_case[:NAMES_SHOWN])
        return (
            f"{len(by_case):,} more differ only in upper and lower case ({shown}): is this "
            "another species, or were names changed? Write them as the model does"
        )
    return "use cells with these genes, or lower model.least_overlap"


def reordered(matrix_CG: sparse.csr_array, alignment: Alignment) -> sparse.csr_array:
    """Bring columns into the order of the reference; genes that it lacks are left out."""
    target_G = np.full(matrix_CG.shape[1], -1, np.int64)
    there = alignment.column_G >= 0
    target_G[alignment.column_G[there]] = np.flatnonzero(there)
    column_N = target_G[matrix_CG.indices]
    kept_N = column_N >= 0
    kept_before = np.concatenate([[0], np.cumsum(kept_N)])
    moved = sparse.csr_array(
        (matrix_CG.data[kept_N], column_N[kept_N], kept_before[matrix_CG.indptr]),
        shape=(matrix_CG.shape[0], len(alignment.column_G)),
    )
    moved.sort_indices()
    return moved


def read_genes(path: Path) -> NDArray[np.str_]:
    """Read a reference list: a text file with one name a line.

    Raises
    ------
    UserError
        When the file is missing, is no text, is empty, or repeats a name.
    """
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            "a list of genes must be a text file with one name a line",
            got=f"{str(path)!r} ({getattr(error, 'strerror', None) or 'not text'})",
            remedy='write one, e.g. python -c "import anndata; print(*anndata.read_h5ad('
            "'panglao_10000.h5ad', backed='r').var_names, sep='\\n')\" > genes.txt",
        ) from error
    names = [name for name in names if name]
    if not names or len(set(names)) < len(names):
        raise UserError(
            "a list of genes must name each gene once",
            got=f"{len(names):,} names in {str(path)!r}, {len(set(names)):,} of them different",
            remedy="correct the list",
        )
    return np.array(names, dtype=np.str_)


def require_same_genes(ours: Sequence[str], theirs: Sequence[str]) -> None:
    """Refuse weights that were learnt for other genes, or for the same in another order."""
    if list(ours) == list(theirs):
        return
    both = len(set(ours) & set(theirs))
    other = "another order" if both == len(ours) == len(theirs) else f"{both:,} of them shared"
    raise UserError(
        "pretrained weights and cells must have the same genes in the same order",
        got=f"{len(theirs):,} genes in the pretraining, {len(ours):,} here, {other}",
        remedy="pretrain on these genes, or let model.genes= name one list in both runs",
    )


# To be raised with every change of what tokens are.
VERSION = 1
LEAST_VALUES = 5_000_000


def scbert_tokens(
    folder: Path | None,
    cells: Cells,
    reference: NDArray[np.str_] | None = None,
    *,
    least_overlap: float = 0.5,
    total: str = "measured",
) -> Tokens:
    """Give `scbert.tokenise` of the same arguments, kept in `folder` if there is one.

    Cells of a token store have their tokens already.
    """
    if isinstance(cells.matrix_CG, StoredRows):
        return stored_tokens(cells, cells.matrix_CG, reference, total)

    def made() -> Tokens:
        return tokenise(cells, reference, least_overlap=least_overlap, total=total)

    matrix_CG = cells.matrix_CG
    if folder is None or matrix_CG.nnz < LEAST_VALUES:
        return made()
    words = [
        str(cells.scale),
        total,
        *cells.genes,
        "\x1e",
        *(() if reference is None else reference),
    ]
    content = array_cache.digest(
        words, matrix_CG.data, matrix_CG.indices, matrix_CG.indptr, cells.library_C
    )

    def make() -> dict[str, NDArray[Any]]:
        matrix_CL = made().matrix_CL
        assert not isinstance(matrix_CL, StoredRows)
        return {"data": matrix_CL.data, "indices": matrix_CL.indices, "indptr": matrix_CL.indptr}

    found = array_cache.arrays(folder, json.dumps(["scbert", VERSION, content]), make)
    genes, alignment = cells.genes, None
    if reference is not None and not np.array_equal(reference, genes):
        alignment = align(genes, reference, least_overlap)
        genes = reference
    matrix_CL = sparse.csr_array((len(cells), len(genes) + 1), dtype=np.uint8)
    for name, array in found.items():
        setattr(matrix_CL, name, array)
    return Tokens(matrix_CL=matrix_CL, genes=genes, alignment=alignment)


def tokenizer(total: str) -> dict[str, Any]:
    """Name what makes these tokens; a store that was made by another one is refused."""
    return {"name": "scbert", "version": VERSION, "total": total}


def block_tokens(
    genes: NDArray[np.str_],
    reference: NDArray[np.str_],
    *,
    least_overlap: float = 0.5,
    total: str = "measured",
) -> Callable[[Cells], tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8]]]:
    """Give the function that turns blocks of cells with these genes into tokens of a reference.

    Of a block it gives how many tokens each cell has that are not zero, their genes and the bins.
    """
    same = np.array_equal(genes, reference)
    alignment = None if same else align(genes, reference, least_overlap)
    return lambda cells: binned(cells, slice(None), alignment, total)


def stored_tokens(
    cells: Cells, rows: StoredRows, reference: NDArray[np.str_] | None, total: str
) -> Tokens:
    """Give the tokens that a store holds, if they are those of the model."""
    if rows.tokenizer != tokenizer(total):
        raise UserError(
            "a token store must hold the tokens that the model reads",
            got=f"{json.dumps(rows.tokenizer)}, not {json.dumps(tokenizer(total))}",
            remedy=f"build a store with --total {total}, or set model.total= as the store has it",
        )
    if reference is not None and not np.array_equal(reference, cells.genes):
        raise UserError(
            "a token store must hold the genes of the model, in its order",
            got=f"{len(cells.genes):,} genes in the store, {len(reference):,} in the model",
            remedy="build the store with --genes and the list that model.genes= names",
        )
    return Tokens(matrix_CL=rows, genes=cells.genes)
