"""Two arms of which only scores and the number of cells are known: p bounded from both ends."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from leadline.errors import UserError
from leadline.stats.difference import VarianceParts, checked_scores, p_difference, variance

LARGEST_F1_FACTOR = 0.385  # of F(1 - F)(2 - F)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedBounds:
    """The least and the most that p can be, and the most that cells can vary."""

    estimate: float
    p_least: float
    p_most: float
    v_cells_most: float

    @property
    def verdict(self) -> str:
        """Better or worse only if no choice of cells could undo it."""
        if self.p_most < 0.05:
            return "better" if self.estimate > 0 else "worse"
        if self.p_least < 0.05:
            return "depends on which cells each gets right"
        return "open"


def accuracy_bounds(
    scores_a: npt.ArrayLike, scores_b: npt.ArrayLike, cells: int
) -> PublishedBounds:
    """Bound p of a difference in accuracy; one number on a side has no run variance."""
    if cells < 1:
        raise UserError(
            "bounds need the number of held-out cells", got=f"{cells}", remedy="pass N, above 0"
        )
    a, b = checked_scores(scores_a), checked_scores(scores_b)
    mean_a, mean_b = float(a.mean()), float(b.mean())
    if min(a.min(), b.min()) < 0 or max(a.max(), b.max()) > 1:
        raise UserError(
            "an accuracy lies between 0 and 1",
            got=f"{a} and {b}",
            remedy="divide percentages by 100",
        )
    most = (mean_a * (1 - mean_a) + mean_b * (1 - mean_b)) / cells
    return _bounds(a, b, most, cells)


def macro_f1_bounds(
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    class_sizes_K: npt.ArrayLike,
    f1_a_K: npt.ArrayLike | None = None,
    f1_b_K: npt.ArrayLike | None = None,
) -> PublishedBounds:
    """Bound p of a difference in macro-F1; without class sizes it cannot be told."""
    sizes = np.asarray(class_sizes_K, dtype=np.float64)
    if sizes.ndim != 1 or not sizes.size or (sizes < 1).any():
        raise UserError(
            "macro-F1 is bounded by the cells of each class",
            got=f"{sizes}",
            remedy="pass the held-out cells of every class that has some",
        )
    most = sum(_macro_f1_variance(sizes, f1) for f1 in (f1_a_K, f1_b_K))
    return _bounds(checked_scores(scores_a), checked_scores(scores_b), most, int(sizes.sum()))


def _macro_f1_variance(sizes_K: npt.NDArray[np.float64], f1_K: npt.ArrayLike | None) -> float:
    factor = np.full(sizes_K.size, LARGEST_F1_FACTOR)
    if f1_K is not None:
        f1 = np.asarray(f1_K, dtype=np.float64)
        factor = f1 * (1 - f1) * (2 - f1)
    return float(2 / sizes_K.size**2 * (factor / sizes_K).sum())


def _bounds(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], most: float, cells: int
) -> PublishedBounds:
    estimate = float(a.mean() - b.mean())
    terms = [(variance(x, x) / x.size, x.size - 1) for x in (a, b) if x.size > 1]
    v_runs = sum(v for v, _ in terms)
    df = 1 / sum((v / v_runs) ** 2 / d for v, d in terms) if v_runs > 0 else math.inf
    least = abs(estimate) * (1 - abs(estimate)) / cells if v_runs == 0 else 0.0

    def p(v_cells: float) -> float:
        return p_difference(VarianceParts(
            estimate=estimate, v_runs=v_runs, df_runs=df, v_cells=v_cells, df_cells=math.inf,
            v_interaction=0.0, step=1 / cells, cells=cells, rows_a=a.size, rows_b=b.size,
        ))  # fmt: skip

    return PublishedBounds(estimate=estimate, p_least=p(least), p_most=p(most), v_cells_most=most)
