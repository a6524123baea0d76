"""Two arms of a study in one place → their difference, with what may be said of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from leadline import stats
from leadline.errors import UserError
from leadline.report.compare.arms import ArmRuns, sides_of
from leadline.report.compare.cells import mcnemar
from leadline.report.compare.comparison import ArmComparison, corrected_family
from leadline.report.compare.looks import stopped
from leadline.report.compare.pair import compare_records
from leadline.report.compare.setting import ClaimSettings
from leadline.report.study import StudyResults
from leadline.stats import Flag

# The one test that a study may ask for that is about two runs, not two arms.
MCNEMAR = "mcnemar"
THESE_MODELS = "these two trained models on fresh cells like these"


def comparisons(study: StudyResults) -> list[ArmComparison]:
    """Compare every pair of a study everywhere; each metric is a family, corrected for itself."""
    pairs = list(_pairs(study))
    judged: dict[int, ArmComparison] = {}
    # The metrics of one pair after each other: its predictions are read once.
    for at in sorted(range(len(pairs)), key=lambda at: _place(*pairs[at])):
        a, b = pairs[at]
        judged[at] = (
            stopped(a, b, study, judge, ArmComparison(a=a, b=b))
            if study.looks
            else judge(a, b, study)
        )
    found = [judged[at] for at in range(len(pairs))]
    corrected = dict(enumerate(found))
    for metric in dict.fromkeys(each.a.metric for each in found):
        family = {str(at): each for at, each in enumerate(found) if each.a.metric == metric}
        corrected |= {int(at): each for at, each in corrected_family(family).items()}
    return [corrected[at] for at in range(len(found))]


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


def _place(a: ArmRuns, b: ArmRuns) -> tuple[str, float, str, str]:
    """Tell pairs apart by all but their metric; those with one reference stand together."""
    return (a.dataset, a.fraction, b.name, a.name)


def judge(a: ArmRuns, b: ArmRuns, study: StudyResults) -> ArmComparison:
    """Compare two arms as the study asks, or say why that cannot be done."""
    setting = ClaimSettings(margin=study.margin)
    fixed_cells = study.cells == "fixed"
    try:
        splits = _same_data(a, b)
        found = compare_records(
            a, b, study.runs_dir, setting, asked=study.tests, fixed_cells=fixed_cells
        )
    except UserError as error:
        found, splits = ArmComparison(a=a, b=b, why=error.rule), ()
    if MCNEMAR in study.tests and a.metric == "accuracy":
        found = _with_mcnemar(found, study.runs_dir, decides=fixed_cells)
    return dataclasses.replace(found, flags=(*splits, *found.flags))


def _with_mcnemar(found: ArmComparison, runs_dir: Path, *, decides: bool) -> ArmComparison:
    """Add McNemar's test where both arms are one run: these trained models, no fresh ones."""
    one, other = (side.records[:1] if side.fixed else side.records for side in (found.a, found.b))
    if len(one) != 1 or len(other) != 1:
        return found
    try:
        p = mcnemar(one[0], other[0], runs_dir).p
    except UserError:
        return found
    if not decides or found.p is not None:
        return dataclasses.replace(found, others={**found.others, MCNEMAR: p})
    return dataclasses.replace(found, test=MCNEMAR, p=p, why="", speaks_for=THESE_MODELS)


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
