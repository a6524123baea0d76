"""The difference of two arms over fresh runs and fresh cells at once: interval, p, equivalence.

The half-width is the hypotenuse of two half-widths: Welch's (or the paired t's) over the runs, and
that over the cells, or over the donors where that one is larger. Each bracket alone is a valid t
interval for its own share of the variance, and so their sum of squares covers at least at its level
whatever the shares are, at every level. p is the level at which the interval ends at 0.

Shapes: R rows (runs, or labelled subsets), U units (cells), D donors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtri, stdtrit

from leadline.errors import UserError
from leadline.stats.influence import (
    RELATIVE_ZERO,
    Floats,
    Influences,
    interaction_variance,
)

LEAST_P = 1e-60  # below it quantiles of t overflow
LEAST_CELL_DF, LEAST_DONOR_DF = 2.0, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VarianceParts:
    """An estimated difference a - b, its variances and their degrees of freedom.

    A variance of 0 has df inf: there is no such part. `v_runs_a`, `v_runs_b` and the interactions
    of the arms are 0 where runs are paired, and `v_runs` and `v_interaction` are of differences.
    """

    estimate: float
    v_runs: float
    df_runs: float
    v_cells: float
    df_cells: float
    v_interaction: float
    v_donors: float = 0.0
    df_donors: float = math.inf
    step: float
    cells: int
    rows_a: int
    rows_b: int
    donors: int = 0
    paired: bool = False
    v_runs_a: float = 0.0
    v_runs_b: float = 0.0
    v_interaction_a: float = 0.0
    v_interaction_b: float = 0.0

    @property
    def v_competence(self) -> float:
        """Variance over cells without the noise that sits in the runs' variance already."""
        return max(self.v_cells - self.v_interaction, 0.0)

    @property
    def nothing_varies(self) -> bool:
        """Whether no part has any variance: no call differs, as far as these cells tell."""
        return self.v_runs == 0 and self.v_competence == 0 and self.v_donors == 0


def parts(a: Influences, b: Influences, *, paired: bool = False) -> VarianceParts:
    """Estimate the difference of two arms on the same cells, and the variances of the estimate.

    Parameters
    ----------
    paired
        Row r of both arms shares its seed and the labelled subset that the seed draws.

    Raises
    ------
    UserError
        When the arms were not scored by one metric on the same cells, or cannot be paired.
    """
    _refuse_unlike(a, b)
    if paired and a.rows != b.rows:
        raise UserError(
            "paired runs come in pairs",
            got=f"{a.rows} and {b.rows} runs",
            remedy="leave out the runs without a partner, or compare them unpaired",
        )
    if paired and a.rows > 1:
        runs = _paired_runs(a, b)
    else:
        runs = _separate_runs(a, b)
    v_cells, df_cells = _over_cells(a, b)
    v_donors, df_donors = _over_donors(a, b)
    return VarianceParts(
        estimate=float(a.scores_R.mean() - b.scores_R.mean()),
        v_cells=v_cells,
        df_cells=df_cells,
        v_donors=v_donors,
        df_donors=df_donors,
        step=max(a.step, b.step),
        cells=a.cells,
        rows_a=a.rows,
        rows_b=b.rows,
        donors=a.donors,
        paired=paired and a.rows > 1,
        **runs,
    )


def margin_squared(found: VarianceParts, alpha: float, floor: float | None = None) -> float:
    """Squared half-width of the interval at level 1 - alpha.

    Parameters
    ----------
    floor
        The equivalence margin m, for claims about it: the part of the cells is then at least that
        of a test which sees a rare event in none of them, -ln(alpha / 2) * m * step.
    """
    if floor is None and found.nothing_varies:
        return (math.log(alpha / 2) * found.step) ** 2  # the rule of three
    unit = max(
        _squared_t(alpha, found.df_cells) * found.v_competence,
        _squared_t(alpha, found.df_donors) * found.v_donors,
    )
    if floor is not None:
        unit = max(unit, -math.log(alpha / 2) * floor * found.step)
    return _squared_t(alpha, found.df_runs) * found.v_runs + unit


def run_margin_squared(found: VarianceParts, alpha: float) -> float:
    """Part of the squared half-width that is over runs."""
    return _squared_t(alpha, found.df_runs) * found.v_runs


def unit_margin_squared(found: VarianceParts, alpha: float) -> float:
    """Part of the squared half-width that is over cells, or donors where that is larger."""
    return max(
        _squared_t(alpha, found.df_cells) * found.v_competence,
        _squared_t(alpha, found.df_donors) * found.v_donors,
    )


def interval(found: VarianceParts, alpha: float = 0.05) -> tuple[float, float]:
    """Interval of a - b at level 1 - alpha."""
    half = math.sqrt(margin_squared(found, alpha))
    return found.estimate - half, found.estimate + half


