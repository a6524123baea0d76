"""scGPT's values: per-cell quantile bins, draws that truncate and mask, and padded tokens.

A cell's values are compared with quantiles of its own non-zero values. Dividing a cell by its
total, as the original does first, moves values and quantiles alike and so changes no bin.

Legend: C cells, G genes, N stored values, Q edges of a cell, T tokens, B cells of a batch,
L padded length.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data import array_cache
from leadline.data.cells import Cells
from leadline.data.cells.genes import match_keys
from leadline.data.cells.stored_rows import StoredRows
from leadline.errors import UserError

PAD_VALUE, MASK_VALUE = -2, -1
# Bins are kept in one byte.
MOST_BINS = 256
# So many are sorted while they stay in the processor's cache.
CELLS_AT_A_TIME = 64


def bin_ranges(
    matrix_CG: sparse.csr_array, n_bins: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Give the lowest and the highest bin that each stored value may take.

    They differ where a value equals several edges, as counts do; `choose_bins` then chooses.
    """
    low_N = np.empty(matrix_CG.nnz, np.uint8)
    high_N = np.empty(matrix_CG.nnz, np.uint8)
    fill(matrix_CG, n_bins, low_N, high_N, np.empty((0, n_bins)))
    return low_N, high_N


def fill(
    matrix_CG: sparse.csr_array,
    n_bins: int,
    low_N: NDArray[np.uint8],
    high_N: NDArray[np.uint8],
    edges_CQ: NDArray[np.float64],
) -> None:
    """Sort the values of each cell, then place them; both some cells at a time."""
    from leadline.models.scgpt.bin_loops import lay_out, place_values

    assert 3 <= n_bins <= MOST_BINS
    require_above_zero(matrix_CG)
    values_N = np.ascontiguousarray(matrix_CG.data, dtype=np.float32)
    indptr, share_Q = matrix_CG.indptr.astype(np.int64), np.linspace(0, 1, n_bins - 1)
    length_C = np.diff(indptr)
    for start in range(0, len(length_C), CELLS_AT_A_TIME):
        piece_R = length_C[start : start + CELLS_AT_A_TIME]
        sorted_RM = np.empty((len(piece_R), int(piece_R.max())), np.float32)
        lay_out(values_N, indptr, start, sorted_RM)
        # numpy sorts floats with the processor's vector instructions; a compiled loop would not.
        sorted_RM.sort(axis=1)
        place_values(values_N, indptr, start, sorted_RM, share_Q, low_N, high_N, edges_CQ)


