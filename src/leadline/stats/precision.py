"""What remains sure when the scores themselves are known only to within a half-width.

Numbers read from a figure, or printed with four digits, are boxes and not points. Each function
gives bounds that hold for every point of the box: outer bounds, from the triangle inequality on
means and standard deviations, so a little wide and never too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.stats

from leadline.stats.inputs import half_widths, scores


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the largest value that a quantity can have."""

    low: float
    high: float

    def contains(self, value: float) -> bool:
        """Whether the value lies inside, ends included."""
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class _Box:
    mean: Bounds
    variance: Bounds
    n: int


def _box(values: npt.ArrayLike, widths: npt.ArrayLike, name: str) -> _Box:
    runs = scores(values, name=name)
    width = half_widths(widths, runs.size)
    mean, sd = float(runs.mean()), float(runs.std(ddof=1))
    shift = float(width.mean())
    # Centring is a projection: it never lengthens the vector of errors.
    stretch = float(np.sqrt((width**2).sum() / (runs.size - 1)))
    variance = Bounds(max(0.0, sd - stretch) ** 2, (sd + stretch) ** 2)
    return _Box(Bounds(mean - shift, mean + shift), variance, runs.size)


def difference_bounds(
    a: npt.ArrayLike, widths_a: npt.ArrayLike, b: npt.ArrayLike, widths_b: npt.ArrayLike
) -> Bounds:
    """Bound mean(a) - mean(b) for scores known to within half-widths."""
    box_a, box_b = _box(a, widths_a, "arm a"), _box(b, widths_b, "arm b")
    return Bounds(box_a.mean.low - box_b.mean.high, box_a.mean.high - box_b.mean.low)


def p_bounds(
    a: npt.ArrayLike,
    widths_a: npt.ArrayLike,
    b: npt.ArrayLike,
    widths_b: npt.ArrayLike,
    test: Literal["student", "welch"] = "student",
) -> Bounds:
    """Bound the two-sided p of Student's or Welch's test for scores within their half-widths."""
    box_a, box_b = _box(a, widths_a, "arm a"), _box(b, widths_b, "arm b")
    difference = difference_bounds(a, widths_a, b, widths_b)
    nearest = 0.0 if difference.contains(0.0) else min(abs(difference.low), abs(difference.high))
    farthest = max(abs(difference.low), abs(difference.high))
    least_df, most_df = _df(box_a, box_b, test)
    small = np.sqrt(_squared_error(box_a, box_b, test, "low"))
    large = np.sqrt(_squared_error(box_a, box_b, test, "high"))
    low = 0.0 if small == 0 else float(2 * scipy.stats.t.sf(farthest / small, most_df))
    high = 1.0 if nearest == 0 else float(2 * scipy.stats.t.sf(nearest / large, least_df))
    return Bounds(low, high)


def _squared_error(a: _Box, b: _Box, test: str, end: Literal["low", "high"]) -> float:
    variance_a, variance_b = getattr(a.variance, end), getattr(b.variance, end)
    if test == "welch":
        return float(variance_a / a.n + variance_b / b.n)
    pooled = ((a.n - 1) * variance_a + (b.n - 1) * variance_b) / (a.n + b.n - 2)
    return float(pooled * (1 / a.n + 1 / b.n))


def _df(a: _Box, b: _Box, test: str) -> tuple[float, float]:
    """Bound the degrees of freedom; Welch's depend only on arm a's share of the squared error."""
    if test == "student":
        return a.n + b.n - 2, a.n + b.n - 2
    low_a, high_a = a.variance.low / a.n, a.variance.high / a.n
    low_b, high_b = b.variance.low / b.n, b.variance.high / b.n
    least = low_a / (low_a + high_b) if low_a + high_b > 0 else 0.0
    most = high_a / (high_a + low_b) if high_a + low_b > 0 else 1.0

    def df(share: float) -> float:
        return 1 / (share**2 / (a.n - 1) + (1 - share) ** 2 / (b.n - 1))

    # One peak, where the shares are in proportion to n - 1.
    peak = (a.n - 1) / (a.n + b.n - 2)
    top = df(min(max(peak, least), most))
    return min(df(least), df(most)), top
