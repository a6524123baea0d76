"""Cells like Zheng68K: blood cells of eleven imbalanced, partly confusable classes.

Every molecule of a cell comes from one of three sources: the profile of its class, that of a
neighbouring class (doublets, a continuum), or a programme that all classes share (stress, cell
cycle). Shapes: B cells of one chunk, G genes, K classes, M molecules, P programmes, S sources.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data.cells.write import H5adWriter
from leadline.data.datasets.synthetic import (
    CELLS_PER_CLASS,
    CHUNK_CELLS,
    RECIPE,
    GeneTables,
    check_spread,
    check_whole,
    chunks,
    count_matrix,
    deal_classes,
    sparse_effects,
    stream,
)

# Log fold changes of the classes are multiplied by this; tuned by scripts/tune_synthetic.py so
# that L1 logistic regression with C=0.1 scores what it scores on Zheng68K, 0.81.
ZHENG_STRENGTH = 0.81

# Cells of each class among the 68,450 of Zheng68K as scBERT uses it.
SIZES = {
    "CD8+ Cytotoxic T": 20757,
    "CD8+/CD45RA+ Naive Cytotoxic": 16645,
    "CD56+ NK": 8775,
    "CD4+/CD25 T Reg": 6185,
    "CD19+ B": 5877,
    "CD4+/CD45RO+ Memory": 3059,
    "CD14+ Monocyte": 2847,
    "Dendritic": 2095,
    "CD4+/CD45RA+/CD25- Naive T": 1871,
    "CD34+": 242,
    "CD4+ T Helper2": 97,
}
CLASSES = np.array(list(SIZES))
# T cells, NK, B, myeloid and CD34+ cells: classes of one lineage share most of their profile.
LINEAGE_K = np.array([0, 0, 1, 0, 2, 0, 3, 3, 0, 4, 0])
# The two classes that each class borrows molecules from.
NEIGHBOURS_K2 = np.array(
    [[1, 5], [0, 8], [0, 0], [5, 8], [4, 4], [3, 10], [7, 7], [6, 6], [1, 3], [4, 6], [5, 3]]
)
N_PROGRAMMES = 12
MARKERS = 12
LEAST_CELLS = 100
LEAST_GENES = 50
_PARAMETERS, _CELLS = 0, 1


def write_zheng_like(
    path: str | os.PathLike[str],
    *,
    n_cells: int = 68_450,
    n_genes: int = 16_906,
    seed: int = 0,
    strength: float = ZHENG_STRENGTH,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write `n_cells` Zheng-like cells as counts with obs `celltype`; give the path.

    About 4.7 % of the counts are not zero at 16,906 genes. A cell has the same number of
    molecules at any number of genes, so fewer genes make a denser matrix.
    """
    check_whole("n_cells", n_cells, LEAST_CELLS, f"{CELLS_PER_CLASS} cells of every class")
    check_whole("n_genes", n_genes, LEAST_GENES, "the classes differ in their markers")
    check_whole("seed", seed, 0, "it seeds the random streams")
    check_spread("strength", strength)
    tables = GeneTables(_profiles_SG(n_genes, seed, strength))
    genes = [f"G{gene + 1:05d}" for gene in range(n_genes)]
    about = {"name": "zheng_like", "recipe": RECIPE, "n_cells": int(n_cells)}
    about |= {"n_genes": int(n_genes), "seed": int(seed), "strength": float(strength)}
    with H5adWriter(path, genes, dtype=np.uint16, uns={"synthetic": json.dumps(about)}) as writer:
        for chunk, size in chunks(n_cells):
            counts_BG, class_B = _draw_chunk(tables, seed, chunk)
            writer.append(counts_BG[:size], obs={"celltype": CLASSES[class_B[:size]]})
            if progress is not None:
                progress(chunk * CHUNK_CELLS + size)
    return Path(path)


def _profiles_SG(n_genes: int, seed: int, strength: float) -> NDArray[np.float64]:
    """Give relative abundances: one row per class, then one per programme."""
    rng = stream(seed, _PARAMETERS)
    n_classes = len(SIZES)
    base_G = rng.normal(-11.2, 2.05, n_genes)  # a heavy tail, like real abundances
    lineages_LG = sparse_effects(rng, (LINEAGE_K.max() + 1, n_genes), share=0.12, spread=0.9)
    classes_KG = sparse_effects(rng, (n_classes, n_genes), share=0.10, spread=0.42)
    # Markers are well expressed, but not the few genes that make up most of a cell.
    ranked = np.argsort(-base_G, kind="stable")
    candidates = ranked[round(0.003 * n_genes) : max(MARKERS, round(0.18 * n_genes)) + MARKERS]
    for effects_G in classes_KG:
        markers = rng.choice(candidates, MARKERS, replace=False)
        effects_G[markers] += rng.uniform(0.5, 1.4, MARKERS)
    programmes_PG = sparse_effects(rng, (N_PROGRAMMES, n_genes), share=0.05, spread=1.3)
    return np.exp(
        base_G + np.vstack([lineages_LG[LINEAGE_K] + strength * classes_KG, programmes_PG])
    )


def _draw_chunk(
    tables: GeneTables, seed: int, chunk: int
) -> tuple[sparse.csr_array, NDArray[np.int64]]:
    """Draw a whole chunk of cells, however many of them are wanted."""
    rng = stream(seed, _CELLS, chunk)
    n_cells = CHUNK_CELLS
    class_B = deal_classes(chunk, np.array(list(SIZES.values()), dtype=np.float64))
    molecules_B = np.clip(rng.lognormal(np.log(1235), 0.38, n_cells), 350, 8000).astype(np.int64)
    borrowed_B = 0.95 * rng.beta(0.9, 3.2, n_cells)
    shared_B = rng.beta(1.5, 6.0, n_cells)
    neighbour_B = NEIGHBOURS_K2[class_B, rng.integers(0, 2, n_cells)]
    programme_B = len(SIZES) + rng.integers(0, N_PROGRAMMES, n_cells)
    own_B = 1 - shared_B
    shares_B3 = np.stack([own_B * (1 - borrowed_B), own_B * borrowed_B, shared_B], axis=1)
    molecules_B3 = rng.multinomial(molecules_B, shares_B3)
    sources_B3 = np.stack([class_B, neighbour_B, programme_B], axis=1)
    gene_M = tables.draw(np.repeat(sources_B3.ravel(), molecules_B3.ravel()), rng)
    cell_M = np.repeat(np.arange(n_cells), molecules_B)
    return count_matrix(cell_M, gene_M, (n_cells, tables.n_genes)), class_B
