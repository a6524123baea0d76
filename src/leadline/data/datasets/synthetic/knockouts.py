"""A screen whose law is known: knock-outs that act through what a vector of each gene tells.

Each gene has a factor z of a few numbers. Knocking it out changes the log rate of every gene by
`strength` · z · W, by a shift that all perturbed cells share, and lowers its own expression.
Batches have effects of their own. With `coexpression` control cells vary along the same factors,
so that vectors learnt from control cells can know the law; without it they cannot.

Shapes: C cells, G genes, P perturbations, K factors, B batches.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data.cells.write import H5adWriter
from leadline.errors import UserError

Array = NDArray[np.float64]
OWN_DROP = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedScreen:
    """Cells and the law behind them; `factors_GK` are the vectors that know it."""

    counts_CG: sparse.csr_array
    perturbation_C: NDArray[np.str_]
    batch_C: NDArray[np.str_]
    genes_G: NDArray[np.str_]
    factors_GK: Array


def planted_screen(
    *,
    perturbations: int = 120,
    genes: int = 200,
    cells: int = 40,
    control_cells: int = 600,
    batches: int = 2,
    factors: int = 4,
    strength: float = 0.5,
    shared_shift: float = 0.2,
    coexpression: float = 0.0,
    batch_effect: float = 0.1,
    doubles: int = 0,
    depth: float = 3.0,
    seed: int = 0,
) -> PlantedScreen:
    """Draw a screen; `strength=0` plants nothing, so that no vectors can know anything."""
    if perturbations > genes:
        raise UserError(
            "each perturbed gene is one of the genes",
            got=f"{perturbations} perturbations of {genes} genes",
            remedy="draw more genes",
        )
    rng = np.random.default_rng(seed)
    z_GK = rng.normal(size=(genes, factors))
    w_KG = rng.normal(size=(factors, genes)) / np.sqrt(factors)
    shift_G = shared_shift * rng.normal(size=genes)
    effect_BG = batch_effect * rng.normal(size=(batches, genes))
    base_G = np.log(depth * rng.gamma(2.0, 0.5, genes) + 0.2)
    names = np.array([f"G{at:04d}" for at in range(genes)])
    alone_PG = strength * z_GK[:perturbations] @ w_KG
    alone_PG[np.arange(perturbations), np.arange(perturbations)] -= OWN_DROP
    pairs = rng.permutation(perturbations)[: 2 * doubles].reshape(-1, 2)
    both_QG = alone_PG[pairs[:, 0]] + alone_PG[pairs[:, 1]]
    words = [*names[:perturbations].tolist(), *("+".join(names[pair]) for pair in pairs)]
    law_PG = np.vstack([np.zeros((1, genes)), np.vstack([alone_PG, both_QG]) + shift_G])
    sizes = np.full(len(law_PG), cells)
    sizes[0] = control_cells
    label_C = np.repeat(np.arange(len(law_PG)), sizes)
    batch_C = np.arange(len(label_C)) % batches
    state_CK = rng.normal(size=(len(label_C), factors))
    log_CG = base_G + law_PG[label_C] + effect_BG[batch_C]
    log_CG += coexpression * state_CK @ z_GK.T
    counts_CG = rng.poisson(np.exp(np.minimum(log_CG, 7.0)))
    counts_CG[counts_CG.sum(axis=1) == 0, 0] = 1
    return PlantedScreen(
        counts_CG=sparse.csr_array(counts_CG.astype(np.float32)),
        perturbation_C=np.array(["control", *words])[label_C],
        batch_C=np.array([f"batch{at + 1}" for at in range(batches)])[batch_C],
        genes_G=names,
        factors_GK=z_GK,
    )


def write_planted(folder: str | os.PathLike[str], screen: PlantedScreen) -> tuple[Path, Path]:
    """Write `screen.h5ad` (columns perturbation, batch) and `vectors.npz`, which know the law."""
    cells, vectors = Path(folder) / "screen.h5ad", Path(folder) / "vectors.npz"
    with H5adWriter(cells, screen.genes_G, dtype=np.uint16) as writer:
        writer.append(
            screen.counts_CG,
            obs={"perturbation": screen.perturbation_C, "batch": screen.batch_C},
        )
    np.savez(vectors, genes=screen.genes_G, vectors=screen.factors_GK)
    return cells, vectors
