"""The first line where logistic regression is the reference: is it enough, and how sure is that."""

from __future__ import annotations

from collections.abc import Sequence

import scipy.stats

from leadline.config import registry
from leadline.report.answer import answer, donors_spoken_for, of_donors, p_text
from leadline.report.baseline import (
    BLIND,
    FEW,
    FEWEST_CELLS,
    NO,
    OPEN,
    YES,
    BaselineVerdict,
    at_the_ceiling,
    cells_that_count,
    judge,
    not_above,
    places,
)
from leadline.report.compare.arms import ArmRuns
from leadline.report.compare.comparison import ArmComparison
from leadline.report.compare.fresh_cells import NAME
from leadline.report.compare.settle import what_would_tell
from leadline.report.folds import told_of_folds
from leadline.report.study import StudyResults
from leadline.stats import metrics, tests
from leadline.stats.difference import one_sided_bound


def first_line(study: StudyResults, found: Sequence[ArmComparison]) -> str:
    """Say whether the baseline is enough where that is the question, else what was found.

    A second line holds what must be known beside it.
    """
    judged = [judge(study, here) for here in places(study, found)]
    if not judged:
        return "\n".join([answer(study, found), " ".join(left_out(study))]).strip()
    first, *others = judged
    spoken = WORDS[first.outcome](first)
    more = [
        *missing(study),
        *left_out(study),
        *map(beside, others),
        *spread(first),
        *caveat(study, first),
    ]
    return "\n".join([spoken, " ".join(more)]).strip()


def enough(said: BaselineVerdict) -> str:
    """Say that the baseline is enough, and what shows it."""
    start = f"Yes, logistic regression is enough for these cells: {scores(said)}"
    missed = 1 - said.baseline.mean
    if missed == 0:
        return (
            f"{start}; no model can get more of them right ({seeds(said)}{of_fresh_cells(said)})."
        )
    if at_the_ceiling(said.baseline, said.margin):
        room = f"{points(said.margin)} better where {percent(missed)} are missed"
        return f"{start}; no model can be {room} ({seeds(said)}{of_fresh_cells(said)})."
    many = f"none of the {len(said.found)} {said.kind}s is" if len(said.found) > 1 else "it is not"
    return f"{start}; {many} more than {points(said.margin)} better ({shown_by(said)})."


def shown_by(said: BaselineVerdict) -> str:
    """Name what shows that no competitor is above the baseline, and over how many runs."""
    tested = [each.equivalence.p_below_upper for each in said.found if each.equivalence is not None]
    over = "fresh runs and cells" if said.best.test == NAME else "the runs, of these very cells,"
    return f"one-sided tests over {over} at 5 %, largest {p_text(max(tested))}; {seeds(said)}"


def not_enough(said: BaselineVerdict) -> str:
    """Say which competitor is better, by how much, and what shows it."""
    best = said.best
    assert best.corrected is not None
    count = len(said.found)
    correction = f" after Holm’s correction for {count} comparisons" if count > 1 else ""
    return (
        f"No, logistic regression is not enough for these cells: {scores(said)}, "
        f"{directed(best.estimate)} ({fitting(best)}; {tests.title(best.test)}, "
        f"{p_text(best.corrected)}{correction}; {seeds(said)})."
    )


def undecided(said: BaselineVerdict) -> str:
    """Say that nothing is shown, what fits the runs, and how many would tell."""
    start = (
        "It cannot be told yet whether logistic regression is enough for these cells: "
        f"{scores(said)}"
    )
    left = [each for each in said.found if not not_above(each, said.margin)]
    worst = max(left, key=lambda each: each.a.mean)
    if worst.interval is None:
        return f"{start}; {named(worst.a)} could not be tested: {worst.why} ({seeds(said)})."
    remedy = what_would_tell(worst, said.margin, baseline=True) or "More seeds may tell."
    better = f"that {named(worst.a)} is {points(said.margin)} better"
    most = ""
    if worst.parts is not None:
        bound = directed(one_sided_bound(worst.parts, said.margin))
        most = f"at most {bound} at one-sided 95 %; "
    return (
        f"{start}; {better} is neither shown nor ruled out by these runs and cells "
        f"({most}{fitting(worst)}; {seeds(said)}). {remedy}"
    )


def blind(said: BaselineVerdict) -> str:
    """Say that the baseline learnt nothing, so that to be enough would mean nothing."""
    return (
        "It cannot be told from these cells whether logistic regression is enough, for it has "
        f"learnt nothing: {scores(said)}, and to call every cell the commonest type does as well "
        f"({seeds(said)}). Check the labels, or label more cells."
    )


def few_cells(said: BaselineVerdict) -> str:
    """Say that the held-out cells are too few to judge any model by."""
    return (
        f"{said.cells} held-out cells are too few to tell whether logistic regression is enough: "
        f"{scores(said)} ({seeds(said)}{of_fresh_cells(said)}). "
        f"Label more cells: at least {FEWEST_CELLS} must be held out."
    )


# How the first line speaks of each outcome, and of the same with fewer labels.
WORDS = {YES: enough, NO: not_enough, OPEN: undecided, BLIND: blind, FEW: few_cells}
SHORT = {YES: "yes too", NO: "no", OPEN: "not decided", BLIND: "nothing is learnt", FEW: "too few"}


