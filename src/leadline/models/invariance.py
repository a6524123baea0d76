"""Whether what a model says of a cell depends on the cells and genes that it comes with.

Shapes: C cells, W numbers of each answer (probabilities, or a vector).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data.cells import Cells

Ask = Callable[[Cells], NDArray[np.floating]]
# Products of matrices are rounded otherwise in batches of another size: this share of the largest
# number is no dependence.
ROUNDING = 1e-4
FEWEST_CELLS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependence:
    """How far answers moved under one change: `labels` is the share of cells called otherwise.

    Of vectors, which call nothing, it is the share of cells whose vector moved.
    """

    changed: str
    labels: float
    largest: float
    found: bool

    def line(self) -> str:
        """Say it in a line."""
        verb = "changes" if self.found else "does not change"
        return (
            f"{self.changed}: {verb} the answer ({self.labels:.0%} of the cells, "
            f"by up to {self.largest:.2g})"
        )


def dependences(
    ask: Ask, cells: Cells, *, seed: int = 0, vectors: bool = False, genes: bool = False
) -> list[Dependence]:
    """Ask about the same cells in other company, and compare.

    Half of the cells are looked at; the others are their batch mates. With `genes` the model can be
    asked about fewer genes as well, in another order. Where the same question has two answers, only
    that is told.
    """
    assert len(cells) >= FEWEST_CELLS
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(cells))
    third = max(1, len(cells) // 3)
    looked_at, mates, others = rows[:third], rows[third : 2 * third], rows[2 * third : 3 * third]
    together = np.concatenate([looked_at, mates])
    first = np.asarray(ask(cells.take(together)))
    scale = float(np.abs(first).max(initial=1e-12)) if vectors else 1.0

    def compare(changed: str, asked: Cells, places: NDArray[np.integer]) -> Dependence:
        """Ask again; `places` are the rows of the cells that are looked at."""
        answer = np.asarray(ask(asked))[places]
        before = first[: len(places)]
        away_C = np.abs(answer - before).max(axis=1) / scale
        if vectors:
            labels = float((away_C > ROUNDING).mean())
        else:
            labels = float((answer.argmax(axis=1) != before.argmax(axis=1)).mean())
        largest = float(away_C.max())
        return Dependence(changed=changed, labels=labels, largest=largest, found=largest > ROUNDING)

    same = np.arange(third)
    found = [compare("the same question again", cells.take(together), same)]
    if found[0].found:
        return found
    shuffled = rng.permutation(len(together))
    where = np.argsort(shuffled)[:third]
    found += [
        compare("order of the cells", cells.take(together[shuffled]), where),
        compare("batch mates", cells.take(np.concatenate([looked_at, others])), same),
        compare("size of the batch", cells.take(looked_at), same),
        compare("a cell alone", cells.take(looked_at[:1]), same[:1]),
    ]
    if genes:
        asked = cells.take(together)
        silent_G = np.asarray(asked.matrix_CG.sum(axis=0)).ravel() == 0
        order = rng.permutation(asked.matrix_CG.shape[1])
        found += [
            compare("genes that no cell expresses", with_silent_genes(asked, silent_G), same),
            compare("order of the genes", with_genes(asked, order), same),
        ]
    return found


def with_genes(cells: Cells, columns: NDArray[np.integer]) -> Cells:
    """Keep these genes, in this order; library sizes stay those of all."""
    matrix = sparse.csr_array(cells.matrix_CG[:, columns])
    matrix.sort_indices()
    return replace(cells, matrix_CG=matrix, genes=cells.genes[columns])


def with_silent_genes(cells: Cells, silent_G: NDArray[np.bool_]) -> Cells:
    """Take away the genes that nobody expresses; where there are none, add as many as there are."""
    if silent_G.any():
        return with_genes(cells, np.flatnonzero(~silent_G))
    n_genes = len(cells.genes)
    shape = (len(cells), 2 * n_genes)
    matrix = cells.matrix_CG
    wider = sparse.csr_array((matrix.data, matrix.indices, matrix.indptr), shape=shape)
    names = np.array([*cells.genes.tolist(), *(f"absent-{i}" for i in range(n_genes))])
    return replace(cells, matrix_CG=wider, genes=names)
