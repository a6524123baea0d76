"""The answer where logistic regression is the reference: is it enough, and how sure is that."""

from __future__ import annotations

from collections.abc import Sequence

import scipy.stats

from leadline.report.answer import MOST_WORDS, answer, donors_spoken_for, of_donors, title_of
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
from leadline.report.compare.settle import what_would_tell
from leadline.report.folds import told_of_folds
from leadline.report.study import StudyResults
from leadline.stats import metrics
from leadline.stats.difference import one_sided_bound


def first_line(study: StudyResults, found: Sequence[ArmComparison]) -> str:
    """Say whether the baseline is enough where that is the question, else what was found.

    The answer in at most 25 words; below it a line for what it holds, and one that holds what must
    be known beside it.
    """
    judged = [judge(study, here) for here in places(study, found)]
    if not judged:
        said, _, basis = answer(study, found).partition("\n")
        return "\n".join([said, basis, " ".join(left_out(study))]).rstrip()
    first, *others = judged
    more = [
        *missing(study),
        *left_out(study),
        *remedy(first),
        *map(beside, others),
        *spread(first),
        *caveat(study, first),
    ]
    return "\n".join([WORDS[first.outcome](study, first), basis_of(study, first), " ".join(more)])


ENOUGH = "Yes, logistic regression is enough for these cells"
OPEN_YET = "It cannot be told yet whether logistic regression is enough for these cells"


def enough(study: StudyResults, said: BaselineVerdict) -> str:
    """Say that the baseline is enough, and why in a few words."""
    missed = 1 - said.baseline.mean
    if missed == 0:
        return f"{ENOUGH}: it gets all {said.cells:,} right that were held out."
    if at_the_ceiling(said.baseline, said.margin):
        return f"{ENOUGH}: it misses {percent(missed)}, too few to be {points(said.margin)} better."
    kinds = f"no {said.kind}" if len(said.found) > 1 else named(study, said.best.a)
    verb = "is" if len(said.found) > 1 else "is not"
    return _short(ENOUGH, f": {kinds} {verb} more than {points(said.margin)} better")


def not_enough(study: StudyResults, said: BaselineVerdict) -> str:
    """Say which competitor is better, and by how much."""
    start = "No, logistic regression is not enough for these cells"
    return _short(start, f": {named(study, said.best.a)} is {points(said.best.estimate)} better")


def undecided(study: StudyResults, said: BaselineVerdict) -> str:
    """Say that nothing is shown, and what is not ruled out."""
    worst = _worst(said)
    if worst.interval is None:
        return _short(OPEN_YET, f": {named(study, worst.a)} could not be tested")
    return _short(OPEN_YET, f": {named(study, worst.a)} may be {points(said.margin)} better")


def blind(study: StudyResults, said: BaselineVerdict) -> str:
    """Say that the baseline learnt nothing, so that to be enough would mean nothing."""
    del study, said
    return (
        "It cannot be told from these cells whether logistic regression is enough: it has learnt "
        "nothing."
    )


def few_cells(study: StudyResults, said: BaselineVerdict) -> str:
    """Say that the held-out cells are too few to judge any model by."""
    del study
    return (
        f"{said.cells} held-out cells are too few to tell whether logistic regression is enough: "
        f"hold out at least {FEWEST_CELLS}."
    )


def _short(start: str, reason: str) -> str:
    """End a sentence with its reason, if 25 words hold both."""
    whole = f"{start}{reason}."
    return whole if len(whole.split()) <= MOST_WORDS else f"{start}."


def _worst(said: BaselineVerdict) -> ArmComparison:
    """Choose, of the competitors that are not shown to be no better, the highest."""
    left = [each for each in said.found if not not_above(each, said.margin)]
    return max(left, key=lambda each: each.a.mean)


# How the first line speaks of each outcome, and of the same with fewer labels.
WORDS = {YES: enough, NO: not_enough, OPEN: undecided, BLIND: blind, FEW: few_cells}
SHORT = {YES: "yes too", NO: "no", OPEN: "not decided", BLIND: "nothing is learnt", FEW: "too few"}


def basis_of(study: StudyResults, said: BaselineVerdict) -> str:
    """Give the scores that the answer rests on, what fits the runs, and for what it speaks."""
    shown = said.best if said.outcome != OPEN else _worst(said)
    told = [scores(study, said, shown), seeds(said)]
    if shown.interval is not None:
        told.insert(1, f"95 % interval of the difference {fitting(shown)}")
    if said.outcome == YES and not at_the_ceiling(said.baseline, said.margin):
        told.append("each competitor judged one-sided at 5 %")
    if said.outcome == NO and len(said.found) > 1:
        told.append(f"corrected for {len(said.found)} comparisons")
    return f"{'; '.join(told)}."


def remedy(said: BaselineVerdict) -> list[str]:
    """Say what would settle the question of the baseline, where it is open."""
    if said.outcome == BLIND:
        return ["To call every cell the commonest type does as well: check the labels."]
    if said.outcome != OPEN:
        return []
    worst = _worst(said)
    if worst.interval is None:
        return [what_would_tell(worst, said.margin, baseline=True) or f"{worst.why}."]
    most = ""
    if worst.parts is not None:
        bound = directed(one_sided_bound(worst.parts, said.margin))
        most = f"At one-sided 95 % it is at most {bound}. "
    return [f"{most}{what_would_tell(worst, said.margin, baseline=True) or 'More seeds may tell.'}"]


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


def spread(said: BaselineVerdict) -> list[str]:
    """Say how well the baseline's own score is known, where it is of accuracy."""
    if said.baseline.metric != "accuracy":
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


def scores(study: StudyResults, said: BaselineVerdict, shown: ArmComparison) -> str:
    """Say the scores of the baseline and of one competitor."""
    share = percent(said.baseline.fraction, 0)
    labels = "all labels" if said.baseline.fraction == 1 else f"{share} of the labels"
    what = "gets {} of the {:,} held-out cells right"
    if said.baseline.metric != "accuracy":
        what = f"has a {metrics.title(said.baseline.metric)} of {{}} on the {{:,}} held-out cells"
    own = what.format(percent(said.baseline.mean), said.cells)
    best = f"the best {said.kind}, " if len(said.found) > 1 and shown is said.best else ""
    return f"With {labels} it {own}, {best}{named(study, shown.a)} {percent(shown.a.mean)}"


def named(study: StudyResults, side: ArmRuns) -> str:
    """Name a model as people do: by the title of its arm, with what is special of it."""
    return title_of(study, side)


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
        return f"{directed(low)} to {directed(high)} (of these donors)"
    return f"{directed(low)} to {directed(high)}"


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