def p_difference(found: VarianceParts) -> float:
    """Two-sided p of "equal expected metric": the level at which the interval ends at 0."""
    return _level(found, abs(found.estimate), None)


def p_below_upper(found: VarianceParts, margin: float) -> float:
    """One-sided p of "a leads by the margin or more": small where a is not above it."""
    return _one_sided(found, margin - found.estimate, _checked_margin(margin))


def p_above_lower(found: VarianceParts, margin: float) -> float:
    """One-sided p of "a lags by the margin or more": small where a is not below minus it."""
    return _one_sided(found, margin + found.estimate, _checked_margin(margin))


def p_equivalent(found: VarianceParts, margin: float) -> float:
    """P of two one-sided tests: small where the difference is within the margin."""
    return max(p_above_lower(found, margin), p_below_upper(found, margin))


def equivalence_interval(
    found: VarianceParts, margin: float, alpha: float = 0.10
) -> tuple[float, float]:
    """Interval that belongs to the equivalence test (90 %), with its floor."""
    half = math.sqrt(margin_squared(found, alpha, _checked_margin(margin)))
    return found.estimate - half, found.estimate + half


def one_sided_bound(found: VarianceParts, margin: float, alpha: float = 0.05) -> float:
    """Upper one-sided bound of a - b, with the floor of the margin: "at most this much better"."""
    return found.estimate + math.sqrt(margin_squared(found, 2 * alpha, _checked_margin(margin)))


def resplit_parts(
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    *,
    test_cells: float,
    training_cells: float,
    step: float | None = None,
) -> VarianceParts:
    """Parts of Nadeau and Bengio's corrected resampled t, for runs that each have their own split.

    Runs on different cells are not crossed with them. Paired by split; the variance of the
    differences is counted (1/R + n_test/n_train) times, as splits overlap. An approximation.
    `step` is the most that one cell can move the metric; 1 / test_cells unless told.
    """
    a, b = checked_scores(scores_a), checked_scores(scores_b)
    if a.shape != b.shape or a.size < 2:
        raise UserError(
            "resplits are compared split by split, on two at least",
            got=f"{a.size} and {b.size} scores",
            remedy="keep the splits that both arms have",
        )
    if not (test_cells >= 1 and training_cells >= 1):
        raise UserError(
            "the correction for resplits needs the sizes of the splits",
            got=f"{test_cells} held-out and {training_cells} training cells",
            remedy="pass the mean number of cells of each",
        )
    difference = a - b
    v_runs = variance(difference, a) * (1 / a.size + test_cells / training_cells)
    return VarianceParts(
        estimate=float(difference.mean()),
        v_runs=v_runs,
        df_runs=a.size - 1.0,
        v_cells=0.0,
        df_cells=math.inf,
        v_interaction=0.0,
        step=1 / test_cells if step is None else step,
        cells=round(test_cells),
        rows_a=a.size,
        rows_b=b.size,
        paired=True,
    )


def times_for_folds(folds: int) -> float:
    """Give how many times a variance over cells counts where each was held out once, in folds.

    Models of different folds share most of their training cells, so that what these cells favour
    shows in all folds at once and not in the variance over cells. Nadeau and Bengio's correction
    counts it like a test on as many cells as train: 1 + N/n_train. An approximation.
    """
    if folds < 2:
        raise UserError(
            "cells are held out in two folds at least",
            got=f"{folds}",
            remedy="compare runs of one split without this correction",
        )
    return 1 + folds / (folds - 1)


def over_folds(found: VarianceParts, folds: int) -> VarianceParts:
    """Widen the part of the cells, and of the donors, where all were held out once, in folds."""
    times = times_for_folds(folds)
    widened = found.v_interaction + times * found.v_competence
    return replace(
        found,
        v_cells=widened if found.v_competence else found.v_cells,
        v_donors=times * found.v_donors,
    )


# --- variances -----------------------------------------------------------------------------------
def _paired_runs(a: Influences, b: Influences) -> dict[str, float]:
    difference_R = a.scores_R - b.scores_R
    return {
        "v_runs": variance(difference_R, a.scores_R) / a.rows,
        "df_runs": a.rows - 1.0,
        "v_interaction": interaction_variance(a.z_RU - b.z_RU),
    }


