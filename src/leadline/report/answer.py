"""The answer of a study in a sentence, with its numbers."""

from __future__ import annotations

from collections.abc import Sequence

from leadline.config import registry
from leadline.report.compare.arms import sides_of
from leadline.report.compare.study import ArmComparison, leading
from leadline.report.study import StudyResults
from leadline.stats import metrics, tests

# How many arms a sentence can carry, and how it speaks of each verdict.
MOST = 6
SHOWN = {
    "better": "is shown to be higher for",
    "worse": "is shown to be lower for",
    "equivalent": "is equivalent for",
    "open": "shows neither a difference nor equivalence for",
    "untested": "could not be tested for",
}


def answer(study: StudyResults, found: Sequence[ArmComparison]) -> str:
    """Answer in one sentence, arm by arm."""
    first = leading(found)
    if not first:
        return _best(study)
    place = first[0].a
    where = f"With {place.fraction:.0%} of the labels of {place.dataset}"
    if len(first) == 1:
        return f"{where}, {clause(first[0])}."
    return f"{where}, {_by_verdict(first)} ({_tests(first)})."


def _by_verdict(found: Sequence[ArmComparison]) -> str:
    """Name arms with their differences, those that are shown first; controls come last."""
    usual, said, named = found[0].b.arm, [], 0
    for verdict, words in SHOWN.items():
        arms = [each for each in found if each.verdict == verdict]
        arms.sort(key=lambda each: registry.named(each.a.model).family == "control")
        listed = [_short(each, usual) for each in arms[: MOST - named]]
        named += len(listed)
        if listed:
            said.append(f"{words} {', '.join(listed)}")
    more = f"; {len(found) - named} more stand in the table" if named < len(found) else ""
    return f"against {usual}, {metrics.title(found[0].a.metric)} {'; '.join(said)}{more}"


def _short(each: ArmComparison, usual: str) -> str:
    said = f"{each.a.arm} {scaled(each.estimate, each.a.metric)}"
    said += f" against {each.b.arm}" if each.b.arm != usual else ""
    if each.interval is None or each.corrected is None:
        return said
    if each.cannot_tell and each.of_these_donors is not None:
        low, high = (_bare(end, each.a.metric) for end in each.of_these_donors)
        return f"{said} (of these donors {low} to {high})"
    low, high = (_bare(end, each.a.metric) for end in (each.interval.low, each.interval.high))
    return f"{said} ({low} to {high}, {p_text(each.corrected)})"


def _bare(value: float, metric: str) -> str:
    return scaled(value, metric).removesuffix(" points")


def _tests(found: Sequence[ArmComparison]) -> str:
    """Say once what is the same for every arm of the sentence."""
    tested = [each for each in found if each.corrected is not None]
    names = list(dict.fromkeys(tests.title(each.test) for each in tested))
    if not names:
        return "no test could be done"
    margins = [each.equivalence.margin for each in tested if each.equivalence is not None]
    margin = f"; margin ±{_bare(margins[0], found[0].a.metric)[1:]}" if margins else ""
    runs = [each.a.values.size for each in found] + [each.b.values.size for each in found]
    count = f"{min(runs)}" if min(runs) == max(runs) else f"{min(runs)} to {max(runs)}"
    return (
        f"95 % intervals; {' or '.join(names)}, p after Holm’s correction over "
        f"{tested[0].family_size} tests{margin}; {count} runs an arm{of_donors(found[0])}"
    )


def clause(each: ArmComparison) -> str:
    """Say one comparison in words and numbers."""
    name, other = each.a.arm, each.b.arm
    said = f"{name} is {size(each)} {direction(each)} {other} in {metrics.title(each.a.metric)}"
    if each.corrected is None:
        return f"{said} (not tested: {each.why})"
    assert each.interval is not None and each.p is not None
    low, high = (scaled(end, each.a.metric) for end in (each.interval.low, each.interval.high))
    numbers = (
        f"95 % interval {low} to {high}; {tests.title(each.test)}, "
        f"{p_text(each.corrected)} after Holm’s correction over {each.family_size} "
        f"test{'s' if each.family_size != 1 else ''}; {runs(each)}"
        f"{'' if each.cannot_tell else of_donors(each)}"
    )
    return f"{said} ({numbers}): {verdict_words(each)}"


