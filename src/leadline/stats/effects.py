"""How large a difference is, apart from whether it is there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy.typing as npt
import scipy.optimize
import scipy.stats

from leadline.stats.inputs import probability
from leadline.stats.intervals import Interval
from leadline.stats.power import noncentral_t_cdf
from leadline.stats.t_tests import student

EDGE = 1e-9


@dataclass(frozen=True, slots=True)
class Effect:
    """An effect size and its interval."""

    name: str
    estimate: float
    interval: Interval


def hedges_g(a: npt.ArrayLike, b: npt.ArrayLike, level: float = 0.95) -> Effect:
    """Mean difference in units of the pooled standard deviation, corrected for small samples.

    Estimand: (mu_a - mu_b) / sigma with one sigma for both arms. The interval inverts the
    noncentral t distribution of Student's t (the method of Steiger and Fouladi, as R's
    `effectsize` does); both ends carry the same correction factor as the estimate.
    """
    outcome = student(a, b, level)
    df = outcome.n_a + outcome.n_b - 2
    per_t = math.sqrt(1 / outcome.n_a + 1 / outcome.n_b)
    correction = math.exp(math.lgamma(df / 2) - math.lgamma((df - 1) / 2)) / math.sqrt(df / 2)
    tail = (1 - probability(level, "level")) / 2
    low = _noncentrality(outcome.statistic, df, 1 - tail)
    high = _noncentrality(outcome.statistic, df, tail)
    unit = correction * per_t
    interval = Interval(low * unit, high * unit, level, "noncentral t")
    return Effect("hedges_g", outcome.statistic * unit, interval)


def _noncentrality(t: float, df: int, cumulative: float) -> float:
    """Noncentrality at which the observed t is the given quantile."""

    def excess(noncentrality: float) -> float:
        return noncentral_t_cdf(t, df, noncentrality) - cumulative

    reach = 5.0 + abs(t)
    return float(scipy.optimize.brentq(excess, t - reach, t + reach, xtol=1e-10))
