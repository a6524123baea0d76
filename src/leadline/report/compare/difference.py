"""The difference of two sides under every test that what is known of them allows.

From the most to the least that may be known: the runs; runs against one number of a deterministic
model; printed means with intervals; printed means and p. What is missing is bounded, not guessed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from leadline import stats
from leadline.report.compare.caveats import (
    SEED,
    collapsed,
    is_fixed,
    marker_flags,
    name_of,
    printed_flags,
    reused,
    selected_on_reported,
)
from leadline.report.compare.evidence import FINEST_MARKER, ArmScores, Difference, Evidence, Floats
from leadline.report.compare.printed import from_printed_p, from_summaries, stand_in
from leadline.report.compare.setting import ClaimSettings
from leadline.stats import ArmValues, Flag, Interval

Marks = tuple[Floats | None, Floats | None]


def difference(
    evidence: Evidence, a: ArmScores, b: ArmScores, setting: ClaimSettings
) -> Difference | None:
    """Compare two sides; None where a mean is missing. Computed once for each pair of cells."""
    key = (a.cell, b.cell)
    if key not in evidence.compared:
        evidence.compared[key] = _difference(evidence, a, b, setting)
    found: Difference | None = evidence.compared[key]
    return found


def _difference(
    evidence: Evidence, a: ArmScores, b: ArmScores, setting: ClaimSettings
) -> Difference | None:
    if a.mean is None or b.mean is None:
        return None
    row = evidence.printed_test(a.cell, b.cell)
    printed_p = float(row["p_value"]) if row and row["p_value"] == row["p_value"] else None
    marks = collapsed(evidence, a, setting), collapsed(evidence, b, setting)
    if a.has_runs and b.has_runs and min(a.n, b.n) > 1:
        found = _from_runs(a, b, setting, evidence.own, marks)
    elif a.n == 1 or b.n == 1:
        found = _from_one_number(a, b, setting, evidence.own)
    elif a.summary() is not None and b.summary() is not None:
        found = from_summaries(a, b, setting.margin)
    elif printed_p is not None and a.n == b.n:
        found = from_printed_p(a, b, printed_p, setting.margin)
    else:
        found = Difference(a=a, b=b, basis="means", estimate=a.mean - b.mean)
    flags = [*found.flags]
    if found.basis.startswith("printed"):
        for side, mark in zip((a, b), marks, strict=True):
            flags += marker_flags(side, mark, setting)
    found = replace(found, p=_p_of_fixed(found, setting), printed_p=printed_p)
    found = replace(found, p=_p_of_trained(found, marks))
    return replace(found, flags=(*flags, *printed_flags(found, row)))


def _from_runs(
    a: ArmScores, b: ArmScores, setting: ClaimSettings, own: bool, marks: Marks
) -> Difference:
    arms = (_arm(a, setting, own, marks[0]), _arm(b, setting, own, marks[1]))
    shared = set(a.seeds) & set(b.seeds) - {None}
    compared = stats.compare(
        *arms,
        rng=np.random.default_rng(SEED),
        paired_on=(a.seeds, b.seeds) if len(shared) > 1 else None,
        margin=setting.margin,
    )
    tost = {f"tost_{name}": said.p for name, said in compared.equivalence.items()}
    return Difference(
        a=a,
        b=b,
        basis="runs",
        estimate=compared.estimate,
        interval=compared.interval,
        p={**compared.p, **tost},
        bounds=compared.p_bounds,
        smallest_p=compared.smallest_p,
        effect=compared.effect,
        n_pairs=compared.n_pairs,
        flags=(*compared.flags, *_selection_flags(setting, own, a, b)),
    )


def _arm(side: ArmScores, setting: ClaimSettings, own: bool, marks: Floats | None) -> ArmValues:
    again = reused(side)
    scripts = ["few-shot script" if other else "fine-tuning script" for other in again]
    return ArmValues(
        values=side.values,
        widths=side.widths,
        name=name_of(side),
        deterministic=is_fixed(side, setting),
        # Our own records stand in the order of their names, and markers in that of their scores.
        ordered=not own and float(side.widths.max()) <= FINEST_MARKER,
        batches=scripts if any(again) else None,
        collapsed=None if marks is None else [bool(mark) for mark in marks],
    )


def _selection_flags(setting: ClaimSettings, own: bool, *sides: ArmScores) -> list[Flag]:
    found = (selected_on_reported(side, setting, own) for side in sides)
    return [flag for flag in found if flag is not None]


def _from_one_number(a: ArmScores, b: ArmScores, setting: ClaimSettings, own: bool) -> Difference:
    """Test the runs of one side against the single number of a deterministic model."""
    assert a.mean is not None and b.mean is not None
    bare = Difference(a=a, b=b, basis="one number", estimate=a.mean - b.mean)
    single, several = (b, a) if b.n == 1 else (a, b)
    if several.n < 2 or not several.has_runs or single.cell.model not in setting.deterministic:
        return bare
    assert single.mean is not None
    outcome = stats.one_sample(several.values, single.mean)
    interval = outcome.interval
    assert interval is not None
    if several is b:
        interval = Interval(-interval.high, -interval.low, interval.level, interval.method)
    few = stats.few_runs(several.values, name_of(several))
    flags = (*([few] if few else []), *_selection_flags(setting, own, several))
    return replace(bare, interval=interval, p={"one_sample": outcome.p}, flags=flags)


def _p_of_fixed(found: Difference, setting: ClaimSettings) -> dict[str, float]:
    """Add the test against one fixed number where a side is a deterministic model on all labels."""
    p = dict(found.p)
    for side, other in ((found.b, found.a), (found.a, found.b)):
        summary = other.summary() if is_fixed(side, setting) else None
        if summary is not None and summary.sd > 0 and side.mean is not None:
            p.setdefault("one_sample", stats.one_sample(stand_in(summary), side.mean).p)
    return p


def _p_of_trained(found: Difference, marks: Marks) -> dict[str, float]:
    """Add Welch's test of the runs that did not collapse, where both arms have two of them."""
    p = dict(found.p)
    if marks[0] is None and marks[1] is None:
        return p
    samples = []
    for side, mark in zip((found.a, found.b), marks, strict=True):
        kept = side.values if mark is None else side.values[mark == 0]
        summary = side.summary() if mark is None else None
        if mark is not None and kept.size > 1:
            summary = stats.summarise(kept)
        if summary is not None:
            samples.append(summary)
    if len(samples) == 2:
        p["welch_trained"] = stats.welch_from_summaries(samples[0], samples[1]).p
    return p
