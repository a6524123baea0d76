"""Two arms of a study in one place → their difference, with what may be said of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from leadline import stats
from leadline.config import registry
from leadline.errors import UserError
from leadline.report.compare.arms import ArmRuns, sides_of
from leadline.report.compare.cells import TEST, by_cell, mcnemar
from leadline.report.compare.fresh_cells import (
    NAME,
    compare_sides,
    equivalence_of,
    flags_of_cells,
    interval_of,
)
from leadline.report.compare.looks import LookTaken, stopped
from leadline.report.study import StudyResults
from leadline.stats import ArmValues, Equivalence, Flag, Interval, metrics, tests
from leadline.stats.crossed import variance_shares
from leadline.stats.difference import VarianceParts
from leadline.stats.seeds_and_cells import detectable

# One stream for each comparison, so that no result depends on what was computed before it.
SEED = 20231019
ALPHA = 0.05
# The one test that a study may ask for that is about two runs, not two arms.
MCNEMAR = "mcnemar"
ONE_RUN_EACH = "one_run_each"
NEEDS_RUNS = "a test over runs needs two runs of each arm, or one model without luck"
# What a test over runs alone speaks for.
SAME_CELLS = "fresh runs on these very cells"
VERDICTS = {
    "better": "better",
    "worse": "worse",
    "equivalent": "equivalent: the difference is shown to be within the margin",
    "open": "open: neither a difference nor equivalence is shown",
    "untested": "untested: one run, or equal predictions",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmComparison:
    """Mean of `a` less mean of `b`. `p` is of `test`, `corrected` by Holm over the family.

    `why` says why there is no test; `detectable` is the smallest difference that the design would
    have found with power .8. Where seeds are added stage by stage, `looks` are those that were
    made, and `waits_for` the number of seeds of the next, if there is one.
    """

    a: ArmRuns
    b: ArmRuns
    test: str = ""
    interval: Interval | None = None
    p: float | None = None
    corrected: float | None = None
    family_size: int = 0
    others: dict[str, float] = dataclasses.field(default_factory=dict)
    equivalence: Equivalence | None = None
    effect: float | None = None
    detectable: float | None = None
    flags: tuple[Flag, ...] = ()
    why: str = ""
    speaks_for: str = SAME_CELLS
    shares: dict[str, float] = dataclasses.field(default_factory=dict)
    parts: VarianceParts | None = None
    looks: tuple[LookTaken, ...] = ()
    waits_for: int | None = None

    @property
    def estimate(self) -> float:
        """Give the difference of means."""
        return self.a.mean - self.b.mean

    @property
    def deciding(self) -> LookTaken | None:
        """Give the look whose p, corrected, is the least."""
        return min(self.looks, key=lambda look: look.p / look.level, default=None)

    @property
    def needs_seeds(self) -> bool:
        """Say whether the next look may decide what is open."""
        return self.waits_for is not None and self.verdict in ("open", "untested")

    @property
    def verdict(self) -> str:
        """Say better or worse where that is shown, equivalent where that is, else open."""
        if self.corrected is None:
            return "untested"
        if self.corrected < ALPHA:
            estimate = self.estimate if self.deciding is None else self.deciding.estimate
            up = (estimate > 0) is (not metrics.lower_is_better(self.a.metric))
            return "better" if up else "worse"
        if self.equivalence is not None and self.equivalence.equivalent:
            return "equivalent"
        return "open"


def comparisons(study: StudyResults) -> list[ArmComparison]:
    """Compare every pair of a study everywhere; each metric is a family, corrected for itself."""
    found = [
        stopped(a, b, study, judge, ArmComparison(a=a, b=b)) if study.looks else judge(a, b, study)
        for a, b in _pairs(study)
    ]
    corrected = dict(enumerate(found))
    for metric in dict.fromkeys(each.a.metric for each in found):
        family = {str(at): each for at, each in enumerate(found) if each.a.metric == metric}
        corrected |= {int(at): each for at, each in corrected_family(family).items()}
    return [corrected[at] for at in range(len(found))]


def corrected_family(family: dict[str, ArmComparison]) -> dict[str, ArmComparison]:
    """Correct the tests of difference, and those of equivalence, by Holm, each kind for itself."""
    p = stats.holm({at: 1.0 if each.p is None else each.p for at, each in family.items()})
    same = {
        at: 1.0 if each.equivalence is None else each.equivalence.p for at, each in family.items()
    }
    p_same = stats.holm(same)
    found = {}
    for at, each in family.items():
        equivalence = each.equivalence
        if equivalence is not None:
            equivalence = dataclasses.replace(equivalence, equivalent=p_same[at] < ALPHA)
        found[at] = dataclasses.replace(
            each,
            equivalence=equivalence,
            corrected=None if each.p is None else p[at],
            family_size=0 if each.p is None else len(family),
        )
    return found


def _pairs(study: StudyResults) -> Iterator[tuple[ArmRuns, ArmRuns]]:
    for metric in study.metrics:
        sides = sides_of(study, metric)
        for name, other in study.pairs:
            for side in sides:
                if side.arm != name:
                    continue
                partners = [
                    each
                    for each in sides
                    if (each.dataset, each.fraction, each.arm)
                    == (side.dataset, side.fraction, other)
                ]
                # An arm of several models is compared model by model.
                same = [each for each in partners if each.model == side.model]
                for partner in same or partners[: len(partners) == 1]:
                    yield side, partner


def judge(a: ArmRuns, b: ArmRuns, study: StudyResults) -> ArmComparison:
    """Compare two sides over fresh runs and cells, or say why that cannot be done."""
    plain = ArmComparison(a=a, b=b)
    try:
        same_splits = _same_data(a, b)
        found = _same_cells(a, b, study)
    except UserError as error:
        found, same_splits = dataclasses.replace(plain, why=error.rule), ()
    flags = (*same_splits, *found.flags)
    found = dataclasses.replace(found, a=a, b=b, flags=flags)
    return found if study.cells == "fixed" else _fresh_cells(found, study)


def _fresh_cells(same: ArmComparison, study: StudyResults) -> ArmComparison:
    """Let the comparison over fresh cells decide, where predictions allow it."""
    try:
        found = compare_sides(same.a, same.b, study.runs_dir, study.margin)
    except UserError as error:
        if same.p is None:
            return same
        sentence = f"a verdict on these very cells alone: {error.rule}"
        return dataclasses.replace(
            same, flags=(*same.flags, Flag("same_cells_only", "warning", sentence, {}))
        )
    others = dict(same.others)
    if same.p is not None:
        others = {same.test: same.p} | others
    # A model without luck is whole in one run: a fresh one would be the same.
    kept = tuple(flag for flag in same.flags if flag.id != ONE_RUN_EACH or not found.tested)
    told = dataclasses.replace(
        same,
        test=NAME,
        interval=interval_of(found),
        p=found.p if found.tested else None,
        others=others,
        equivalence=equivalence_of(found) if found.tested else None,
        detectable=detectable(found.parts),
        flags=(*kept, *flags_of_cells(found)),
        parts=found.parts,
        speaks_for=found.words,
        shares=variance_shares(found.parts),
    )
    if found.tested:
        return told
    return dataclasses.replace(told, why=NEEDS_RUNS)


def _same_cells(a: ArmRuns, b: ArmRuns, study: StudyResults) -> ArmComparison:
    """Test runs alone, as the study asks: it speaks of these very cells."""
    if a.values.size > 1 and b.values.size > 1 and not (a.fixed or b.fixed):
        return _of_runs(a, b, study)
    if not a.fixed and a.values.size > 1:
        return _against_one(a, b, study, 1.0)
    if not b.fixed and b.values.size > 1:
        return _against_one(b, a, study, -1.0)
    return _cell_by_cell(a, b, study)


def _cell_by_cell(a: ArmRuns, b: ArmRuns, study: StudyResults) -> ArmComparison:
    """Compare one run of each where runs are single or one number; say what that leaves out."""
    for side in (a, b):
        if side.values.size > 1 and not side.fixed:
            raise UserError(
                NEEDS_RUNS,
                got="one run",
                remedy="run more seeds",
            )
    shared = [seed for seed in a.seeds if seed in b.seeds]
    one, other = (
        side.records[side.seeds.index(shared[0])] if shared else side.records[0] for side in (a, b)
    )
    found = by_cell(one, other, a.metric, study.runs_dir, SEED)
    asked = MCNEMAR in study.tests and a.metric == "accuracy"
    sentence = (
        f"{a.arm} and {b.arm} are compared cell by cell, one trained model with one other: what a "
        "fresh run would give is not known"
    )
    single = Flag(ONE_RUN_EACH, "warning", sentence, {"cells": float(found.cells)})
    return ArmComparison(
        a=a,
        b=b,
        test=MCNEMAR if asked else TEST,
        interval=found.interval,
        p=mcnemar(one, other, study.runs_dir).p if asked else found.p,
        flags=() if a.fixed and b.fixed and min(a.values.size, b.values.size) > 1 else (single,),
    )


def _same_data(a: ArmRuns, b: ArmRuns) -> tuple[Flag, ...]:
    """Refuse other cells; flag runs of one model and seed that were split in different ways."""
    data = [{"data": str(side.records[0]["data"]["fingerprint"])} for side in (a, b)]
    stats.require_same_data(data[0], data[1], (a.arm, b.arm))
    if a.model != b.model:
        # A model that needs no selection set trains on its cells too: other splits, by design.
        return ()
    splits = [
        {facts["seed"]: facts.get("split", {}).get("fingerprint") for facts in side.records}
        for side in (a, b)
    ]
    shared = [seed for seed in splits[0] if seed in splits[1]]
    differ = sum(splits[0][seed] != splits[1][seed] for seed in shared)
    if not differ:
        return ()
    sentence = (
        f"{a.arm} and {b.arm} split the cells differently in {differ} of {len(shared)} shared "
        "seeds: part of their difference may be the split"
    )
    return (Flag("different_splits", "warning", sentence, {"seeds": float(differ)}),)


def _of_runs(a: ArmRuns, b: ArmRuns, study: StudyResults) -> ArmComparison:
    shared = len(set(a.seeds) & set(b.seeds))
    found = stats.compare(
        _arm(a),
        _arm(b),
        rng=np.random.default_rng(SEED),
        paired_on=(a.seeds, b.seeds) if shared > 1 else None,
        margin=study.margin,
    )
    asked = [test for test in study.tests if test in found.p] or ["welch"]
    # The paper's own test may be asked for beside a better one; it decides only where it is alone.
    asked.sort(key=lambda test: test == "student")
    test = asked[0]
    kind = "paired" if tests.is_paired(test) else "welch"
    return ArmComparison(
        a=a,
        b=b,
        test=test,
        interval=found.intervals.get(test, found.interval),
        p=found.p[test],
        others={name: found.p[name] for name in asked[1:]},
        equivalence=found.equivalence.get(kind) or found.equivalence.get("welch"),
        effect=found.effect.estimate,
        detectable=found.smallest_detectable,
        flags=found.flags,
    )


def _against_one(
    several: ArmRuns, single: ArmRuns, study: StudyResults, sign: float
) -> ArmComparison:
    """Test runs against the one number of a model without luck; anything else is refused."""
    if not single.fixed:
        raise UserError(
            "a test over runs needs two runs of each arm",
            got=f"{single.values.size} of {single.arm}",
            remedy="run more seeds",
        )
    outcome = stats.one_sample(several.values, single.mean)
    # Two copies of a number do not vary: Welch's error is that of the other arm alone.
    copies = np.array([single.mean, single.mean])
    left, right = (several.values, copies) if sign > 0 else (copies, several.values)
    interval = outcome.interval
    assert interval is not None
    if sign < 0:
        interval = Interval(-interval.high, -interval.low, interval.level, interval.method)
    flags = stats.compare(_arm(several), copies, rng=np.random.default_rng(SEED), margin=None).flags
    return ArmComparison(
        a=several,
        b=single,
        test="one_sample",
        interval=interval,
        p=outcome.p,
        equivalence=stats.tost_welch(left, right, study.margin),
        detectable=stats.detectable_difference(
            float(several.values.std(ddof=1)), several.values.size
        ),
        flags=tuple(
            flag for flag in flags if not flag.sentence.startswith(("arm b", "the 2 runs of arm b"))
        ),
    )


def _arm(side: ArmRuns) -> ArmValues:
    crashed = [
        any(str(text).startswith("collapsed") for text in facts.get("warnings", ()))
        for facts in side.records
    ]
    reported = any(
        facts.get("selected", {}).get("selection") == "reported" for facts in side.records
    )
    return ArmValues(
        values=side.values,
        name=side.arm,
        deterministic=registry.named(side.model).deterministic,
        training_fingerprints=[
            str(facts.get("split", {}).get("fingerprint")) for facts in side.records
        ],
        selected_on="test" if reported else None,
        reported_on="test",
        collapsed=crashed if any(crashed) else None,
    )


def leading(found: Sequence[ArmComparison]) -> list[ArmComparison]:
    """Choose the comparisons that speak for the study: first metric and data set, most labels."""
    if not found:
        return []
    metric, dataset = found[0].a.metric, found[0].a.dataset
    here = [each for each in found if each.a.metric == metric and each.a.dataset == dataset]
    most = max(each.a.fraction for each in here)
    return [each for each in here if each.a.fraction == most]


def flags_of(found: Sequence[ArmComparison]) -> list[tuple[str, str, str, str]]:
    """List each flag once: severity, id, sentence, and where it was raised."""
    places: dict[tuple[str, str, str], list[str]] = {}
    for each in found:
        where = f"{each.a.dataset} {each.a.fraction:.0%} {each.a.metric}"
        for flag in each.flags:
            at = places.setdefault((flag.severity, flag.id, flag.sentence), [])
            if where not in at:
                at.append(where)
    order = ("severe", "warning", "note")
    rows: list[Any] = sorted(
        ((*key, ", ".join(where)) for key, where in places.items()),
        key=lambda row: (order.index(row[0]), row[1]),
    )
    return rows
