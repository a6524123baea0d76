"""Two arms whose seeds were added stage by stage: what the rule that stopped them leaves of p.

The runs of a look are the first so many seeds of either arm, as the study lists them; runs beyond
change nothing. So a verdict is the same whenever the report is made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from leadline.report.compare.arms import ArmRuns
from leadline.report.compare.comparison import ArmComparison, LookTaken
from leadline.report.study import StudyResults
from leadline.stats import Equivalence, Flag, Interval
from leadline.stats.difference import equivalence_interval, interval
from leadline.stats.looks import levels, p_over_looks, precise_enough

METHOD = "over fresh runs and fresh cells, at all looks"


def stopped(
    a: ArmRuns,
    b: ArmRuns,
    study: StudyResults,
    judge: Callable[[ArmRuns, ArmRuns, StudyResults], ArmComparison],
    unseen: ArmComparison,
) -> ArmComparison:
    """Compare two arms under the rule that stops their seeds.

    `judge` compares the runs of one look; `unseen` is what is said before the first.
    """
    if a.fixed and b.fixed:
        return judge(a, b, study)  # No seed would change anything: one test, once.
    found = {look: judge(*sides, study) for look, sides in reached(a, b, study.looks).items()}
    following = next_look(a, b, study.looks, max(found, default=0))
    if not found:
        if following is None:
            why = f"the first look is at {study.looks[0]} seeds, more than these arms have"
        else:
            why = f"the first look is at {following} seeds"
        return dataclasses.replace(unseen, why=why, waits_for=following)
    if study.until == "precise":
        return at_precision(found, following)
    return over_looks(found, following, levels(study.looks))


def reached(a: ArmRuns, b: ArmRuns, looks: Sequence[int]) -> dict[int, tuple[ArmRuns, ArmRuns]]:
    """Give the runs of each look whose runs are all there.

    An arm that has fewer seeds by its own grid takes part with all of them.
    """
    found = {}
    for look in looks:
        at_look = [first_seeds(side, look) for side in (a, b)]
        complete = all(
            side.values.size == min(look, planned(side)) for side in at_look if side.records
        )
        if complete and all(side.records for side in at_look):
            if max(side.values.size for side in at_look) >= look:
                found[look] = (at_look[0], at_look[1])
    return found


def first_seeds(side: ArmRuns, count: int) -> ArmRuns:
    """Keep the first so many seeds of an arm, in the order in which the study lists them."""
    kept = [at for at, facts in enumerate(side.records) if facts["order"]["nth"] <= count]
    return dataclasses.replace(
        side,
        values=side.values[kept],
        widths=side.widths[kept],
        seeds=tuple(side.seeds[at] for at in kept),
        notes=tuple(side.notes[at] for at in kept),
        records=tuple(side.records[at] for at in kept),
    )


def planned(side: ArmRuns) -> int:
    """Count the seeds that the study lists for an arm in this place."""
    return int(side.records[0]["order"]["seeds"])


def next_look(a: ArmRuns, b: ArmRuns, looks: Sequence[int], last: int) -> int | None:
    """Give the next look that the seeds of either arm suffice for."""
    most = max(planned(a), planned(b))
    return next((look for look in looks if last < look <= most), None)


def over_looks(
    found: Mapping[int, ArmComparison], following: int | None, level_of: Mapping[int, float]
) -> ArmComparison:
    """Correct p and the interval of the last look for all looks that were made."""
    last = max(found)
    now = found[last]
    taken = tuple(
        LookTaken(seeds=look, level=level_of[look], p=each.p, estimate=each.estimate)
        for look, each in found.items()
        if each.p is not None
    )
    if now.p is None or not taken:
        return now  # More seeds would not help.
    said = dataclasses.replace(
        now,
        p=p_over_looks({look.seeds: look.p for look in taken}, level_of),
        interval=widened(now, level_of[last]),
        equivalence=equivalence_over_looks(found, level_of),
        looks=taken,
        waits_for=following,
    )
    best = said.deciding
    if best is not None and best.estimate * now.estimate < 0:
        sentence = (
            f"{now.a.arm} and {now.b.arm} changed places after the look at {best.seeds} seeds, "
            "which counts most"
        )
        said = dataclasses.replace(
            said, flags=(*said.flags, Flag("looks_disagree", "warning", sentence, {}))
        )
    return said


def widened(each: ArmComparison, level: float) -> Interval | None:
    """Give the interval at the level of a look, so that those of all looks hold in 95 %."""
    if each.parts is None:
        return each.interval  # Of a test over runs alone, of this look.
    low, high = interval(each.parts, level)
    return Interval(low, high, 0.95, METHOD)


def equivalence_over_looks(
    found: Mapping[int, ArmComparison], level_of: Mapping[int, float]
) -> Equivalence | None:
    """Correct the tests of equivalence in the same way as those of difference."""
    last = max(found)
    tested = {look: each.equivalence for look, each in found.items() if each.equivalence}
    if last not in tested:
        return None
    now, parts = tested[last], found[last].parts
    shown = now.interval
    if parts is not None:
        ends = equivalence_interval(parts, now.margin, 2 * level_of[last])
        shown = Interval(*ends, 0.90, METHOD)
    return dataclasses.replace(
        now,
        p=p_over_looks({look: each.p for look, each in tested.items()}, level_of),
        p_above_lower=p_over_looks(
            {look: each.p_above_lower for look, each in tested.items()}, level_of
        ),
        p_below_upper=p_over_looks(
            {look: each.p_below_upper for look, each in tested.items()}, level_of
        ),
        interval=shown,
    )


def at_precision(found: Mapping[int, ArmComparison], following: int | None) -> ArmComparison:
    """Test once, at the first number of seeds that is precise enough, or the last there is."""
    last = max(found)
    for look, each in found.items():
        if each.parts is not None and precise_enough(each.parts, most=look + 1):
            return taken_once(look, each)
    now = found[last]
    if following is None or now.parts is None:
        return taken_once(last, now)
    why = f"not precise enough to be tested at {last} seeds; the next stage has {following}"
    return dataclasses.replace(
        now, p=None, equivalence=None, interval=None, why=why, waits_for=following
    )


def taken_once(look: int, each: ArmComparison) -> ArmComparison:
    """Note at how many seeds the one test was made."""
    if each.p is None:
        return each
    return dataclasses.replace(
        each, looks=(LookTaken(seeds=look, level=0.05, p=each.p, estimate=each.estimate),)
    )


def sentence(study: StudyResults, found: Sequence[ArmComparison]) -> str:
    """Say by which rule seeds were added, how many looks there were, and after how many seeds."""
    if study.seeds_before:
        return (
            f"Seeds were added after {listed(study.seeds_before)} were done: what was looked at "
            "then is not corrected for, as no looks are declared."
        )
    if not study.looks:
        return ""
    made = sorted({look.seeds for each in found for look in each.looks})
    at = f"at {listed(made)} seeds" if made else "none so far"
    if study.until == "precise":
        return (
            "Seeds were added until the luck of runs added at most a quarter of what the held-out "
            f"cells add to the squared half-width, or none were left; each comparison was tested "
            f"once, {at}."
        )
    declared = ", ".join(f"{level:.3g}".removeprefix("0") for level in levels(study.looks).values())
    looks = f"{len(made)} look{'s' if len(made) != 1 else ''}"
    count = f"{looks} of {len(study.looks)} so far, {at}" if made else at
    return (
        f"The study declares looks at {listed(study.looks)} seeds, at levels of {declared}: "
        f"{count}. p and intervals are corrected for all of them."
    )


def listed(numbers: Sequence[int]) -> str:
    """Write numbers as a list in a sentence."""
    *most, last = map(str, numbers)
    return f"{', '.join(most)} and {last}" if most else last
