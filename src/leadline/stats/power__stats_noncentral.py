"""The noncentral t distribution function, also where scipy's gives NaN."""

from __future__ import annotations

import numpy as np
import scipy.integrate
import scipy.stats

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