def _separate_runs(a: Influences, b: Influences) -> dict[str, float]:
    v_a, v_b = (
        variance(arm.scores_R, arm.scores_R) / arm.rows if arm.rows > 1 else 0.0 for arm in (a, b)
    )
    total = v_a + v_b
    df = math.inf
    if total > 0:
        # An arm of one row has no term; shares, as squares of variances may underflow.
        terms = [(v / total) ** 2 / (arm.rows - 1) for v, arm in ((v_a, a), (v_b, b)) if v > 0]
        df = 1 / sum(terms)
    return {
        "v_runs": total,
        "df_runs": df,
        "v_interaction": a.interaction + b.interaction,
        "v_runs_a": v_a,
        "v_runs_b": v_b,
        "v_interaction_a": a.interaction,
        "v_interaction_b": b.interaction,
    }


def variance(values_R: Floats, scale_R: Floats) -> float:
    """Sample variance; exactly 0 where values are equal up to rounding."""
    if np.ptp(values_R) <= RELATIVE_ZERO * np.abs(scale_R).max():
        return 0.0
    return float(values_R.var(ddof=1))


def _over_cells(a: Influences, b: Influences) -> tuple[float, float]:
    """Variance over units and their "cells that count", from the mean influences."""
    difference_U = a.mean_z_U - b.mean_z_U
    difference_U = difference_U - difference_U.mean()
    scale = max(np.abs(a.mean_z_U).max(), np.abs(b.mean_z_U).max(), 1.0)
    if np.abs(difference_U).max() <= RELATIVE_ZERO * scale * difference_U.size:
        return 0.0, math.inf
    square_U = difference_U**2
    total, n = float(square_U.sum()), square_U.size
    return total / (n * (n - 1)), max(LEAST_CELL_DF, total**2 / float((square_U**2).sum()))


def _over_donors(a: Influences, b: Influences) -> tuple[float, float]:
    """Jackknife variance over donors, and the effective number of donors less one."""
    if a.donors < 2:
        return 0.0, math.inf
    estimate = float(a.scores_R.mean() - b.scores_R.mean())
    deviation_D = a.mean_without_D - b.mean_without_D - estimate
    over_donors = (a.donors - 1) / a.donors * float((deviation_D**2).sum())
    scale = max(float(np.abs(a.scores_R).max()), float(np.abs(b.scores_R).max()))
    if np.abs(deviation_D).max() <= RELATIVE_ZERO * scale:
        over_donors = 0.0
    return over_donors, max(LEAST_DONOR_DF, 1 / float((a.donor_share_D**2).sum()) - 1)


# --- levels --------------------------------------------------------------------------------------
def _squared_t(alpha: float, df: float) -> float:
    quantile = ndtri(alpha / 2) if math.isinf(df) else stdtrit(df, alpha / 2)
    return float(quantile) ** 2


def _level(found: VarianceParts, distance: float, floor: float | None) -> float:
    """Two-sided level at which the half-width is the distance; a root in log alpha."""
    if distance == 0:
        return 1.0

    def excess(log_alpha: float) -> float:
        return margin_squared(found, math.exp(log_alpha), floor) - distance**2

    lowest = math.log(LEAST_P)
    if excess(lowest) <= 0:
        return LEAST_P
    if excess(0.0) >= 0:
        return 1.0
    return math.exp(brentq(excess, lowest, 0.0, xtol=1e-12, rtol=1e-14))


def _one_sided(found: VarianceParts, distance: float, floor: float) -> float:
    """One-sided p against a border that the estimate keeps the distance from."""
    p = _level(found, abs(distance), floor)
    return p / 2 if distance > 0 else 1 - p / 2


# --- doors ---------------------------------------------------------------------------------------
def _checked_margin(margin: float) -> float:
    if not (margin > 0 and math.isfinite(margin)):
        raise UserError(
            "a margin is the largest difference that does not matter, above 0",
            got=f"{margin}",
            remedy="pass 0.01 for one point of accuracy",
        )
    return margin


def checked_scores(values: npt.ArrayLike) -> Floats:
    """Take the scores of an arm, one finite number per run."""
    scores = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if scores.ndim != 1 or not scores.size or not np.isfinite(scores).all():
        raise UserError(
            "scores must be one finite number per run",
            got=f"{np.array2string(scores, threshold=8)}",
            remedy="leave out the runs without a score, and say how many",
        )
    return scores


def _refuse_unlike(a: Influences, b: Influences) -> None:
    if a.metric != b.metric or set(a.class_sizes) != set(b.class_sizes):
        raise UserError(
            "two arms are compared by one metric",
            got=f"{a.metric} and {b.metric}",
            remedy="compute the influences of both on the same metric and classes",
        )
    like = a.cells == b.cells and a.z_RU.shape[1] == b.z_RU.shape[1] and a.donors == b.donors
    if not like:
        raise UserError(
            "two arms are compared on the same held-out cells",
            got=f"{a.cells} and {b.cells} cells, {a.donors} and {b.donors} donors",
            remedy="compare resplits with resplit_parts",
        )
