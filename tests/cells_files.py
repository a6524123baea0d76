"""Small files of cells for tests, of every layout; cells_broken has those that are refused.

Shapes: C cells, G genes.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.io
from numpy.typing import NDArray
from scipy import sparse

N_CELLS, N_GENES = 60, 120
CELL_TYPES = ("B cell", "Monocyte", "T cell")


def make_counts(n_cells: int = N_CELLS, n_genes: int = N_GENES, seed: int = 0) -> NDArray[Any]:
    """Counts with about 60 % zeros, libraries of very different size, no empty cell or gene."""
    rng = np.random.default_rng(seed)
    rates_G = rng.gamma(0.6, 1.0, n_genes) + 0.05
    sizes_C = rng.lognormal(0.0, 0.4, n_cells)
    counts_CG = rng.poisson(sizes_C[:, None] * rates_G).astype(np.float32)
    counts_CG[:, 0] += 1
    counts_CG[0] += 1
    return counts_CG


def make_obs(n_cells: int = N_CELLS) -> pd.DataFrame:
    """Cell types, donors and a split, each with every value among the first cells."""
    rows = range(n_cells)
    return pd.DataFrame(
        {
            "celltype": [CELL_TYPES[row % 3] for row in rows],
            "donor": [f"donor{row % 2}" for row in rows],
            "part": [("train", "test")[row % 4 == 0] for row in rows],
            "depth": np.linspace(0.5, 9.5, n_cells),
        },
        index=[f"cell{row}" for row in rows],
    )


def gene_symbols(n_genes: int = N_GENES) -> list[str]:
    return [f"GENE{gene}" for gene in range(n_genes)]


def ensembl_ids(n_genes: int = N_GENES, version: str = "") -> list[str]:
    return [f"ENSG{gene:011d}{version}" for gene in range(n_genes)]


def write_h5ad(
    path: Path,
    matrix_CG: Any,
    *,
    obs: pd.DataFrame | None = None,
    var: pd.DataFrame | None = None,
    layers: Mapping[str, Any] | None = None,
    raw_CG: Any = None,
) -> Path:
    """Write an AnnData file; raw, if given, has the same genes with the suffix .raw."""
    n_cells, n_genes = matrix_CG.shape
    obs = make_obs(n_cells) if obs is None else obs
    var = pd.DataFrame(index=gene_symbols(n_genes)) if var is None else var
    adata = anndata.AnnData(X=matrix_CG, obs=obs, var=var, layers=dict(layers or {}))
    if raw_CG is not None:
        raw_var = pd.DataFrame(index=[f"{gene}.raw" for gene in var.index])
        adata.raw = anndata.AnnData(X=raw_CG, obs=obs, var=raw_var)
    # Repeated names and texts that become categories are what these files are about.
    adata.strings_to_categoricals()
    adata.write_h5ad(path)
    return path


def lognorm(counts_CG: NDArray[Any], base: float = np.e, total: float = 1e4) -> NDArray[Any]:
    """Log of 1 + counts per so many, in float64."""
    per_cell = counts_CG.sum(axis=1, keepdims=True)
    return np.log1p(counts_CG / per_cell * total) / np.log(base)


def zscores(values_CG: NDArray[Any]) -> NDArray[Any]:
    return (values_CG - values_CG.mean(axis=0)) / (values_CG.std(axis=0) + 1e-9)


def write_tenx_h5(
    path: Path, counts_CG: NDArray[Any], kinds: list[str] | None = None, *, old: bool = False
) -> Path:
    """Write what Cell Ranger 3 (or, old, 2) writes; the genome of the old one is GRCh38."""
    matrix = sparse.csr_array(counts_CG)
    n_cells, n_genes = matrix.shape
    with h5py.File(path, "w") as file:
        group = file.create_group("GRCh38" if old else "matrix")
        group["data"] = matrix.data.astype(np.int32)
        group["indices"] = matrix.indices.astype(np.int64)
        group["indptr"] = matrix.indptr.astype(np.int64)
        group["shape"] = np.array([n_genes, n_cells], dtype=np.int32)
        group["barcodes"] = np.array([f"cell{row}" for row in range(n_cells)], dtype="S18")
        ids, symbols = np.array(ensembl_ids(n_genes), "S"), np.array(gene_symbols(n_genes), "S")
        if old:
            group["genes"], group["gene_names"] = ids, symbols
            return path
        group["features/id"], group["features/name"] = ids, symbols
        kinds = kinds or ["Gene Expression"] * n_genes
        group["features/feature_type"] = np.array(kinds, dtype="S")
    return path


def write_tenx_folder(folder: Path, counts_CG: NDArray[Any], *, old: bool = False) -> Path:
    """Write a folder with matrix.mtx, gzipped and with feature types unless old."""
    folder.mkdir(parents=True)
    n_cells, n_genes = counts_CG.shape
    matrix = folder / "matrix.mtx"
    scipy.io.mmwrite(matrix, sparse.coo_array(counts_CG.T.astype(np.int64)))
    lines = [
        f"{gene_id}\t{symbol}" + ("" if old else "\tGene Expression")
        for gene_id, symbol in zip(ensembl_ids(n_genes), gene_symbols(n_genes), strict=True)
    ]
    genes = folder / ("genes.tsv" if old else "features.tsv")
    genes.write_text("\n".join(lines) + "\n")
    barcodes = folder / "barcodes.tsv"
    barcodes.write_text("".join(f"cell{row}\n" for row in range(n_cells)))
    if not old:
        for part in (matrix, genes, barcodes):
            part.with_name(part.name + ".gz").write_bytes(gzip.compress(part.read_bytes()))
            part.unlink()
    return folder
