"""Cells like the multiple sclerosis set: many classes, donors, and a test part that is shifted.

Training cells come from healthy donors, test cells from patients, whose genes are shifted by the
disease and by the donor. Shapes: B cells of one chunk, D donors, F families of classes, G genes,
K classes, P programmes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data.cells.write import H5adWriter
from leadline.data.datasets.synthetic import (
    CELLS_PER_CLASS,
    CHUNK_CELLS,
    RECIPE,
    check_spread,
    check_whole,
    chunks,
    deal_classes,
    sparse_effects,
    stream,
)

# Log fold changes of the classes are multiplied by MS_STRENGTH; MS_SHIFT is the spread of the
# disease's log fold changes. Tuned by scripts/tune_synthetic.py so that L1 logistic regression
# scores about 0.81 on the test part.
MS_STRENGTH = 0.45
MS_SHIFT = 0.8
# Spread of the log fold changes of the disease in one class, relative to MS_SHIFT.
RESPONSE = 0.5
# Spread of the log fold changes of a donor.
DONOR_SPREAD = 0.08
# As many as the paper has: nine healthy donors train, twelve patients test.
DONORS = {
    "train": [f"healthy{d + 1}" for d in range(9)],
    "test": [f"patient{d + 1}" for d in range(12)],
}
N_PROGRAMMES = 10
LEAST_GENES = 50
_PARAMETERS, _CELLS = 0, 1


def write_ms_like(
    path: str | os.PathLike[str],
    *,
    n_train: int = 7_844,
    n_test: int = 13_468,
    n_genes: int = 3_000,
    n_classes: int = 18,
    seed: int = 0,
    strength: float = MS_STRENGTH,
    shift: float = MS_SHIFT,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write MS-like cells as counts with obs `celltype`, `split` and `batch`; give the path.

    All training cells come first. `batch` is the donor; no donor is in both parts.
    """
    check_whole("n_classes", n_classes, 2, "a classifier chooses between classes")
    least = CELLS_PER_CLASS * int(n_classes)
    check_whole("n_train", n_train, least, f"{CELLS_PER_CLASS} cells of every class")
    check_whole("n_test", n_test, least, f"{CELLS_PER_CLASS} cells of every class")
    check_whole("n_genes", n_genes, LEAST_GENES, "the classes differ in some of them")
    check_whole("seed", seed, 0, "it seeds the random streams")
    check_spread("strength", strength)
    check_spread("shift", shift)
    tissue = _Tissue.draw(n_genes, n_classes, seed, strength, shift)
    genes = [f"G{gene + 1:05d}" for gene in range(n_genes)]
    about = {"name": "ms_like", "recipe": RECIPE, "n_train": int(n_train), "n_test": int(n_test)}
    about |= {"n_genes": int(n_genes), "n_classes": int(n_classes), "seed": int(seed)}
    about |= {"strength": float(strength), "shift": float(shift)}
    done = 0
    with H5adWriter(path, genes, dtype=np.uint16, uns={"synthetic": json.dumps(about)}) as writer:
        for part, n_cells in (("train", n_train), ("test", n_test)):
            for chunk, size in chunks(n_cells):
                counts_BG, obs = tissue.draw_chunk(part, seed, chunk)
                writer.append(counts_BG[:size], {name: b[:size] for name, b in obs.items()})
                done += size
                if progress is not None:
                    progress(done)
    return Path(path)


@dataclass(frozen=True, slots=True)
class _Tissue:
    """What all cells of one set share."""

    shares_K: NDArray[np.float64]
    base_G: NDArray[np.float64]
    families_KG: NDArray[np.float64]
    classes_KG: NDArray[np.float64]
    programmes_PG: NDArray[np.float64]
    responses_KG: NDArray[np.float64]
    donors: dict[str, NDArray[np.float64]]

    @classmethod
    def draw(
        cls, n_genes: int, n_classes: int, seed: int, strength: float, shift: float
    ) -> _Tissue:
        rng = stream(seed, _PARAMETERS)
        shares_K = np.array([1 / (k + 2) for k in range(n_classes)])
        base_G = rng.normal(-9.0, 1.3, n_genes)
        n_families = max(3, n_classes // 3)
        family_K = np.arange(n_classes) % n_families
        families_FG = sparse_effects(rng, (n_families, n_genes), share=0.25, spread=1.0)
        classes_KG = sparse_effects(rng, (n_classes, n_genes), share=0.08, spread=0.8)
        programmes_PG = rng.normal(0.0, 1.0, (N_PROGRAMMES, n_genes))
        programmes_PG *= rng.random((N_PROGRAMMES, n_genes)) < 0.15
        disease_G = sparse_effects(rng, (1, n_genes), share=0.5, spread=shift)
        donors = {
            part: rng.normal(0.0, DONOR_SPREAD, (len(names), n_genes))
            for part, names in DONORS.items()
        }
        donors["test"] += disease_G
        responses_KG = rng.normal(0.0, RESPONSE * shift, (n_classes, n_genes))
        return cls(
            shares_K,
            base_G,
            families_FG[family_K],
            strength * classes_KG,
            programmes_PG,
            responses_KG,
            donors,
        )

    def draw_chunk(
        self, part: str, seed: int, chunk: int
    ) -> tuple[sparse.csr_array, dict[str, NDArray[np.str_]]]:
        """Draw a whole chunk of one part, however many of its cells are wanted."""
        rng = stream(seed, _CELLS, list(DONORS).index(part), chunk)
        class_B = deal_classes(chunk, self.shares_K)
        donor_B = rng.integers(0, len(DONORS[part]), CHUNK_CELLS)
        typical_B = np.clip(rng.normal(0.8, 0.35, CHUNK_CELLS), 0, 2)
        activity_BP = rng.normal(0.0, 0.45, (CHUNK_CELLS, N_PROGRAMMES))
        molecules_B = np.clip(rng.lognormal(np.log(2200), 0.5, CHUNK_CELLS), 300, 20000)
        mean_BG = self.classes_KG[class_B] * typical_B[:, None]
        mean_BG += self.base_G + self.families_KG[class_B]
        mean_BG += activity_BP @ self.programmes_PG
        mean_BG += self.donors[part][donor_B]
        if part == "test":
            mean_BG += self.responses_KG[class_B]
        np.exp(mean_BG, out=mean_BG)
        mean_BG *= (molecules_B / mean_BG.sum(axis=1))[:, None]
        counts_BG = sparse.csr_array(rng.poisson(mean_BG).astype(np.uint16))
        width = len(str(self.shares_K.size))
        names_K = np.array([f"type_{k + 1:0{width}d}" for k in range(self.shares_K.size)])
        obs = {
            "celltype": names_K[class_B],
            "split": np.full(CHUNK_CELLS, part),
            "batch": np.array(DONORS[part])[donor_B],
        }
        return counts_BG, obs
