"""Two sets of predictions on the same cells: McNemar's test.

It speaks of these two trained models on fresh cells, not of fresh seeds: a difference found here
may be one lucky run. Letters: C cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.stats

from leadline.errors import UserError
from leadline.stats.inputs import Array

EXACT_DISCORDANT = 25


@dataclass(frozen=True, slots=True)
class McNemar:
    """Counts of cells that only one model got right, and the two-sided p."""

    only_a_right: int
    only_b_right: int
    cells: int
    estimate: float
    statistic: float
    p: float
    method: str


def mcnemar(
    y_true_C: npt.ArrayLike, y_pred_a_C: npt.ArrayLike, y_pred_b_C: npt.ArrayLike
) -> McNemar:
    """McNemar's test that both models are right equally often; the estimate is a - b in accuracy.

    Exact binomial below 25 cells on which exactly one is right, else chi-square with continuity
    correction. Refuses models that are right on the same cells: there is nothing to test.
    """
    truth_C, (a_C, b_C) = prediction_arrays(y_true_C, [y_pred_a_C, y_pred_b_C])
    right_a, right_b = a_C == truth_C, b_C == truth_C
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    discordant = only_a + only_b
    if discordant == 0:
        raise UserError(
            "McNemar's test needs cells that only one model gets right",
            got=f"0 of {truth_C.size:,}",
            remedy="check that these are not one run read twice; report the accuracies as equal",
        )
    if discordant < EXACT_DISCORDANT:
        statistic = float(min(only_a, only_b))
        p = float(scipy.stats.binomtest(only_a, discordant, 0.5).pvalue)
        method = "exact binomial"
    else:
        statistic = max(0, abs(only_a - only_b) - 1) ** 2 / discordant
        p = float(scipy.stats.chi2.sf(statistic, 1))
        method = "chi-square, continuity corrected"
    estimate = (only_a - only_b) / truth_C.size
    return McNemar(only_a, only_b, truth_C.size, estimate, statistic, p, method)


def prediction_arrays(
    y_true_C: npt.ArrayLike, y_pred_RC: Sequence[npt.ArrayLike] | Array
) -> tuple[Array, list[Array]]:
    """Check that every run predicts every cell; labels may be codes or names."""
    truth_C = np.asarray(y_true_C)
    runs_RC = [np.asarray(run) for run in y_pred_RC]
    if truth_C.ndim != 1 or truth_C.size == 0:
        raise UserError(
            "y_true must hold one label per cell",
            got=f"shape {truth_C.shape}",
            remedy="pass the labels of one split",
        )
    for run_C in runs_RC:
        if run_C.shape != truth_C.shape:
            raise UserError(
                "predictions must match cells",
                got=f"predictions of shape {run_C.shape} for {truth_C.size:,} cells",
                remedy="read both from the same split of the same record",
            )
    for labels in (truth_C, *runs_RC):
        if labels.dtype.kind == "f" and not np.isfinite(labels).all():
            raise UserError(
                "labels must not be missing",
                got=f"{int((~np.isfinite(labels)).sum())} NaN",
                remedy="drop unlabelled cells before the comparison",
            )
    return truth_C, runs_RC
