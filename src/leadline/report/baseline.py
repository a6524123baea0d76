"""Is logistic regression enough? What the comparisons with it show, before it is put into words.

"Yes" must be shown of every competitor: that it is not above logistic regression by more than the
margin (one-sided, each at 5 %; that all must pass is correction enough). "No" must be shown of one:
better, after Holm's correction over the competitors, and not by less than the margin. Where neither
is shown, nothing is claimed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.stats

from leadline import stats
from leadline.config import registry
from leadline.report.compare.arms import Side, sides_of
from leadline.report.compare.study import ALPHA, Comparison
from leadline.report.study import Study
from leadline.stats import metrics

BASELINE = "logreg"
YES, NO, OPEN, BLIND, FEW = "yes", "no", "open", "blind", "few"
# Of fewer cells even a perfect score leaves room for one error in ten.
FEWEST_CELLS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the competitors come to with one share of the labels; `best` has the highest mean.

    `found` are their comparisons with the baseline, p corrected over them alone.
    """

    outcome: str
    baseline: Side
    best: Comparison
    found: tuple[Comparison, ...]
    margin: float

    @property
    def kind(self) -> str:
        """Say what the competitors are."""
        known = all(family(each) == "transformer" for each in self.found)
        return "transformer" if known else "other model"

    @property
    def cells(self) -> int:
        """Count the cells that models are judged on."""
        return cells_of(self.baseline)


def family(each: Comparison) -> str:
    """Say what kind of model is compared with the baseline."""
    return registry.named(each.a.model).family


def cells_of(side: Side) -> int:
    """Count the cells that runs are reported on."""
    return int(side.records[0]["split"]["cells"]["test"])


def places(study: Study, found: Sequence[Comparison]) -> list[list[Comparison]]:
    """Gather the competitors of the baseline by share of the labels, the largest first.

    Of the first metric and data set alone; simple models count where there is nothing else.
    """
    asked = [
        each
        for each in found
        if each.b.model == BASELINE
        and each.b.arm.startswith(study.reference)
        and not metrics.lower_is_better(each.a.metric)
        and (each.a.metric, each.a.dataset) == (found[0].a.metric, found[0].a.dataset)
    ]
    told = [each for each in asked if family(each) not in ("control", "simple")] or [
        each for each in asked if family(each) != "control"
    ]
    shares = sorted({each.a.fraction for each in told}, reverse=True)
    return [[each for each in told if each.a.fraction == share] for share in shares]


def judge(study: Study, here: Sequence[Comparison]) -> Judged:
    """Decide what the comparisons with the baseline show."""
    raw = {str(at): 1.0 if each.p is None else each.p for at, each in enumerate(here)}
    holm = stats.holm(raw)
    found = tuple(
        each if each.p is None else replace(each, corrected=holm[str(at)], family_size=len(here))
        for at, each in enumerate(here)
    )
    winners = [each for each in found if each.verdict == "better" and not shown_small(each)]
    baseline = here[0].b
    outcome = OPEN
    if winners:
        outcome = NO
    elif all(not_above(each, study.margin) for each in found):
        outcome = YES
    if outcome != NO and no_better_than_chance(study, baseline):
        outcome = BLIND
    if cells_of(baseline) < FEWEST_CELLS:
        outcome = FEW
    best = max(winners or found, key=lambda each: each.a.mean)
    return Judged(outcome=outcome, baseline=baseline, best=best, found=found, margin=study.margin)


def shown_small(each: Comparison) -> bool:
    """Say whether a difference is shown to be within the margin."""
    return each.equivalence is not None and each.equivalence.equivalent


def not_above(each: Comparison, margin: float) -> bool:
    """Say whether a competitor is shown not to be above the baseline by more than the margin."""
    if at_the_ceiling(each.b, margin) or same_calls(each):
        return True
    if each.equivalence is not None:
        return each.equivalence.p_below_upper < ALPHA
    return each.interval is not None and each.interval.high < margin


def at_the_ceiling(baseline: Side, margin: float) -> bool:
    """Say whether the baseline leaves no room for a difference that matters."""
    return baseline.mean >= 1 - margin


def same_calls(each: Comparison) -> bool:
    """Say whether nothing could be tested because both are right on the very same cells."""
    return each.p is None and each.a.fixed and each.b.fixed and each.estimate == 0


def no_better_than_chance(study: Study, baseline: Side) -> bool:
    """Say whether the baseline does no better than calling all cells the commonest type."""
    controls = [
        side.mean
        for side in sides_of(study, baseline.metric)
        if side.model == "majority"
        and (side.dataset, side.fraction) == (baseline.dataset, baseline.fraction)
    ]
    return bool(controls) and baseline.mean <= max(controls)


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