def verdict_words(each: ArmComparison) -> str:
    """Say what a comparison shows."""
    margin = "" if each.equivalence is None else scaled(each.equivalence.margin, each.a.metric)[1:]
    if each.cannot_tell:
        assert each.of_these_donors is not None
        low, high = (scaled(end, each.a.metric) for end in each.of_these_donors)
        told = of_donors(each).removeprefix("; ")
        return f"{told}; of these donors, 95 % interval {low} to {high}"
    if each.verdict in ("better", "worse"):
        within = each.equivalence is not None and each.equivalence.equivalent
        return f"a real difference, yet one shown to be below {margin}" if within else (
            "a real difference"
        )  # fmt: skip
    if each.verdict == "equivalent":
        assert each.equivalence is not None
        return f"equivalent within ±{margin} (TOST, {p_text(each.equivalence.p)})"
    detectable = (
        ""
        if each.detectable is None
        else f"; the design would have found {scaled(each.detectable, each.a.metric)[1:]}"
    )
    return f"neither a difference nor equivalence within ±{margin} is shown{detectable}"


def size(each: ArmComparison) -> str:
    """Write the size of a difference."""
    return scaled(abs(each.estimate), each.a.metric)[1:]


def direction(each: ArmComparison) -> str:
    """Say which side is higher."""
    return "above" if each.estimate >= 0 else "below"


def scaled(value: float, metric: str) -> str:
    """Write a difference with its sign: in points where scores lie between 0 and 1."""
    if metric not in metrics.ROWS or not metrics.ROWS[metric].in_points:
        return f"{value:+.3f}".replace("-", "−")
    return f"{100 * value:+.1f} points".replace("-", "−")


def p_text(p: float) -> str:
    """Write a p-value."""
    return "p < .001" if p < 0.001 else f"p = {p:.2g}".replace("0.", ".")


def runs(each: ArmComparison) -> str:
    """Say how many runs stand on either side."""
    a, b = each.a.values.size, each.b.values.size
    return f"{a} runs each" if a == b else f"{a} and {b} runs"


def of_donors(each: ArmComparison) -> str:
    """Say which donors a comparison speaks for, where records tell of them."""
    which = donors_spoken_for(each)
    count = each.parts.donors if each.parts is not None else 0
    if each.cannot_tell:
        return f"; for fresh donors it cannot be told from {count}"
    return f"; of {which}{f', {count} held out' if count else ''}" if which else ""


def donors_spoken_for(each: ArmComparison) -> str:
    """Give "fresh donors", "these donors" or "this donor"; nothing where none are known."""
    return each.speaks_for.partition("fresh cells of ")[2]


def _best(study: StudyResults) -> str:
    """Say which arm is highest where nothing was asked to be compared."""
    sides = sides_of(study, study.metrics[0])
    if not sides:
        return "No run has named classes yet."
    dataset = sides[0].dataset
    most = max(side.fraction for side in sides if side.dataset == dataset)
    here = [side for side in sides if (side.dataset, side.fraction) == (dataset, most)]
    best = max(here, key=lambda side: side.mean)
    count = f"{best.values.size} run{'s' if best.values.size > 1 else ''}"
    return (
        f"With {most:.0%} of the labels of {dataset}, the highest mean "
        f"{metrics.title(best.metric)} is {best.mean:.3f}, by {best.arm} ({count}; {len(here)} "
        f"arm{'s' if len(here) > 1 else ''}); no pair of arms was declared to be compared."
    )
