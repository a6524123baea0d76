"""Small cells in memory, for tests that need no file."""

import numpy as np
from scipy import sparse

from leadline.data.cells import Cells, Scale


def small_cells(sizes=(20, 30, 10), n_genes=40, seed=0, signal=4.0, **changes) -> Cells:
    """Counts of len(sizes) classes, each with genes of its own turned up."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    rng.shuffle(labels)
    rate = rng.gamma(1.0, 1.0, n_genes)
    factor = np.where(rng.random((len(sizes), n_genes)) < 0.2, signal, 1.0)
    counts = rng.poisson(rate * factor[labels]) + (np.arange(n_genes) == 0)
    matrix = sparse.csr_array(counts.astype(np.float32))
    n_cells = len(labels)
    fields = {
        "name": "small",
        "matrix_CG": matrix,
        "scale": Scale.COUNTS,
        "library_C": counts.sum(axis=1).astype(np.float64),
        "genes": np.array([f"G{i}" for i in range(n_genes)]),
        "ids": np.array([f"cell{i}" for i in range(n_cells)]),
        "labels_C": labels.astype(np.int32),
        "classes": tuple(f"type {k}" for k in range(len(sizes))),
    }
    return Cells(**(fields | changes))


def saved(cells, path, *, obsm=None, label="celltype", batch=None):
    """Write cells to an .h5ad and give its path."""
    import anndata
    import pandas as pd

    obs = pd.DataFrame(index=cells.ids.tolist())
    if cells.labels_C is not None:
        names = np.array(cells.classes)[cells.labels_C]
        obs[label] = pd.Categorical(names)
    if batch is not None:
        obs["protocol"] = pd.Categorical(batch)
    var = pd.DataFrame(index=cells.genes.tolist())
    anndata.AnnData(X=cells.matrix_CG, obs=obs, var=var, obsm=obsm).write_h5ad(path)
    return path
