"""Criteria on the runs of one arm, and on the spread of two."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import scipy.stats

from leadline import stats
from leadline.errors import UserError
from leadline.papers.claims.result import Context, Part, Verdict, not_run
from leadline.papers.claims.schema import Check
from leadline.papers.claims.two_arms import is_of_fresh_cells, reported
from leadline.report.compare.arms import ArmRuns
from leadline.report.compare.caveats import SEED, arm_flags
from leadline.report.compare.comparison import PValue
from leadline.report.compare.families import cells_of
from leadline.report.compare.fresh_cells import NAME, UNTOLD, interval_of_mean
from leadline.report.compare.pair import compare_pair


def value_within(context: Context, check: Check) -> Iterator[Part]:
    """Mean of an arm inside limits."""
    for cell, _ in cells_of(check.pairs):
        side, label = context.evidence.side(cell), cell.label
        if not side.known or side.decides_nothing:
            yield not_run(label, side.decides_nothing or side.missing)
            continue
        low, high = (float(end) for end in check.limits[cell.metric])
        inside = low <= side.mean <= high
        yield Part(
            label=label,
            verdict=Verdict.HOLDS if inside else Verdict.FAILS,
            reason=f"{side.mean:.4f} is {'inside' if inside else 'outside'} {low:g} ... {high:g}",
            estimate=side.mean,
            interval=_interval(context, side),
            numbers=_known(label, side.recomputed),
            flags=tuple(arm_flags(side)),
            margin=min(abs(side.mean - low), abs(high - side.mean)),
        )


def range_at_least(context: Context, check: Check) -> Iterator[Part]:
    """Ask that runs which differ in nothing but the seed lie at least so far apart."""
    for cell, _ in cells_of(check.pairs):
        side, label = context.evidence.side(cell), f"{cell.label}, range"
        if not side.has_runs or side.n < 2:
            yield not_run(label, f"fewer than two runs: {cell.label}")
            continue
        spread, limit = float(np.ptp(side.values)), float(check.limits[cell.metric])
        enough = spread >= limit
        yield Part(
            label=label,
            verdict=Verdict.HOLDS if enough else Verdict.FAILS,
            reason=f"{side.n} runs span {spread:.4f}, {'not ' * enough}less than {limit:g}",
            estimate=spread,
            numbers={label: spread},
            flags=tuple(arm_flags(side)),
            margin=abs(spread - limit),
        )


def spread_below(context: Context, check: Check) -> Iterator[Part]:
    """Seeds of arm a spread less than those of arm b; better: Brown and Forsythe's test."""
    for a, b in cells_of(check.pairs):
        assert b is not None, "spread_below needs two arms"
        sides = context.evidence.side(a), context.evidence.side(b)
        label = f"{a.where} {a.metric}, spread of {a.arm} - {b.arm}"
        if any(not side.has_runs or side.n < 3 for side in sides):
            yield not_run(label, f"fewer than three runs of {a.arm} or {b.arm} on {a.where}")
            continue
        sds = [stats.spread(side.values) for side in sides]
        p = float(scipy.stats.levene(*(side.values for side in sides), center="median").pvalue)
        smaller, sure = sds[0] < sds[1], p < context.setting.alpha
        verdict = Verdict.FAILS if not smaller else Verdict.HOLDS if sure else Verdict.FRAGILE
        yield Part(
            label=label,
            verdict=verdict,
            reason=f"standard deviations {sds[0]:.4f} and {sds[1]:.4f}, Brown-Forsythe p {p:.2g}",
            estimate=sds[0] - sds[1],
            p={"brown_forsythe": p},
            fails_under=("brown_forsythe",) if verdict is Verdict.FRAGILE else (),
            numbers={f"{s.cell.label}, sd": sd for s, sd in zip(sides, sds, strict=True)},
        )


def two_groups(context: Context, check: Check) -> Iterator[Part]:
    """Ask that runs of one arm fall into two groups, the lower with a share inside the limits.

    The eye can always cut a line of points in two, and that is the paper's criterion; better: the
    best cut must be better than that of one population.
    """
    for cell, _ in cells_of(check.pairs):
        side, label = context.evidence.side(cell), f"{cell.label}, two groups"
        try:
            modes = stats.find_modes(side.values, np.random.default_rng(SEED))
        except UserError as error:
            yield not_run(label, str(error))
            continue
        share = len(modes.low) / side.values.size
        low, high = (float(end) for end in check.limits[cell.metric])
        inside, sure = low <= share <= high, modes.p < context.setting.alpha
        verdict = Verdict.FAILS if not inside else Verdict.HOLDS if sure else Verdict.FRAGILE
        yield Part(
            label=label,
            verdict=verdict,
            reason=f"{len(modes.low)} of {side.values.size} runs below a gap of {modes.gap:.4f}, "
            f"best cut p {modes.p:.2g}",
            estimate=modes.gap,
            p={"best_cut": modes.p},
            fails_under=("best_cut",) if verdict is Verdict.FRAGILE else (),
            numbers={f"{cell.label}, gap": modes.gap, f"{cell.label}, share of low runs": share},
            flags=tuple(arm_flags(side)),
        )


