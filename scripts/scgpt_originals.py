"""What the original makes of cells on the way to its network: what ours is compared with.

Legend: C cells, G genes, N stored values, Q edges of a cell, L padded length.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.models.scgpt.tokens import PAD_VALUE, fill


def cell_edges(matrix_CG: sparse.csr_array, n_bins: int) -> NDArray[np.float64]:
    """Give the edges of each cell, shape (C, n_bins), the first of them 0; an empty cell has 0s."""
    edges_CQ = np.zeros((matrix_CG.shape[0], n_bins))
    low_N, high_N = np.empty(matrix_CG.nnz, np.uint8), np.empty(matrix_CG.nnz, np.uint8)
    fill(matrix_CG, n_bins, low_N, high_N, edges_CQ)
    return edges_CQ


def truncate_as_original(
    length: int, max_length: int, rng: np.random.RandomState
) -> NDArray[np.int64]:
    """Give the places of one cell's tokens that the original keeps; place 0 is `<cls>`."""
    if length <= max_length:
        return np.arange(length)
    return np.insert(rng.choice(length - 1, max_length - 1, replace=False) + 1, 0, 0)


def padded_tokens(
    bins_CG: sparse.csr_array,
    gene_ids_G: NDArray[np.int64],
    *,
    cls_id: int,
    pad_id: int,
    max_length: int,
    all_genes: bool = False,
    rng: np.random.RandomState | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Give gene ids and values of shape (C, L), `<cls>` first, padded to the longest cell.

    A generator truncates as the original does; without one a cell must not be too long.
    """
    n_cells, n_genes = bins_CG.shape
    if all_genes:
        length_C = np.full(n_cells, n_genes + 1)
        gene_N, value_N = np.tile(np.arange(n_genes), n_cells), bins_CG.toarray().ravel()
    else:
        length_C = np.diff(bins_CG.indptr).astype(np.int64) + 1
        gene_N, value_N = bins_CG.indices, bins_CG.data
    width = int(length_C.max(initial=1))
    ids_CL = np.full((n_cells, width), pad_id, np.int64)
    values_CL = np.full((n_cells, width), PAD_VALUE, np.float32)
    there_CL = np.arange(width) < length_C[:, None]
    ids_CL[:, 0], values_CL[:, 0] = cls_id, 0
    there_CL[:, 0] = False
    ids_CL[there_CL], values_CL[there_CL] = gene_ids_G[gene_N], value_N
    if width <= max_length:
        return ids_CL, values_CL
    assert rng is not None, "cells are longer than max_length"
    kept_CL = np.tile(np.arange(max_length), (n_cells, 1))
    for cell in np.flatnonzero(length_C > max_length):
        kept_CL[cell] = truncate_as_original(int(length_C[cell]), max_length, rng)
    return np.take_along_axis(ids_CL, kept_CL, 1), np.take_along_axis(values_CL, kept_CL, 1)
