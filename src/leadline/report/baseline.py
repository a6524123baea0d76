"""Is logistic regression enough? What the comparisons with it show, before it is put into words.

"Yes" must be shown of every competitor: that it is not above logistic regression by more than the
margin (one-sided, each at 5 %; that all must pass is correction enough). "No" must be shown of one:
better, after Holm's correction over the competitors, and not by less than the margin. Where neither
is shown, nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import scipy.stats

from leadline.config import registry
from leadline.errors import UserError
from leadline.report.compare.arms import ArmRuns, sides_of
from leadline.report.compare.comparison import ALPHA, ArmComparison, corrected_family
from leadline.report.compare.fresh_cells import compare_sides
from leadline.report.folds import folds_of
from leadline.report.study import StudyResults
from leadline.stats import metrics
from leadline.stats.crossed import over_cells_alone
from leadline.stats.difference import p_difference, times_for_folds

BASELINE = "logreg"
YES, NO, OPEN, BLIND, FEW = "yes", "no", "open", "blind", "few"
# Of fewer cells even a perfect score leaves room for one error in ten.
FEWEST_CELLS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineVerdict:
    """What the competitors come to with one share of the labels; `best` has the highest mean.

    `found` are their comparisons with the baseline, p corrected over them alone.
    """

    outcome: str
    baseline: ArmRuns
    best: ArmComparison
    found: tuple[ArmComparison, ...]
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


def family(each: ArmComparison) -> str:
    """Say what kind of model is compared with the baseline."""
    return registry.named(each.a.model).family


def cells_of(side: ArmRuns) -> int:
    """Count the cells that runs are reported on."""
    return int(side.records[0]["split"]["cells"]["test"])


def cells_that_count(side: ArmRuns) -> int:
    """Count the cells by which a score is known: in folds, which share training cells, fewer."""
    folds = folds_of(side.records)
    return round(cells_of(side) / times_for_folds(folds)) if folds else cells_of(side)


def places(study: StudyResults, found: Sequence[ArmComparison]) -> list[list[ArmComparison]]:
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


def judge(study: StudyResults, here: Sequence[ArmComparison]) -> BaselineVerdict:
    """Decide what the comparisons with the baseline show."""
    corrected = corrected_family({str(at): each for at, each in enumerate(here)})
    found = tuple(corrected[str(at)] for at in range(len(here)))
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
    return BaselineVerdict(
        outcome=outcome, baseline=baseline, best=best, found=found, margin=study.margin
    )


def shown_small(each: ArmComparison) -> bool:
    """Say whether a difference is shown to be within the margin."""
    return each.equivalence is not None and each.equivalence.equivalent


def not_above(each: ArmComparison, margin: float) -> bool:
    """Say whether a competitor is shown not to be above the baseline by more than the margin."""
    if each.cannot_tell:
        return False
    # The bound of the ceiling is over cells alone, and says nothing of fresh donors.
    of_donors = each.parts is not None and each.parts.donors > 0
    if not of_donors and at_the_ceiling(each.b, margin):
        return True
    return each.equivalence is not None and each.equivalence.p_below_upper < ALPHA


def at_the_ceiling(baseline: ArmRuns, margin: float) -> bool:
    """Say whether the baseline is shown to leave no room for a difference that matters.

    The one-sided 95 % bound of its accuracy decides, not its score: a point needs 299 of 299.
    """
    if baseline.metric != "accuracy":
        return False
    cells = cells_that_count(baseline)
    right = round(baseline.mean * cells)
    test = scipy.stats.binomtest(right, cells, alternative="greater")
    return bool(test.proportion_ci(1 - ALPHA, method="exact").low >= 1 - margin)


def no_better_than_chance(study: StudyResults, baseline: ArmRuns) -> bool:
    """Say whether the baseline is not shown to beat calling all cells the commonest type."""
    for side in sides_of(study, baseline.metric):
        here = (side.dataset, side.fraction) == (baseline.dataset, baseline.fraction)
        if side.model != "majority" or not here:
            continue
        try:
            found = compare_sides(baseline, side, study.runs_dir, study.margin)
        except UserError:
            return baseline.mean <= side.mean
        # Whether anything was learnt is asked of the donors that are there.
        p = p_difference(over_cells_alone(found.parts))
        return found.parts.estimate <= 0 or p / 2 >= ALPHA
    return False
