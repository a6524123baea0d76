"""Synthetic cells whose difficulty is known: files of raw counts, of any size, from a seed.

    write_zheng_like(path, n_cells=68_450, n_genes=16_906, seed=0)
    write_ms_like(path, n_train=7_844, n_test=13_468, n_genes=3_000, n_classes=18, seed=0)

Both stream an `.h5ad` (X: counts, uint16 CSR; obs `celltype`; for MS-like also `split` and
`batch`) in bounded memory, return its path, and call `progress(cells_done)` after every chunk.
The same arguments give the same bytes until RECIPE rises, so keep it in the names of cached
files. A cell depends on its row, the seed and the shape of the genes, never on how many cells are
made: a larger set begins with the smaller one (MS-like: within each split). How the constants were
tuned, and what these cells do not resemble: docs/synthetic.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.errors import UserError

# Cells that share one random stream. Changing it changes every cell: raise RECIPE with it.
CHUNK_CELLS = 512
# Version of both recipes, stored in the files: files of one name may differ between versions.
RECIPE = 1
# Every class has this many cells whatever its share, so that any split can be stratified.
CELLS_PER_CLASS = 8

# Log fold changes beyond this make cells of a single gene.
MOST_SPREAD = 5.0

# floor(2^64 / golden ratio): steps of the Weyl sequence that deals out the classes.
_GOLDEN = np.uint64(11400714819323198485)


def stream(seed: int, *key: int) -> np.random.Generator:
    """Give the random stream of one subject (parameters, one donor, one chunk of cells)."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def chunks(n_cells: int) -> Iterator[tuple[int, int]]:
    """Give number and size of every chunk; only the last may be smaller than CHUNK_CELLS."""
    for first in range(0, n_cells, CHUNK_CELLS):
        yield first // CHUNK_CELLS, min(CHUNK_CELLS, n_cells - first)


def deal_classes(chunk: int, shares_K: NDArray[np.float64]) -> NDArray[np.int64]:
    """Give the classes of a whole chunk of cells.

    The first CELLS_PER_CLASS · K cells go round all classes. Later ones follow a Weyl sequence,
    which keeps every class within a few cells of its share in a set of any size, where
    independent draws would leave a class of 100 cells ± 10. The seed has no part in it: cells of
    one row have one class in every set.
    """
    n_classes = shares_K.size
    row_B = np.arange(chunk * CHUNK_CELLS, (chunk + 1) * CHUNK_CELLS, dtype=np.uint64)
    position_B = (row_B * _GOLDEN >> np.uint64(11)).astype(np.float64) / 2.0**53
    edges_K = np.cumsum(shares_K) / shares_K.sum()
    dealt_B = np.minimum(np.searchsorted(edges_K, position_B, side="right"), n_classes - 1)
    in_turn_B = (row_B % np.uint64(n_classes)).astype(np.int64)
    return np.where(row_B < CELLS_PER_CLASS * n_classes, in_turn_B, dealt_B)


def sparse_effects(
    rng: np.random.Generator, shape: tuple[int, int], *, share: float, spread: float
) -> NDArray[np.float64]:
    """Give normal log fold changes in a random share of the entries, zero elsewhere."""
    return np.where(rng.random(shape) < share, rng.normal(0.0, spread, shape), 0.0)


class GeneTables:
    """Alias tables (Walker 1977): one random number and two look-ups per molecule.

    Profiles are rounded to integers before the tables are built, so that the last bit of exp(),
    which differs between processors, decides nothing.
    """

    def __init__(self, profiles_SG: NDArray[np.float64]) -> None:
        self.n_genes = profiles_SG.shape[1]
        profiles_SG = profiles_SG / profiles_SG.sum(axis=1, keepdims=True)
        tables = [_alias(row_G) for row_G in np.rint(profiles_SG * 2.0**36).astype(np.int64)]
        self._accept = np.concatenate([accept_G for accept_G, _ in tables])
        self._alias = np.concatenate([alias_G for _, alias_G in tables])

    def draw(self, source_M: NDArray[np.integer], rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw the gene of every molecule from the profile of its source."""
        place_M = rng.random(source_M.size) * self.n_genes
        gene_M = place_M.astype(np.int64)
        place_M -= gene_M
        entry_M = source_M * self.n_genes + gene_M
        return np.where(place_M < self._accept[entry_M], gene_M, self._alias[entry_M])


def _alias(weights_G: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Vose's construction in exact integers: gene g keeps accept[g], the rest is alias[g]'s."""
    total = int(weights_G.sum())
    n_genes = weights_G.size
    left = [int(weight) * n_genes for weight in weights_G]
    alias = list(range(n_genes))
    small = [gene for gene in range(n_genes) if left[gene] < total]
    large = [gene for gene in range(n_genes) if left[gene] >= total]
    while small and large:
        gene, giver = small.pop(), large[-1]
        alias[gene] = giver
        left[giver] -= total - left[gene]
        if left[giver] < total:
            small.append(large.pop())
    accept_G = np.minimum(np.array(left, dtype=np.float64) / total, 1.0)
    return accept_G.astype(np.float32), np.array(alias, dtype=np.int32)


def count_matrix(
    cell_M: NDArray[np.int64], gene_M: NDArray[np.int64], shape: tuple[int, int]
) -> sparse.csr_array:
    """Count the molecules of every cell and gene; sorted, uint16 CSR.

    One sort of plain integers: several times faster than scipy's way through COO.
    """
    n_cells, n_genes = shape
    key_M = cell_M * n_genes + gene_M
    key_M.sort()
    start_N = np.flatnonzero(np.diff(key_M, prepend=-1))
    counts_N = np.diff(start_N, append=key_M.size).astype(np.uint16)
    key_N = key_M[start_N]
    indptr = np.searchsorted(key_N, np.arange(n_cells + 1) * n_genes)
    return sparse.csr_array((counts_N, key_N % n_genes, indptr), shape=shape)


def check_whole(name: str, value: int, least: int, why: str) -> None:
    """Refuse a value that is not a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise UserError(
            f"{name} must be a whole number of at least {least:,} ({why})",
            got=repr(value),
            remedy=f"pass {name}={least} or more",
        )


def check_spread(name: str, value: float) -> None:
    """Refuse a spread of log fold changes that is no number from 0 to MOST_SPREAD."""
    if not 0 <= value <= MOST_SPREAD:
        raise UserError(
            f"{name} must be a number from 0 (no difference) to {MOST_SPREAD:g}",
            got=repr(value),
            remedy="leave it out for the tuned value",
        )
