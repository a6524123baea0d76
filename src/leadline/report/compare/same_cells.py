"""Tests over the runs of two arms: what fresh runs on the very same held-out cells would give.

They know nothing of which cells were held out, so they decide nothing unless a question is about
these very cells; `fresh_cells` asks for fresh cells too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from leadline import stats
from leadline.errors import UserError
from leadline.report.compare.arms import FINEST_MARKER, ArmRuns, Floats
from leadline.report.compare.caveats import (
    SEED,
    noted_collapse,
    reused,
    selected_on_reported,
)
from leadline.report.compare.comparison import ArmComparison, PValue
from leadline.report.compare.printed import stand_in
from leadline.report.compare.setting import ClaimSettings
from leadline.stats import ArmValues, tests
from leadline.stats.compare import arm_flags

NEEDS_RUNS = "a test over runs needs two runs of each arm, or one model without luck"
# The better tests of a study stand before the paper's own, which decides only where it is alone.
LAST = "student"
Marks = tuple[Floats | None, Floats | None]


def compare_runs(
    a: ArmRuns,
    b: ArmRuns,
    setting: ClaimSettings,
    *,
    asked: Sequence[str] = (),
    marks: Marks | None = None,
) -> ArmComparison:
    """Test two arms over their runs alone, in every way that there is.

    Parameters
    ----------
    asked
        Tests in the order in which they may decide; without, Welch's does.
    marks
        Which runs of either arm collapsed to one class; without, as their records say.

    Raises
    ------
    UserError
        When an arm has one run only of a model with luck, or no run differs from another.
    """
    marked = (noted_collapse(a), noted_collapse(b)) if marks is None else marks
    if min(a.values.size, b.values.size) > 1:
        found = _of_runs(a, b, setting, asked, marked)
    elif b.values.size == 1:
        found = _against_one(a, b, setting, marked[0], 1.0)
    else:
        found = _against_one(b, a, setting, marked[1], -1.0)
    chosen = (selected_on_reported(side, setting) for side in (a, b))
    flags = (*found.flags, *(flag for flag in chosen if flag is not None))
    return replace(found, a=a, b=b, flags=flags)


def _of_runs(
    a: ArmRuns, b: ArmRuns, setting: ClaimSettings, asked: Sequence[str], marks: Marks
) -> ArmComparison:
    shared = set(a.seeds) & set(b.seeds) - {None}
    found = stats.compare(
        _arm(a, marks[0]),
        _arm(b, marks[1]),
        rng=np.random.default_rng(SEED),
        paired_on=(a.seeds, b.seeds) if len(shared) > 1 else None,
        margin=setting.margin,
    )
    p = {**found.p, **{f"tost_{name}": each.p for name, each in found.equivalence.items()}}
    done = {
        name: PValue(p.get(name), found.p_bounds[name].low, found.p_bounds[name].high)
        if name in found.p_bounds
        else PValue.of(p[name])
        for name in dict.fromkeys((*p, *found.p_bounds))
    }
    done |= against_fixed(a, b) | without_collapsed(a, b, marks)
    possible = sorted((name for name in asked if name in found.p), key=lambda name: name == LAST)
    test = possible[0] if possible else "welch"
    # A model without luck is one number: its copies are no sample, whatever was asked.
    if "one_sample" in done and not a.published:
        test = "one_sample"
    kind = "paired" if tests.is_paired(test) else "welch"
    return ArmComparison(
        a=a,
        b=b,
        basis="runs",
        test=test,
        interval=found.intervals.get(test, found.interval),
        p=done[test].p,
        tests=done,
        others={name: p[name] for name in possible if name != test},
        smallest_p=found.smallest_p,
        equivalence=found.equivalence.get(kind) or found.equivalence.get("welch"),
        effect=found.effect,
        detectable=found.smallest_detectable,
        flags=found.flags,
    )


def _arm(side: ArmRuns, marks: Floats | None) -> ArmValues:
    again = reused(side)
    scripts = ["few-shot script" if other else "fine-tuning script" for other in again]
    return ArmValues(
        values=side.values,
        widths=side.widths,
        name=side.name,
        deterministic=side.fixed,
        # Our own records stand in the order of their names, and markers in that of their scores.
        ordered=side.published and float(side.widths.max()) <= FINEST_MARKER,
        batches=scripts if any(again) else None,
        collapsed=None if marks is None else [bool(mark) for mark in marks],
    )


def _against_one(
    several: ArmRuns, single: ArmRuns, setting: ClaimSettings, marks: Floats | None, sign: float
) -> ArmComparison:
    """Test the runs of one arm against the one number of a model without luck."""
    if not single.without_luck or several.values.size < 2:
        raise UserError(NEEDS_RUNS, got="one run only", remedy="run more seeds")
    outcome = stats.one_sample(several.values, single.mean)
    assert outcome.interval is not None
    ends = sorted((sign * outcome.interval.low, sign * outcome.interval.high))
    # Two copies of a number do not vary: Welch's error is that of the other arm alone.
    copies = np.array([single.mean, single.mean])
    left, right = (several.values, copies) if sign > 0 else (copies, several.values)
    flags = arm_flags(_arm(several, marks), np.random.default_rng(SEED))
    return ArmComparison(
        a=several,
        b=single,
        basis="one number",
        test="one_sample",
        interval=replace(outcome.interval, low=ends[0], high=ends[1]),
        p=outcome.p,
        tests={"one_sample": PValue.of(outcome.p)},
        equivalence=stats.tost_welch(left, right, setting.margin),
        detectable=stats.detectable_difference(
            float(several.values.std(ddof=1)), several.values.size
        ),
        flags=tuple(flag for flag in flags if flag is not None),
    )


def against_fixed(a: ArmRuns, b: ArmRuns) -> dict[str, PValue]:
    """Test against one fixed number where an arm is a model without luck on the same cells."""
    for side, other in ((b, a), (a, b)):
        summary = other.summary() if side.fixed else None
        if summary is not None and summary.sd > 0:
            return {"one_sample": PValue.of(stats.one_sample(stand_in(summary), side.mean).p)}
    return {}


def without_collapsed(a: ArmRuns, b: ArmRuns, marks: Marks) -> dict[str, PValue]:
    """Give Welch's test of the runs that did not collapse, where both arms have two of them."""
    if marks[0] is None and marks[1] is None:
        return {}
    samples = []
    for side, mark in zip((a, b), marks, strict=True):
        kept = side.values if mark is None else side.values[mark == 0]
        summary = side.summary() if mark is None else None
        if mark is not None and kept.size > 1:
            summary = stats.summarise(kept)
        if summary is not None:
            samples.append(summary)
    if len(samples) < 2:
        return {}
    return {"welch_trained": PValue.of(stats.welch_from_summaries(samples[0], samples[1]).p)}
