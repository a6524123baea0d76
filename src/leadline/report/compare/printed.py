"""ArmComparisons of arms of which only printed numbers are known.

Means with intervals give every t-test; two means and Student's p bound Welch's.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import scipy.stats

from leadline import stats
from leadline.report.compare.arms import ArmRuns, Floats
from leadline.report.compare.comparison import ArmComparison, PValue
from leadline.stats import Bounds, Effect, Flag, Interval, Summary

# Fewer decimals than these are not printed; trailing zeros are lost in a number.
FEWEST_DECIMALS = 3
FROM_P = "printed means and p"


def stand_in(summary: Summary) -> Floats:
    """Make runs with exactly this mean and spread, for tests that look at nothing else."""
    shape = np.linspace(-1, 1, summary.n)
    runs: Floats = summary.mean + summary.sd * shape / shape.std(ddof=1)
    return runs


def from_summaries(a: ArmRuns, b: ArmRuns, margin: float) -> ArmComparison:
    """Test printed means and intervals; what their last digit leaves open bounds p."""
    summary_a, summary_b = a.summary(), b.summary()
    assert summary_a is not None and summary_b is not None
    corners = product(_rounded(a, summary_a), _rounded(b, summary_b))
    p, interval = _t_tests(summary_a, summary_b, margin)
    bounds = _bounds([p, *(_t_tests(x, y, margin)[0] for x, y in corners)])
    return ArmComparison(
        a=a,
        b=b,
        basis="printed means and intervals",
        test="welch",
        interval=interval,
        p=p["welch"],
        tests={test: PValue(p[test], ends.low, ends.high) for test, ends in bounds.items()},
        effect=stats.hedges_g(stand_in(summary_a), stand_in(summary_b)),
    )


def from_printed_p(a: ArmRuns, b: ArmRuns, printed_p: float, margin: float) -> ArmComparison:
    """Take Student's p as printed and bound Welch's, which has the same t when n is equal."""
    arms, error = possible_arms(a, b, printed_p)
    n, estimate = a.n, a.mean - b.mean
    bounds = _bounds([_t_tests(*pair, margin)[0] for pair in arms])
    del bounds["student"]
    tests = {"student": PValue.of(printed_p)}
    tests |= {test: PValue(None, ends.low, ends.high) for test, ends in bounds.items()}
    reach = float(scipy.stats.t.ppf(0.975, 2 * n - 2)) * error
    sentence = "Student's p is the printed one: the runs that it came from are not public"
    return ArmComparison(
        a=a,
        b=b,
        basis=FROM_P,
        test="student",
        interval=Interval(estimate - reach, estimate + reach, 0.95, "student, from printed p"),
        p=printed_p,
        tests=tests,
        effect=_effect(estimate / error, n),
        flags=(Flag("p_as_printed", "note", sentence),),
    )


def possible_arms(
    a: ArmRuns, b: ArmRuns, printed_p: float
) -> tuple[list[tuple[Summary, Summary]], float]:
    """Give the arms between which the truth lies, and the standard error that all of them have.

    Student's p gives back |t|, and with the difference the pooled variance; only how that variance
    is shared between the arms, on which Welch's degrees of freedom depend, stays open.
    """
    assert a.n == b.n
    n = a.n
    error = abs(a.mean - b.mean) / float(scipy.stats.t.isf(printed_p / 2, 2 * n - 2))
    pooled = error**2 * n / 2
    arms = []
    for variance in _shares(a, b, pooled):
        other = max(0.0, 2 * pooled - variance)
        arms.append((Summary(a.mean, math.sqrt(variance), n), Summary(b.mean, math.sqrt(other), n)))
    return arms, error


def _t_tests(a: Summary, b: Summary, margin: float) -> tuple[dict[str, float], Interval]:
    welch = stats.welch_from_summaries(a, b)
    assert welch.interval is not None
    p = {
        "student": stats.student_from_summaries(a, b).p,
        "welch": welch.p,
        "tost_welch": stats.tost_welch(stand_in(a), stand_in(b), margin).p,
    }
    return p, welch.interval


def _bounds(tests: list[dict[str, float]]) -> dict[str, Bounds]:
    return {
        test: Bounds(min(p[test] for p in tests), max(p[test] for p in tests)) for test in tests[0]
    }


def _rounded(side: ArmRuns, summary: Summary) -> tuple[Summary, Summary]:
    """Give the least and the largest spread that round to what was printed."""
    if side.has_runs or side.printed_half_width is None:
        return summary, summary
    decimals = max(FEWEST_DECIMALS, len(repr(side.printed_half_width).partition(".")[2]))
    unit = 0.5 * 10.0**-decimals
    low, high = max(side.printed_half_width - unit, 1e-12), side.printed_half_width + unit
    return (
        stats.summary_from_paper(summary.mean, low, summary.n),
        stats.summary_from_paper(summary.mean, high, summary.n),
    )


def _shares(a: ArmRuns, b: ArmRuns, pooled: float) -> list[float]:
    """List variances of arm a between which Welch's p takes its extremes."""
    low, high = 0.0, 2 * pooled
    for side, other in ((a, False), (b, True)):
        if not side.complete or side.values.size != side.n:
            continue
        sd = float(side.values.std(ddof=1))
        stretch = math.sqrt(float((side.widths**2).sum()) / (side.n - 1))
        ends = [min(max(0.0, sd + reach) ** 2, 2 * pooled) for reach in (-stretch, stretch)]
        if other:
            ends = [2 * pooled - end for end in reversed(ends)]
        # Markers can contradict the printed p by a hair: then nothing is learnt from them.
        if max(low, ends[0]) <= min(high, ends[1]):
            low, high = max(low, ends[0]), min(high, ends[1])
    # Degrees of freedom are most where the variances are equal.
    return [low, high, *([pooled] if low < pooled < high else [])]


def _effect(t: float, n: int) -> Effect:
    spread = math.sqrt(n / 2) / abs(t)
    a, b = Summary(math.copysign(1, t), spread, n), Summary(0.0, spread, n)
    return stats.hedges_g(stand_in(a), stand_in(b))
