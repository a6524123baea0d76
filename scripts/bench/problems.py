"""The benchmark's data: cells like the multiple-sclerosis and the Zheng68K datasets, simulated.

Shapes: C cells, G genes, K classes, P programmes shared by classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Labelled = tuple[sparse.csr_array, NDArray[np.int64]]
ZHENG_SIZES = np.array([20757, 16645, 8775, 6185, 5877, 3059, 2847, 2095, 1871, 242, 97], float)
ZHENG_LINEAGE = np.array([0, 0, 1, 0, 2, 0, 3, 3, 0, 4, 0])  # T, NK, B, myeloid, CD34
ZHENG_NEIGHBOURS = np.array(
    [[1, 5], [0, 8], [0, 0], [5, 8], [4, 4], [3, 10], [7, 7], [6, 6], [1, 3], [4, 6], [5, 3]]
)


def sclerosis_like(cells: int, seed: int = 0) -> Labelled:
    """Return 3,000 variable genes of 18 classes, a third of the entries above zero, ln(CP10k)."""
    rng = np.random.default_rng(seed)
    genes, classes, families = 3000, 18, 6
    share_K = np.maximum(rng.dirichlet(np.full(classes, 1.2)), 0.006)
    base_G = rng.normal(-9.0, 1.3, genes)
    family_K = rng.integers(0, families, classes)
    shape = (families, genes)
    family_FG = np.where(rng.random(shape) < 0.25, rng.normal(0, 1.0, shape), 0.0)
    shape = (classes, genes)
    class_KG = np.where(rng.random(shape) < 0.08, rng.normal(0, 0.8, shape), 0.0)
    programme_PG = rng.normal(0, 1, (10, genes)) * (rng.random((10, genes)) < 0.15)
    drawn = rng.choice(classes, cells - 6 * classes, p=share_K / share_K.sum())
    labels_C = rng.permutation(np.concatenate([np.arange(classes).repeat(6), drawn]))
    strength_C1 = np.clip(rng.normal(0.8, 0.35, (cells, 1)), 0, 2)
    rate_CG = base_G + family_FG[family_K][labels_C] + class_KG[labels_C] * strength_C1
    rate_CG = np.exp(rate_CG + rng.normal(0, 0.45, (cells, 10)) @ programme_PG)
    depth_C1 = np.clip(rng.lognormal(np.log(2200), 0.5, (cells, 1)), 300, 20000)
    count_CG = rng.poisson(rate_CG / rate_CG.sum(axis=1, keepdims=True) * depth_C1)
    matrix_CG = np.log1p(1e4 * count_CG / np.maximum(count_CG.sum(axis=1, keepdims=True), 1))
    return sparse.csr_array(matrix_CG.astype(np.float32)), labels_C


def zheng_like(cells: int, seed: int = 0) -> Labelled:
    """Return 16,906 genes of 11 unequal classes, 5 % of the entries above zero, log2(1 + CP10k)."""
    rng = np.random.default_rng(seed)
    genes, classes = 16906, ZHENG_SIZES.size
    size_K = np.maximum(np.round(ZHENG_SIZES / ZHENG_SIZES.sum() * cells).astype(int), 8)
    size_K[0] += cells - size_K.sum()
    labels_C = rng.permutation(np.repeat(np.arange(classes), size_K))
    cdf_SG = _zheng_sources(rng, genes)
    depth_C = np.clip(rng.lognormal(np.log(1150), 0.38, cells), 350, 8000).astype(int)
    mixed_C = rng.beta(0.9, 3.2, cells) * 0.95  # share of a neighbouring class
    shared_C = rng.beta(1.5, 6, cells)  # share of a programme that tells nothing
    neighbour_C = ZHENG_NEIGHBOURS[labels_C, rng.integers(0, 2, cells)]
    programme_C = classes + rng.integers(0, 12, cells)
    blocks = []
    for first in range(0, cells, 4000):
        chosen = np.arange(first, min(first + 4000, cells))
        cell_U = np.repeat(chosen, depth_C[chosen])
        luck_U = rng.random(cell_U.size)
        own = shared_C[cell_U] + (1 - shared_C[cell_U]) * mixed_C[cell_U]
        source_U = np.where(luck_U < own, neighbour_C[cell_U], labels_C[cell_U])
        source_U = np.where(luck_U < shared_C[cell_U], programme_C[cell_U], source_U)
        gene_U = np.empty(cell_U.size, np.int64)
        where_U = rng.random(cell_U.size)
        for source in np.unique(source_U):
            its = source_U == source
            gene_U[its] = np.searchsorted(cdf_SG[source], where_U[its], side="right")
        ones = np.ones(cell_U.size, np.float32)
        place = (cell_U - first, np.minimum(gene_U, genes - 1))
        blocks.append(sparse.coo_array((ones, place), shape=(chosen.size, genes)).tocsr())
    matrix_CG = sparse.csr_array(sparse.vstack(blocks, format="csr"))
    total_C = np.asarray(matrix_CG.sum(axis=1)).ravel()
    scaled = 1e4 * matrix_CG.data / np.repeat(total_C, np.diff(matrix_CG.indptr))
    matrix_CG.data = np.log2(1 + scaled).astype(np.float32)
    # scikit-learn refuses wider indices.
    matrix_CG.indices = matrix_CG.indices.astype(np.int32)
    matrix_CG.indptr = matrix_CG.indptr.astype(np.int32)
    return matrix_CG, labels_C


def _zheng_sources(rng: np.random.Generator, genes: int) -> NDArray[np.float64]:
    """Return the cumulative gene distribution of each class, then of 12 shared programmes."""

    def some(rows: int, share: float, spread: float) -> NDArray[np.float64]:
        return np.where(
            rng.random((rows, genes)) < share, rng.normal(0, spread, (rows, genes)), 0.0
        )

    base_G = rng.normal(-11.2, 2.05, genes)
    class_KG = some(ZHENG_SIZES.size, 0.10, 0.42)
    well_expressed = np.argsort(-base_G)[50:3000]
    for row_G in class_KG:
        row_G[rng.choice(well_expressed, 12, replace=False)] += rng.uniform(0.5, 1.4, 12)
    source_SG = np.vstack([some(5, 0.12, 0.9)[ZHENG_LINEAGE] + class_KG, some(12, 0.05, 1.3)])
    cdf_SG = np.cumsum(np.exp(base_G + source_SG), axis=1)
    return np.asarray(cdf_SG / cdf_SG[:, -1:])
