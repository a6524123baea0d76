"""Every statistical test of two arms, one row each: the only list of tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from leadline.errors import UserError
from leadline.stats.exact import mann_whitney, paired_permutation, permutation, wilcoxon
from leadline.stats.inputs import Floats
from leadline.stats.t_tests import TestResult, paired_t, student, welch


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """One test: how it is told, whether it needs pairs, and what computes it.

    `of` takes the scores of both arms (of the pairs, where it is paired), the level of its
    interval and a generator. A test without one is done where its runs are at hand: it is about
    cells, or tests equivalence. `asked` says whether a study may ask for it.
    """

    # Not a class of tests for pytest.
    __test__ = False

    title: str
    paired: bool = False
    asked: bool = True
    of: Callable[[Floats, Floats, float, np.random.Generator], TestResult] | None = None


# In this order they draw from their common generator.
ROWS: dict[str, Test] = {
    "student": Test(title="Student’s test", of=lambda a, b, level, rng: student(a, b, level)),
    "welch": Test(title="Welch’s test", of=lambda a, b, level, rng: welch(a, b, level)),
    "mann_whitney": Test(title="Mann–Whitney test", of=lambda a, b, level, rng: mann_whitney(a, b)),
    "permutation": Test(
        title="permutation test", of=lambda a, b, level, rng: permutation(a, b, rng)
    ),
    "paired_t": Test(
        title="paired t-test", paired=True, of=lambda a, b, level, rng: paired_t(a, b, level)
    ),
    "wilcoxon": Test(
        title="Wilcoxon’s test", paired=True, of=lambda a, b, level, rng: wilcoxon(a, b)
    ),
    "paired_permutation": Test(
        title="paired permutation test",
        paired=True,
        of=lambda a, b, level, rng: paired_permutation(a, b, rng),
    ),
    "tost_welch": Test(title="equivalence test"),
    "tost_paired": Test(title="paired equivalence test", paired=True),
    "crossed": Test(title="fresh runs and cells"),
    "resplit_t": Test(title="corrected resampled t-test, an approximation", asked=False),
    "mcnemar": Test(title="McNemar’s test"),
    "one_sample": Test(title="one-sample t-test", asked=False),
}


def title(name: str) -> str:
    """Give the word for a test; one without a row is called as it is written."""
    return ROWS[name].title if name in ROWS else name


def is_paired(name: str) -> bool:
    """Say whether a test, or its p after Holm's correction, needs pairs of runs."""
    row = ROWS.get(name.removesuffix("_holm"))
    return row is not None and row.paired


def holm(family: Mapping[str, float]) -> dict[str, float]:
    """Adjust p-values by Holm's step-down method: controls the chance of any false finding."""
    ordered = _ascending(family)
    n = len(ordered)
    scaled = np.array([p for _, p in ordered]) * (n - np.arange(n))
    return _in_order(family, ordered, np.maximum.accumulate(scaled))


def _ascending(family: Mapping[str, float]) -> list[tuple[str, float]]:
    if not family:
        raise UserError(
            "a family of tests must have members",
            got="none",
            remedy="declare the tests that belong together",
        )
    for name, p in family.items():
        if not 0.0 <= p <= 1.0:
            raise UserError(
                "p-values must lie between 0 and 1",
                got=f"{p} for {name}",
                remedy="leave a test that could not be computed out of the family, and say so",
            )
    return sorted(family.items(), key=lambda item: item[1])


def _in_order(
    family: Mapping[str, float], ordered: list[tuple[str, float]], adjusted: Floats
) -> dict[str, float]:
    by_name = {name: min(1.0, float(p)) for (name, _), p in zip(ordered, adjusted, strict=True)}
    return {name: by_name[name] for name in family}