def beside(said: BaselineVerdict) -> str:
    """Say in short what holds with a smaller share of the labels."""
    return (
        f"With {percent(said.baseline.fraction, 0)} of the labels: {SHORT[said.outcome]} "
        f"({percent(said.baseline.mean)} against {percent(said.best.a.mean)})."
    )


def missing(study: StudyResults) -> list[str]:
    """Say that runs are still to be made."""
    count = len(study.unfinished)
    are = "1 run has" if count == 1 else f"{count} runs have"
    return [f"{are} no result yet: this may change."] * bool(count)


def left_out(study: StudyResults) -> list[str]:
    """Say that cells are reported once, in folds, and which seeds are left out for want of one."""
    told = [told_of_folds(study.records)]
    if study.incomplete:
        count = len(study.incomplete)
        first = study.incomplete[0]
        more = f", and {count - 1} more" if count > 1 else ""
        told.append(f"Left out: {first.arm}, {first.sentence}{more}.")
    return [text for text in told if text]


def fresh_cells(said: BaselineVerdict) -> str:
    """Give how well the baseline's own score is known from so many cells."""
    cells = cells_that_count(said.baseline)
    right = round(said.baseline.mean * cells)
    found = scipy.stats.binomtest(right, cells).proportion_ci(0.95, method="exact")
    return f"{percent(found.low)} to {percent(found.high)}"


def whose(said: BaselineVerdict) -> str:
    """Say which fresh cells an interval over cells alone is of."""
    which = donors_spoken_for(said.best)
    return {"": "like these", "this donor": "of this donor"}.get(which, "of these donors")


def of_fresh_cells(said: BaselineVerdict) -> str:
    """Say in the first line how well the baseline's score is known, where it is of accuracy."""
    if said.baseline.metric != "accuracy":
        return ""
    share = fresh_cells(said)
    return f"; of fresh cells {whose(said)} logistic regression gets {share} right, 95 % interval"


def spread(said: BaselineVerdict) -> list[str]:
    """Say so in the second line, where the first has other numbers."""
    told = said.outcome == FEW or (
        said.outcome == YES and at_the_ceiling(said.baseline, said.margin)
    )
    if told or said.baseline.metric != "accuracy":
        return []
    return [
        f"Of fresh cells {whose(said)}, logistic regression gets {fresh_cells(said)} right (95 % "
        "interval)."
    ]


def caveat(study: StudyResults, said: BaselineVerdict) -> list[str]:
    """Say that the published weights were not tried, where transformers did without."""
    if said.kind != "transformer":
        return []
    settings = [
        study.configs.get(facts["run_id"], {}) for each in said.found for facts in each.a.records
    ]
    if not all("model.pretrained" in each for each in settings) or any(
        str(each["model.pretrained"]) == "published" for each in settings
    ):
        return []
    sizes = sorted({str(each.get("model.size")) for each in settings})
    return [
        f"All transformers here are of size {' or '.join(sizes)} and know these cells only; the "
        "published weights were not tried."
    ]


def scores(said: BaselineVerdict) -> str:
    """Say the scores of the baseline and of the best competitor."""
    labels, best = percent(said.baseline.fraction, 0), said.best.a
    what = "gets {} of the {:,} held-out cells right"
    if said.baseline.metric != "accuracy":
        what = f"has a {metrics.title(said.baseline.metric)} of {{}} on the {{:,}} held-out cells"
    own = what.format(percent(said.baseline.mean), said.cells)
    whole = "all labels" if said.baseline.fraction == 1 else f"{labels} of the labels"
    which = f"the best {said.kind}, " if len(said.found) > 1 else ""
    return f"with {whole} it {own}; {which}{named(best)}, {percent(best.mean)}"


def named(side: ArmRuns) -> str:
    """Name a model as people do, with its arm."""
    row = registry.named(side.model)
    name = row.title if row.family == "transformer" else side.model
    return name if side.arm == side.model else f"{name} (arm {side.arm})"


def seeds(said: BaselineVerdict) -> str:
    """Say how often each was trained."""
    counts = sorted({side.values.size for each in said.found for side in (each.a, each.b)})
    few = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{few} seed{'s' if counts[-1] > 1 else ''} each{of_donors(said.best)}"


def fitting(each: ArmComparison) -> str:
    """Give the differences that fit the runs."""
    assert each.interval is not None
    low, high = each.interval.low, each.interval.high
    if each.cannot_tell and each.of_these_donors is not None:
        low, high = each.of_these_donors
        return f"of these donors 95 % interval {directed(low)} to {directed(high)}"
    return f"95 % interval {directed(low)} to {directed(high)}"


def percent(value: float, digits: int = 1) -> str:
    """Write a share."""
    return f"{100 * value:.{digits}f}".removesuffix(".0") + " %"


def points(value: float) -> str:
    """Write the size of a difference of shares."""
    size = f"{100 * abs(value):.1f}".removesuffix(".0")
    return f"{size} point" + "s" * (size != "1")


def directed(value: float) -> str:
    """Write a difference of shares as more or less."""
    return f"{points(value)} {'more' if value >= 0 else 'less'}"
