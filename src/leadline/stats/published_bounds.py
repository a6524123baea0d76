"""Two arms of which only scores and the number of cells are known: p bounded from both ends."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from leadline.errors import UserError
from leadline.stats.difference import (
    VarianceParts,
    checked_scores,
    p_above_lower,
    p_below_upper,
    p_difference,
    variance,
)
from leadline.stats.t_tests import Summary

LARGEST_F1_FACTOR = 0.385  # of F(1 - F)(2 - F)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedBounds:
    """The least and the most that p can be, and the most that cells can vary.

    `least` and `most` hold the same difference with the least and the most variance over cells.
    """

    estimate: float
    p_least: float
    p_most: float
    v_cells_most: float
    least: VarianceParts
    most: VarianceParts

    @property
    def verdict(self) -> str:
        """Better or worse only if no choice of cells could undo it."""
        if self.p_most < 0.05:
            return "better" if self.estimate > 0 else "worse"
        if self.p_least < 0.05:
            return "depends on which cells each gets right"
        return "open"

    def p_equivalent(self, margin: float) -> tuple[float, float]:
        """Give the least and the most that p of equivalence within a margin can be."""
        ends = [
            max(p_above_lower(parts, margin), p_below_upper(parts, margin))
            for parts in (self.least, self.most)
        ]
        # Of a difference beyond the margin, more variance makes the p of equivalence smaller.
        return min(ends), max(ends)


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
    most = accuracy_variance(mean_a, cells) + accuracy_variance(mean_b, cells)
    return bounds(_summary(a), _summary(b), most, cells)


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
    most = sum(macro_f1_variance(sizes, f1) for f1 in (f1_a_K, f1_b_K))
    a, b = checked_scores(scores_a), checked_scores(scores_b)
    return bounds(_summary(a), _summary(b), most, int(sizes.sum()))


def accuracy_variance(mean: float, cells: int) -> float:
    """Give the most that an accuracy can vary over fresh cells."""
    return mean * (1 - mean) / cells


def macro_f1_variance(class_sizes_K: npt.ArrayLike, f1_K: npt.ArrayLike | None = None) -> float:
    """Give the most that a macro-F1 can vary over fresh cells of classes of these sizes."""
    sizes_K = np.asarray(class_sizes_K, dtype=np.float64)
    factor = np.full(sizes_K.size, LARGEST_F1_FACTOR)
    if f1_K is not None:
        f1 = np.asarray(f1_K, dtype=np.float64)
        factor = f1 * (1 - f1) * (2 - f1)
    return float(2 / sizes_K.size**2 * (factor / sizes_K).sum())


def _summary(scores_R: npt.NDArray[np.float64]) -> Summary:
    sd = math.sqrt(variance(scores_R, scores_R)) if scores_R.size > 1 else 0.0
    return Summary(float(scores_R.mean()), sd, scores_R.size)


def bounds(
    a: Summary, b: Summary, v_cells_most: float, cells: int, step: float | None = None
) -> PublishedBounds:
    """Bound p of a difference by the most that cells can vary; n = 1 is a number without luck.

    Parameters
    ----------
    step
        The most that one cell can move the metric; of accuracy, 1 of all cells.
    """
    estimate = a.mean - b.mean
    terms = [(arm.sd**2 / arm.n, arm.n - 1) for arm in (a, b) if arm.n > 1]
    v_runs = sum(v for v, _ in terms)
    df = 1 / sum((v / v_runs) ** 2 / d for v, d in terms) if v_runs > 0 else math.inf
    v_least = abs(estimate) * (1 - abs(estimate)) / cells if v_runs == 0 else 0.0
    least, most = (
        VarianceParts(
            estimate=estimate, v_runs=v_runs, df_runs=df, v_cells=v_cells, df_cells=math.inf,
            v_interaction=0.0, step=step or 1 / cells, cells=cells, rows_a=a.n, rows_b=b.n,
        )
        for v_cells in (v_least, v_cells_most)
    )  # fmt: skip
    return PublishedBounds(
        estimate=estimate,
        p_least=p_difference(least),
        p_most=p_difference(most),
        v_cells_most=v_cells_most,
        least=least,
        most=most,
    )