def choose_bins(
    low_N: NDArray[np.uint8], high_N: NDArray[np.uint8], uniform_N: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Choose bins: the original's formula for one uniform number in [0, 1) a value."""
    spread_N = high_N.astype(np.float64) - low_N
    chosen_N: NDArray[np.uint8] = np.ceil(high_N - uniform_N * spread_N).astype(np.uint8)
    return chosen_N


def middle_bins(low_N: NDArray[np.uint8], high_N: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Choose as `choose_bins` does for the uniform number 1/2: equal values get equal bins."""
    return high_N - ((high_N - low_N) >> 1)


def bin_cells(
    matrix_CG: sparse.csr_array, n_bins: int, rng: np.random.RandomState | None = None
) -> sparse.csr_array:
    """Bin every stored value to 1 … n_bins - 1.

    With numpy's legacy generator the result is that of the original, bit by bit; without one a
    value that equals several edges takes the bin in their middle.
    """
    low_N, high_N = bin_ranges(matrix_CG, n_bins)
    if rng is None:
        bins_N = middle_bins(low_N, high_N)
    else:
        bins_N = choose_bins(low_N, high_N, rng.random_sample(matrix_CG.nnz))
    return sparse.csr_array(
        (bins_N, matrix_CG.indices, matrix_CG.indptr), shape=matrix_CG.shape, copy=False
    )


def require_above_zero(matrix_CG: sparse.csr_array) -> None:
    """Refuse numbers for which zero does not mean that nothing was seen."""
    lowest = float(matrix_CG.data.min(initial=1.0))
    if not lowest > 0:
        raise UserError(
            "scGPT bins counts or their logarithms, in which zero means not seen",
            got=f"stored values down to {lowest:.4g}",
            remedy="name a layer that holds counts or log-normalised values with data.layer=",
        )


# Draws


def draw_from_each(
    length_B: NDArray[np.int64], take_B: NDArray[np.int64], word_T: NDArray[np.uint64]
) -> NDArray[np.bool_]:
    """Draw `take_B` of the `length_B` tokens of each cell: those with the smallest random words.

    Nothing but the words decides, so that a cell's draw is the same in whatever batch it comes.
    """
    cell_T = np.repeat(np.arange(len(length_B)), length_B)
    order_T = np.lexsort((word_T, cell_T))
    start_B = np.cumsum(length_B) - length_B
    rank_T = np.arange(len(word_T)) - start_B[cell_T]
    drawn_T = np.empty(len(word_T), bool)
    drawn_T[order_T] = rank_T < take_B[cell_T]
    return drawn_T


# To be raised with every change of what tokens are.
VERSION = 1
LEAST_VALUES = 5_000_000


def scgpt_ranges(
    folder: Path | None, matrix_CG: sparse.csr_array, n_bins: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Give `bin_ranges` of the same arguments, kept in `folder` if there is one."""
    if folder is None or matrix_CG.nnz < LEAST_VALUES:
        return bin_ranges(matrix_CG, n_bins)
    content = array_cache.digest([str(n_bins)], matrix_CG.data, matrix_CG.indptr)

    def make() -> dict[str, NDArray[Any]]:
        low_N, high_N = bin_ranges(matrix_CG, n_bins)
        return {"low": low_N, "high": high_N}

    found = array_cache.arrays(folder, json.dumps(["scgpt", VERSION, content]), make)
    return found["low"], found["high"]


def tokenizer(bins: int) -> dict[str, Any]:
    """Name what makes these tokens; a store that was made by another one is refused."""
    return {"name": "scgpt", "version": VERSION, "bins": bins, "ties": "middle"}


def block_tokens(
    genes: NDArray[np.str_], reference: NDArray[np.str_], bins: int
) -> Callable[[Cells], tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8]]]:
    """Give the function that turns blocks of cells with these genes into tokens of a reference.

    Of a block it gives how many tokens each cell has, their genes and their bins. Values are
    compared with those of the genes of the reference alone, as where a vocabulary knows no others.
    """
    at = {gene: place for place, gene in enumerate(match_keys(genes).tolist())}
    pairs = [(at[gene], k) for k, gene in enumerate(match_keys(reference).tolist()) if gene in at]
    from_K, to_K = np.array(pairs, np.int64).reshape(-1, 2).T
    selector_GR = sparse.csr_array(
        (np.ones(len(pairs), np.float32), (from_K, to_K)), shape=(len(genes), len(reference))
    )

    def tokens(cells: Cells) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8]]:
        matrix_BR = sparse.csr_array(cells.matrix_CG @ selector_GR)
        matrix_BR.sort_indices()
        bins_BR = bin_cells(matrix_BR, bins)
        return np.diff(bins_BR.indptr), bins_BR.indices.astype(np.int32), bins_BR.data

    return tokens


def require_stored_bins(rows: StoredRows, bins: int, ties: str, unknown: int) -> None:
    """Refuse a token store whose bins are not those that the model reads."""
    wanted = tokenizer(bins) | {"ties": ties}
    if rows.tokenizer != wanted:
        raise UserError(
            "a token store must hold the tokens that the model reads",
            got=f"{json.dumps(rows.tokenizer)}, not {json.dumps(wanted)}",
            remedy=f"build a store with --model scgpt --bins {bins}, and let model.ties be middle",
        )
    if unknown:
        raise UserError(
            "the vocabulary must know all genes of a token store, whose bins compare them",
            got=f"{unknown:,} of {rows.n_genes:,} that it does not know",
            remedy="build the store with --genes and a list of known genes, or use "
            "model.vocabulary=data",
        )
