"""Tests of means: Student, Welch, paired and one-sample t, from runs or from printed summaries.

Every test is two-sided. The estimate is mean(a) - mean(b); its interval has the assumptions of
its test. Refused by all: NaN, fewer than two runs, no variation (see `inputs`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.stats

from leadline.errors import UserError
from leadline.stats.inputs import Floats, differences, probability, scores, two_arms, varying
from leadline.stats.intervals import PAPER_N, PAPER_T, Interval


@dataclass(frozen=True, slots=True)
class TestResult:
    """What one test says.

    `smallest_p` is the least p-value the design can give, where that is a limit: an exact
    permutation test of 3 against 3 runs can never say less than .1.
    """

    test: str
    estimate: float
    statistic: float
    p: float
    n_a: int
    n_b: int
    df: float | None = None
    interval: Interval | None = None
    smallest_p: float | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """Mean, sample standard deviation (ddof 1) and number of the runs of one arm."""

    mean: float
    sd: float
    n: int


def summarise(values: npt.ArrayLike) -> Summary:
    """Reduce the scores of an arm to what Student's and Welch's tests need."""
    runs = scores(values)
    return Summary(float(runs.mean()), float(runs.std(ddof=1)), runs.size)


def summary_from_paper(mean: float, half_width: float, n: int) -> Summary:
    """Undo the paper's interval: from its half-width back to the sample standard deviation."""
    if n < 2 or not half_width >= 0:
        raise UserError(
            "a printed summary needs n >= 2 and a half-width >= 0",
            got=f"n = {n}, half-width {half_width}",
            remedy="give the numbers as printed",
        )
    population_sd = half_width * np.sqrt(PAPER_N) / PAPER_T
    return Summary(mean, float(population_sd * np.sqrt(n / (n - 1))), n)


def student(a: npt.ArrayLike, b: npt.ArrayLike, level: float = 0.95) -> TestResult:
    """Student's two-sample t-test: independent normal runs, equal variances. The paper's test."""
    runs_a, runs_b = two_arms(a, b)
    return student_from_summaries(summarise(runs_a), summarise(runs_b), level)


def welch(a: npt.ArrayLike, b: npt.ArrayLike, level: float = 0.95) -> TestResult:
    """Welch's two-sample t-test: independent normal runs, variances of their own.

    An arm that does not vary is allowed (a deterministic baseline, say); both is refused.
    """
    runs_a, runs_b = two_arms(a, b)
    return welch_from_summaries(summarise(runs_a), summarise(runs_b), level)


def student_from_summaries(a: Summary, b: Summary, level: float = 0.95) -> TestResult:
    """Student's t-test from means and standard deviations alone, as for printed tables."""
    df = a.n + b.n - 2
    pooled = ((a.n - 1) * a.sd**2 + (b.n - 1) * b.sd**2) / df
    return _from_summaries("student", a, b, pooled * (1 / a.n + 1 / b.n), df, level)


def welch_from_summaries(a: Summary, b: Summary, level: float = 0.95) -> TestResult:
    """Welch's t-test from means and standard deviations alone, as for printed tables."""
    part_a, part_b = a.sd**2 / a.n, b.sd**2 / b.n
    total = part_a + part_b
    # Shares, not squares of variances: those underflow to 0 / 0 for a nearly constant arm.
    share_a, share_b = (part_a / total, part_b / total) if total > 0 else (1.0, 0.0)
    df = 1 / (share_a**2 / (a.n - 1) + share_b**2 / (b.n - 1))
    return _from_summaries("welch", a, b, total, df, level)


def _from_summaries(
    test: str, a: Summary, b: Summary, squared_error: float, df: float, level: float
) -> TestResult:
    if not squared_error > 0:
        raise UserError(
            "a t-test needs an arm that varies",
            got=f"standard deviations {a.sd} and {b.sd}",
            remedy="report the difference alone, or compare predictions cell by cell",
        )
    result = scipy.stats.ttest_ind_from_stats(
        a.mean, a.sd, a.n, b.mean, b.sd, b.n, equal_var=test == "student"
    )
    difference = a.mean - b.mean
    interval = t_interval(difference, float(np.sqrt(squared_error)), df, level, test)
    statistic, p = float(result.statistic), float(result.pvalue)
    return TestResult(test, difference, statistic, p, a.n, b.n, df=df, interval=interval)


def t_interval(centre: float, error: float, df: float, level: float, method: str) -> Interval:
    """Centre plus or minus t(df) standard errors."""
    reach = float(scipy.stats.t.ppf((1 + probability(level, "level")) / 2, df)) * error
    return Interval(centre - reach, centre + reach, level, method)


def paired_t(a: npt.ArrayLike, b: npt.ArrayLike, level: float = 0.95) -> TestResult:
    """Paired t-test: the differences of runs that share a seed or subsample are normal."""
    return _one_mean("paired_t", differences(a, b), level)


def one_sample(values: npt.ArrayLike, reference: float, level: float = 0.95) -> TestResult:
    """One-sample t-test of the runs against a number without a spread.

    For a deterministic model: its one score is a constant, not a sample of size one.
    """
    return _one_mean("one_sample", varying(values) - float(reference), level)


def _one_mean(test: str, difference: Floats, level: float) -> TestResult:
    result = scipy.stats.ttest_1samp(difference, 0.0)
    n = difference.size
    error = float(difference.std(ddof=1) / np.sqrt(n))
    centre = float(difference.mean())
    return TestResult(
        test,
        centre,
        float(result.statistic),
        float(result.pvalue),
        n,
        n if test == "paired_t" else 1,
        df=n - 1,
        interval=t_interval(centre, error, n - 1, level, test),
    )
