"""What a design could have seen: power of the two-sided Student t-test, by noncentral t.

Both tails count, as R's `power.t.test(strict = TRUE)` does. For paired designs give the
standard deviation of the differences and `paired=True`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.integrate
import scipy.optimize
import scipy.stats

from leadline.errors import UserError
from leadline.stats.inputs import differences, probability, two_arms
from leadline.stats.intervals import Interval
from leadline.stats.t_tests import student

NEGLIGIBLE = 1e-15


def noncentral_t_cdf(t: float, df: float, noncentrality: float) -> float:
    """Chance that a noncentral t variable is at most t.

    scipy 1.17 returns NaN at scattered points of the far tails, where the chance is below 1e-15
    (t = -4.30, df = 2, noncentrality 7.87). There the definition is integrated: normal given the
    estimated standard deviation, over its chi law.
    """
    value = float(scipy.stats.nct.cdf(t, df, noncentrality))
    if np.isfinite(value):
        return min(1.0, max(0.0, value))
    root = np.sqrt(df)

    def density(ratio: float) -> float:
        below = scipy.stats.norm.cdf(t * ratio - noncentrality)
        return float(below * scipy.stats.chi.pdf(ratio * root, df) * root)

    low, high = scipy.stats.chi.ppf([NEGLIGIBLE, 1 - NEGLIGIBLE], df) / root
    return float(scipy.integrate.quad(density, low, high)[0])


def power_of(
    difference: float, sd: float, n_a: int, n_b: int | None = None, *, alpha: float = 0.05
) -> float:
    """Chance to find a true difference significant; with n_b None, of n_a pairs."""
    if not (sd > 0 and n_a >= 2 and (n_b is None or n_b >= 2)):
        raise UserError(
            "power needs a spread above 0 and at least two runs an arm",
            got=f"sd {sd}, {n_a} and {n_b} runs",
            remedy="take the spread from runs that vary",
        )
    df = n_a - 1 if n_b is None else n_a + n_b - 2
    error = sd * (math.sqrt(1 / n_a) if n_b is None else math.sqrt(1 / n_a + 1 / n_b))
    noncentrality = abs(difference) / error
    critical = float(scipy.stats.t.ppf(1 - probability(alpha, "alpha") / 2, df))
    upper = 1 - noncentral_t_cdf(critical, df, noncentrality)
    return min(1.0, upper + noncentral_t_cdf(-critical, df, noncentrality))


def detectable_difference(
    sd: float, n_a: int, n_b: int | None = None, *, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Give the smallest true difference found with the wanted power; with n_b None, of pairs."""
    probability(power, "power")
    if power <= alpha:
        return 0.0

    def lack(difference: float) -> float:
        return power_of(difference, sd, n_a, n_b, alpha=alpha) - power

    top = sd
    while lack(top) < 0:
        top *= 2
    return float(scipy.optimize.brentq(lack, 0.0, top, xtol=1e-12 * top, rtol=1e-10))


def smallest_detectable(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    paired: bool = False,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float:
    """Give the smallest difference that these runs, at their n and spread, would have shown."""
    if paired:
        difference = differences(a, b)
        sd = float(difference.std(ddof=1))
        return detectable_difference(sd, difference.size, alpha=alpha, power=power)
    runs_a, runs_b = two_arms(a, b)
    n_a, n_b = runs_a.size, runs_b.size
    squares = (n_a - 1) * runs_a.var(ddof=1) + (n_b - 1) * runs_b.var(ddof=1)
    pooled = float(np.sqrt(squares / (n_a + n_b - 2)))
    return detectable_difference(pooled, n_a, n_b, alpha=alpha, power=power)


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
