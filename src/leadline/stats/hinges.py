"""Whether a t-test may turn when one run is left out: all of its p at once, without doubt."""

from __future__ import annotations

import numpy as np
import scipy.stats

from leadline.stats.inputs import Floats
from leadline.stats.t_tests import TestResult

# Formulas in another order differ by rounding: what is so near the level is looked at again.
NEAR = 1e-6


def may_hinge(a: Floats, b: Floats, whole: TestResult, alpha: float) -> bool:
    """Say whether any p without one run lies on the other side of the level, or close to it.

    True for tests that are not known here, and for arms that hardly vary.
    """
    known = {"student": _two_arms, "welch": _two_arms, "paired_t": _pairs}.get(whole.test)
    if known is None or min(a.size, b.size) < 4:
        return True
    p = known(a, b, whole.test)
    if not np.isfinite(p).all():
        return True
    turned = (p < alpha) != (whole.p < alpha)
    return bool((turned | (np.abs(p - alpha) < NEAR)).any())


def _without_one(runs: Floats) -> tuple[Floats, Floats]:
    """Give mean and variance of the others, for each run."""
    n = runs.size - 1
    mean = (runs.sum() - runs) / n
    away = runs - runs.mean()
    shifted = -away / n
    squares = (away**2).sum() - away**2 - n * shifted**2
    return mean, squares / (n - 1)


def _two_arms(a: Floats, b: Floats, test: str) -> Floats:
    found = []
    for one, other in ((a, b), (b, a)):
        mean, variance = _without_one(one)
        n, m, rest = one.size - 1, other.size, other.var(ddof=1)
        if test == "student":
            df = np.full(one.size, n + m - 2.0)
            error = ((n - 1) * variance + (m - 1) * rest) / df * (1 / n + 1 / m)
        else:
            parts = variance / n, rest / m
            error = parts[0] + parts[1]
            df = error**2 / (parts[0] ** 2 / (n - 1) + parts[1] ** 2 / (m - 1))
        found.append(_p((mean - other.mean()), error, df))
    return np.concatenate(found)


def _pairs(a: Floats, b: Floats, test: str) -> Floats:
    del test
    mean, variance = _without_one(a - b)
    n = a.size - 1
    return _p(mean, variance / n, np.full(a.size, n - 1.0))


def _p(difference: Floats, squared_error: Floats, df: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(2 * scipy.stats.t.sf(np.abs(difference) / np.sqrt(squared_error), df))
