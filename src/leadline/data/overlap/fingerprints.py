"""A cell in a few numbers that do not depend on the order of its genes.

Counts become one hash of 64 bits: equal for equal counts, and for others by chance once in 10^19
pairs. The most expressed genes, each with its level (1 for the least value among them, 2 for the
next), become a MinHash signature: two signatures agree in the share of their numbers that the two
sets of (gene, level) have in common, and any scale that keeps the order of values within a cell
leaves it as it is.

Shapes: C cells, N stored values of all cells, S shared genes, H hash functions, B bands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.stats.jit import compiled

# So many genes with counts make a cell that two experiments do not share by chance.
FEWEST_EXPRESSED = 50
# The set of most expressed genes: at most so many. No cell is judged by fewer than the least, nor
# by values that hardly differ: which genes are on at all is shared by too many cells of a type.
TOP_GENES, FEWEST_TOP, FEWEST_LEVELS = 200, 20, 3
N_HASHES = 128
# Candidates agree in all numbers of a band: 0.9 alike are found with p = 0.9998, 0.3 hardly ever.
BANDS = 16
# Higher levels count as this one.
MOST_LEVELS = 256
# Values closer than this are ties that rounding has parted.
TIE = 1e-5
LARGEST_COUNT = 2.0**53


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedValues:
    """The positive values of cells on the shared genes, row after row."""

    values_N: NDArray[np.float32]
    genes_N: NDArray[np.int64]
    indptr: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indptr) - 1


def on_shared(matrix_CG: sparse.csr_array, place_G: NDArray[np.int64]) -> SharedValues:
    """Keep the positive values of genes that have a place among the shared ones."""
    genes_N = place_G[matrix_CG.indices]
    kept_N = (genes_N >= 0) & (matrix_CG.data > 0) & np.isfinite(matrix_CG.data)
    running = np.concatenate([[0], np.cumsum(kept_N)])
    return SharedValues(
        values_N=matrix_CG.data[kept_N].astype(np.float32),
        genes_N=genes_N[kept_N],
        indptr=running[matrix_CG.indptr],
    )


def count_hashes(
    cells: SharedValues, word_S: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Give a hash of the integer counts of each cell, and which cells have genes enough to tell."""
    counts_N = np.minimum(np.rint(cells.values_N.astype(np.float64)), LARGEST_COUNT)
    # A sum does not know the order of its parts; unsigned numbers wrap around, which does no harm.
    with np.errstate(over="ignore"):
        part_N = mixed(word_S[cells.genes_N] + mixed(counts_N.astype(np.uint64)))
    # What rounds to no count is no expression.
    part_N[counts_N == 0] = 0
    running = np.concatenate([[np.uint64(0)], np.cumsum(part_N, dtype=np.uint64)])
    expressed = np.concatenate([[0], np.cumsum(counts_N > 0)])
    hash_C: NDArray[np.uint64] = running[cells.indptr[1:]] - running[cells.indptr[:-1]]
    return hash_C, np.diff(expressed[cells.indptr]) >= FEWEST_EXPRESSED


def gene_words(n_genes: int, seed: int = 0) -> NDArray[np.uint64]:
    """Give each shared gene a random number of 64 bits."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2**64 - 1, n_genes, dtype=np.uint64, endpoint=True)


def mixed(word_N: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scatter the bits of numbers, one to one (the finaliser of splitmix64)."""
    with np.errstate(over="ignore"):
        word_N = word_N + np.uint64(0x9E3779B97F4A7C15)
        word_N = (word_N ^ (word_N >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word_N = (word_N ^ (word_N >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        scattered: NDArray[np.uint64] = word_N ^ (word_N >> np.uint64(31))
    return scattered


@dataclass(frozen=True, slots=True)
class HashTables:
    """Random numbers of each hash function for each shared gene, and for each level."""

    gene_SH: NDArray[np.uint32]
    level_LH: NDArray[np.uint32]


def hash_tables(n_genes: int, seed: int = 1) -> HashTables:
    """Draw the hash functions: of a gene and a level the two numbers are taken together by XOR."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(
        0, 2**32 - 1, (n_genes + MOST_LEVELS, N_HASHES), dtype=np.uint32, endpoint=True
    )
    return HashTables(numbers[:n_genes], numbers[n_genes:])


def minhashes(
    cells: SharedValues, tables: HashTables
) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """Give the signature of each cell's most expressed genes, and which cells have enough."""
    signature_CH = np.full((len(cells), N_HASHES), np.iinfo(np.uint32).max, np.uint32)
    sizes_C, levels_C = np.zeros((2, len(cells)), np.int64)
    sign(cells.values_N, cells.genes_N, cells.indptr, tables.gene_SH, tables.level_LH, TOP_GENES,
         TIE, signature_CH, sizes_C, levels_C)  # fmt: skip
    return signature_CH, (sizes_C >= FEWEST_TOP) & (levels_C >= FEWEST_LEVELS)


def band_keys(signature_CH: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Give one number for each band of each signature."""
    bands_CBR = signature_CH.reshape(len(signature_CH), BANDS, N_HASHES // BANDS).astype(np.uint64)
    key_CB = np.zeros(bands_CBR.shape[:2], np.uint64)
    for row in range(bands_CBR.shape[2]):
        with np.errstate(over="ignore"):
            key_CB = mixed(key_CB + bands_CBR[:, :, row])
    return key_CB


@compiled
def sign(values_N, genes_N, indptr, gene_SH, level_LH, most, tie, signature_CH, sizes_C, levels_C):  # type: ignore[no-untyped-def]
    """Fill signatures of the most expressed genes with their levels, and how many there are.

    A set holds all genes of one value or none, so that ties do not decide: the largest values that
    make at most `most` genes; or those of the largest value, where these alone are more.
    """
    for cell in range(len(indptr) - 1):
        start, end = indptr[cell], indptr[cell + 1]
        if end == start:
            continue
        value_M = values_N[start:end]
        above = 0.0
        if end - start > most:
            place = end - start - most - 1
            above = np.partition(value_M.copy(), place)[place] * (1 + tie)
            largest = value_M.max()
            if not largest > above:
                above = largest * (1 - 2 * tie)
        chosen = np.flatnonzero(value_M > above)
        sizes_C[cell] = len(chosen)
        level, below = -1, 0.0
        for at in chosen[np.argsort(value_M[chosen])]:
            if value_M[at] > below * (1 + tie):
                level = min(level + 1, len(level_LH) - 1)
            below = value_M[at]
            gene = genes_N[start + at]
            levels_C[cell] = level + 1
            for h in range(gene_SH.shape[1]):
                number = gene_SH[gene, h] ^ level_LH[level, h]
                signature_CH[cell, h] = min(signature_CH[cell, h], number)


@compiled
def most_alike(signature_CH, low_CB, high_CB, order_BT, target_TH, best_T):  # type: ignore[no-untyped-def]
    """Raise the best agreement of each target by that with these cells.

    `low_CB` and `high_CB` bound, in the order of each band, the targets that share it with a cell.
    """
    n_hashes = target_TH.shape[1]
    for cell in range(len(signature_CH)):
        for band in range(low_CB.shape[1]):
            for at in range(low_CB[cell, band], high_CB[cell, band]):
                target = order_BT[band, at]
                if best_T[target] >= 1:
                    continue
                same = 0
                for h in range(n_hashes):
                    if signature_CH[cell, h] == target_TH[target, h]:
                        same += 1
                best_T[target] = max(best_T[target], same / n_hashes)