def _interval(context: Context, side: ArmRuns) -> stats.Interval | None:
    """Give the interval of a mean: over fresh cells where there are predictions, else over runs."""
    if side.records and context.evidence.runs_dir is not None:
        return interval_of_mean(side, context.evidence.runs_dir)
    if side.has_runs:
        varies = side.n > 1 and float(np.ptp(side.values)) > 0
        return stats.student_interval(side.values) if varies else None
    summary = side.summary()
    if summary is None:
        return None
    return stats.t_tests.t_interval(
        summary.mean, summary.sd / math.sqrt(summary.n), summary.n - 1, 0.95, "student t, ddof 1"
    )


def _known(label: str, value: float | None) -> dict[str, float]:
    return {} if value is None else {label: value}


def rises_with_fraction(context: Context, check: Check) -> Iterator[Part]:
    """Means of one arm rise from each share of the labels to the next; better: over the runs."""
    for cell, _ in cells_of(replace(check.pairs, fractions=check.fractions[:1])):
        sides = [context.evidence.side(replace(cell, fraction=f)) for f in sorted(check.fractions)]
        label = f"{cell.dataset} {cell.model}/{cell.arm} {cell.metric} over labels"
        missing = [s.missing for s in sides if not s.known]
        numbers = {s.cell.label: s.recomputed for s in sides if s.recomputed is not None}
        if missing:
            yield not_run(label, "; ".join(missing), numbers=numbers)
            continue
        means = [s.mean for s in sides]
        rises = bool((np.diff(means) > 0).all())
        tests = _trend(context, sides) if all(s.has_runs for s in sides) else {}
        p = reported(tests)
        failing = tuple(t for t in tests if tests[t].most >= context.setting.alpha and rises)
        if sides[0].records:
            # Of runs with predictions the one test over fresh cells has a vote.
            failing = tuple(test for test in failing if is_of_fresh_cells(test))
            if NAME not in tests:
                yield not_run(label, f"{UNTOLD}: no predictions", numbers=numbers)
                continue
        verdict = Verdict.FAILS if not rises else Verdict.FRAGILE if failing else Verdict.HOLDS
        yield Part(
            label=label,
            verdict=verdict,
            reason="means " + ", ".join(f"{mean:.4f}" for mean in means),
            estimate=means[-1] - means[0],
            p=p,
            fails_under=failing,
            numbers=numbers,
            margin=float(np.diff(means).min()),
        )


def _trend(context: Context, sides: list[ArmRuns]) -> dict[str, PValue]:
    """Test a trend over the runs, and of runs with predictions the ends of it over fresh cells."""
    fractions = np.concatenate([np.full(s.n, s.cell.fraction) for s in sides])
    values = np.concatenate([s.values for s in sides])
    found = {"spearman": PValue.of(float(scipy.stats.spearmanr(fractions, values).pvalue))}
    if not all(side.records for side in sides):
        return found
    try:
        ends = compare_pair(context.evidence, sides[-1], sides[0], context.setting)
    except UserError:
        return found
    return found if ends is None or NAME not in ends.tests else found | {NAME: ends.tests[NAME]}


def gap_shrinks_with_fraction(context: Context, check: Check) -> Iterator[Part]:
    """Mean of a less mean of b falls from each share of the labels to the next."""
    for first, second in cells_of(replace(check.pairs, fractions=check.fractions[:1])):
        assert second is not None, "a gap needs two arms"
        gaps, numbers, missing = [], {}, []
        for fraction in sorted(check.fractions):
            pair = [replace(cell, fraction=fraction) for cell in (first, second)]
            a, b = (context.evidence.side(cell) for cell in pair)
            if not (a.known and b.known):
                missing += [side.missing for side in (a, b) if not side.known]
                continue
            gaps.append(a.mean - b.mean)
            numbers[f"{a.cell.where} {first.metric}, gap"] = gaps[-1]
        label = f"{first.dataset} {first.metric}, gap over labels"
        if missing:
            yield not_run(label, "; ".join(missing), numbers=numbers)
            continue
        falls = bool((np.diff(gaps) < 0).all())
        yield Part(
            label=label,
            verdict=Verdict.HOLDS if falls else Verdict.FAILS,
            reason="gaps " + ", ".join(f"{gap:+.4f}" for gap in gaps),
            estimate=gaps[0] - gaps[-1],
            numbers=numbers,
            margin=float(-np.diff(gaps).max()),
        )
