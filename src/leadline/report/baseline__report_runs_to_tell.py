"""How many runs would decide whether a model is above another by more than a margin."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy.stats

from leadline.report.compare.study import ALPHA, Comparison

POWER = 0.8
# Beyond so many nobody would make them.
MOST = 100


def runs_to_tell(each: Comparison, margin: float) -> int | None:
    """Give the runs of each arm that would decide, if further ones are like these; None: too many.

    What they would show is that the difference lies below the margin, one-sided, where it seems
    to; else that it lies above 0, two-sided.
    """
    spread = _variance(each.a.values) + (0.0 if each.b.fixed else _variance(each.b.values))
    below = each.estimate < margin
    distance = margin - each.estimate if below else each.estimate
    level = ALPHA if below else ALPHA / 2
    for count in range(max(2, min(each.a.values.size, each.b.values.size)) + 1, MOST + 1):
        error = math.sqrt(spread / count)
        df = count - 1 if each.b.fixed else 2 * (count - 1)
        needed = scipy.stats.t.ppf(1 - level, df) + scipy.stats.t.ppf(POWER, df)
        if distance >= needed * error:
            return count
    return None


def _variance(values: npt.NDArray[np.float64]) -> float:
    return float(values.var(ddof=1)) if values.size > 1 else 0.0
