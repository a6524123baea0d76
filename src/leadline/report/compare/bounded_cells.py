"""Two arms over fresh cells where only their scores are known: p, bounded from both ends.

Without predictions nobody knows which cells each model gets right. The least p is that of the runs
alone, the most that of arms whose errors have nothing to do with each other.
"""

from __future__ import annotations

from dataclasses import replace

from leadline.report.compare.arms import ArmRuns
from leadline.report.compare.comparison import ALPHA, ArmComparison, PValue
from leadline.report.compare.fresh_cells import NAME
from leadline.report.compare.printed import FROM_P, possible_arms
from leadline.report.compare.setting import ClaimSettings, ReportedCells
from leadline.stats import Flag, Summary
from leadline.stats.published_bounds import accuracy_variance, bounds, macro_f1_variance

DEPENDS = "depends on which cells each gets right"
UNTOLD = "for fresh cells it cannot be told: sizes of the classes are not printed"
# Metrics of all cells, and those of the hard classes alone.
ACCURACIES, CLASS_AVERAGES = ("accuracy", "acc_hard"), ("macro_f1", "f1_hard")
HARD = ("acc_hard", "f1_hard")


def bound(found: ArmComparison, setting: ClaimSettings) -> ArmComparison:
    """Add p over fresh runs and cells, known within bounds, to a comparison of scores."""
    arms = _summaries(found)
    if not arms:
        return found
    known = setting.reported.get(found.a.dataset)
    variance = None if known is None else _cells_of(found.a, found.b, known)
    if known is None or variance is None:
        least = min(bounds(a, b, 0.0, 10**9).p_least for a, b in arms)
        flag = Flag("cells_unknown", "warning", UNTOLD)
        tests = {NAME: PValue(None, least, 1.0), f"tost_{NAME}": PValue(None, 0.0, 1.0)}
        return replace(found, tests={**found.tests, **tests}, flags=(*found.flags, flag))
    most, cells, step = variance
    ends = [bounds(a, b, most, cells, step) for a, b in arms]
    p = PValue(None, min(each.p_least for each in ends), max(each.p_most for each in ends))
    same = [each.p_equivalent(setting.margin) for each in ends]
    tost = PValue(None, min(least for least, _ in same), max(most for _, most in same))
    tests = {
        NAME: p,
        f"tost_{NAME}": tost,
    }
    flags = [*found.flags]
    if p.least < ALPHA <= p.most:
        sentence = f"{DEPENDS}: p over fresh runs and cells lies between {p.least:.2g} and "
        numbers = {"p_least": p.least, "p_most": p.most}
        flags.append(Flag("depends_on_cells", "warning", f"{sentence}{p.most:.2g}", numbers))
    if known.donors:
        sentence = f"this is of {known.donors} and their cells; of fresh ones it cannot be told"
        flags.append(Flag("of_these_donors", "note", sentence))
    return replace(found, tests={**found.tests, **tests}, flags=tuple(flags))


def _summaries(found: ArmComparison) -> list[tuple[Summary, Summary]]:
    """Give mean, spread and number of runs of both arms; several pairs where p alone is printed."""
    if found.basis == FROM_P and found.printed_p is not None:
        return possible_arms(found.a, found.b, found.printed_p)[0]
    a, b = (_summary(side) for side in (found.a, found.b))
    return [] if a is None or b is None else [(a, b)]


def _summary(side: ArmRuns) -> Summary | None:
    if side.fixed:
        return Summary(side.mean, 0.0, 1)
    return side.summary()


def _cells_of(a: ArmRuns, b: ArmRuns, known: ReportedCells) -> tuple[float, int, float] | None:
    """Give the most that cells can vary the difference, how many they are, and what one can move.

    None where it is not known.
    """
    sizes = known.hard_sizes if a.metric in HARD else known.class_sizes
    cells = sum(sizes) if a.metric in HARD else known.cells
    if a.metric in ACCURACIES and cells:
        most = sum(accuracy_variance(side.mean, cells) for side in (a, b))
        return most, cells, 1 / cells
    if a.metric in CLASS_AVERAGES and sizes:
        return 2 * macro_f1_variance(sizes), sum(sizes), 1 / (len(sizes) * min(sizes))
    return None
