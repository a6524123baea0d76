"""Two one-sided tests (TOST): is a difference shown to be smaller than a declared margin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy.typing as npt
import scipy.stats

from leadline.errors import UserError
from leadline.stats.inputs import probability
from leadline.stats.intervals import Interval
from leadline.stats.t_tests import TestResult, paired_t, t_interval, welch


@dataclass(frozen=True, slots=True)
class Equivalence:
    """Both one-sided p-values and the interval that says the same.

    p is the larger of the two. `equivalent` holds exactly when the interval at level 1 - 2 alpha
    lies inside (-margin, margin).
    """

    test: str
    margin: float
    estimate: float
    p: float
    p_above_lower: float
    p_below_upper: float
    interval: Interval
    equivalent: bool


def tost_welch(
    a: npt.ArrayLike, b: npt.ArrayLike, margin: float, alpha: float = 0.05
) -> Equivalence:
    """Test |mean(a) - mean(b)| >= margin as the null, with Welch's standard error."""
    return _tost(welch(a, b), _positive(margin), alpha)


def tost_paired(
    a: npt.ArrayLike, b: npt.ArrayLike, margin: float, alpha: float = 0.05
) -> Equivalence:
    """Test |mean difference| >= margin as the null, on runs that share a seed or subsample."""
    return _tost(paired_t(a, b), _positive(margin), alpha)


def _tost(outcome: TestResult, margin: float, alpha: float) -> Equivalence:
    assert outcome.df is not None, "a t-test has degrees of freedom"
    # Refused before: t is 0 only with a difference of 0, whose error the interval still knows.
    assert outcome.interval is not None, "a t-test has an interval"
    quantile = float(scipy.stats.t.ppf((1 + outcome.interval.level) / 2, outcome.df))
    error = outcome.interval.half_width / quantile
    p_above = float(scipy.stats.t.sf((outcome.estimate + margin) / error, outcome.df))
    p_below = float(scipy.stats.t.cdf((outcome.estimate - margin) / error, outcome.df))
    level = 1 - 2 * probability(alpha, "alpha")
    p = max(p_above, p_below)
    return Equivalence(
        f"tost_{outcome.test}",
        margin,
        outcome.estimate,
        p,
        p_above,
        p_below,
        t_interval(outcome.estimate, error, outcome.df, level, f"{outcome.test}, 1 - 2 alpha"),
        p < alpha,
    )


def _positive(margin: float) -> float:
    if not 0 < margin < float("inf"):
        raise UserError(
            "an equivalence margin must be positive",
            got=f"{margin}",
            remedy="declare the largest difference that would not matter, such as 0.01",
        )
    return float(margin)
