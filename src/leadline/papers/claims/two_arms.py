"""Criteria on the difference of two arms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from leadline.errors import UserError
from leadline.papers.claims.result import Context, Part, Verdict, not_run
from leadline.papers.claims.schema import Check
from leadline.report.compare.arms import ArmRuns, Condition
from leadline.report.compare.bounded_cells import DEPENDS, UNTOLD
from leadline.report.compare.comparison import ArmComparison, PValue
from leadline.report.compare.families import adjusted, cells_of, is_paired
from leadline.report.compare.fresh_cells import NAME
from leadline.report.compare.pair import compare_pair
from leadline.report.compare.printed import FROM_P
from leadline.report.compare.same_cells import NEEDS_RUNS
from leadline.stats import Flag
from leadline.stats.tests import is_paired as needs_pairs

Tests = Mapping[str, PValue]


def compare_arms(context: Context, check: Check) -> Iterator[Part]:
    """Evaluate the criteria on the difference of two arms, cell by cell."""
    for a, b in cells_of(check.pairs):
        assert b is not None, f"{check.criterion} needs two arms"
        label = f"{a.where} {a.metric}, {_pair(a, b)}"
        label += ", order" if check.criterion == "order" else ""
        try:
            sides = context.evidence.side(a), context.evidence.side(b)
            if vague := "; ".join(filter(None, (side.decides_nothing for side in sides))):
                yield not_run(label, vague)
                continue
            found = compare_pair(context.evidence, *sides, context.setting)
            yield _judged(context, check, label, found, sides)
        except UserError as error:
            yield not_run(label, str(error))


def _pair(a: Condition, b: Condition) -> str:
    if a.model == b.model:
        return f"{a.arm} - {b.arm}"
    return f"{a.model} - {b.model}"


def _judged(
    context: Context,
    check: Check,
    label: str,
    found: ArmComparison | None,
    sides: tuple[ArmRuns, ArmRuns],
) -> Part:
    numbers = _numbers(sides, found, label)
    if found is None:
        missing = "; ".join(side.missing for side in sides if not side.known)
        return not_run(label, missing, numbers=numbers)
    tests = _tests(context, check, found)
    if check.criterion != "order":
        if found.basis == "one number" and not {"one_sample", NAME} & set(tests):
            return not_run(label, f"{NEEDS_RUNS}: an arm has one run only", numbers=numbers)
        if found.a.records and NAME not in tests:
            return not_run(label, found.why, numbers=numbers)
    verdict, reason, failing, undecided = DECISIONS[check.criterion](context, check, found, tests)
    flags = list(found.flags)
    if undecided:
        named = ", ".join(f"{test} ({tests[test]})" for test in undecided)
        sentence = f"what is known of the runs does not decide {named}"
        flags.append(Flag("undecided_test", "warning", sentence))
    return Part(
        label=label,
        verdict=verdict,
        reason=reason,
        estimate=found.estimate,
        interval=found.interval,
        p=reported(tests),
        fails_under=failing,
        undecided=undecided,
        numbers=numbers,
        flags=tuple(flags),
        margin=_closeness(tests, context.setting.alpha),
    )


def _numbers(
    sides: tuple[ArmRuns, ArmRuns], found: ArmComparison | None, label: str
) -> dict[str, float]:
    known = {side.cell.label: side.recomputed for side in sides}
    if found is not None and found.basis != FROM_P:
        known[f"{label}, p"] = found.p_of("student")
    return {name: value for name, value in known.items() if value is not None}


def _tests(context: Context, check: Check, found: ArmComparison) -> Tests:
    """Give every test of the pair, and those corrected over its family."""
    if not check.family:
        return found.tests
    family = context.families[check.family]
    corrected = adjusted(context.evidence, check.family, family, context.setting)
    return {**found.tests, **corrected.get((found.a.cell, found.b.cell), {})}


def reported(tests: Tests) -> dict[str, float]:
    """Give p by test; where only a range is known, its ends."""
    p: dict[str, float] = {}
    for test, value in tests.items():
        if value.p is not None:
            p[test] = value.p
        else:
            p[f"{test}_at_least"], p[f"{test}_at_most"] = value.least, value.most
    return p


def _better(context: Context, check: Check, found: ArmComparison, tests: Tests) -> list[str]:
    """Name the tests that may overrule the paper's: declared as better, possible, able to speak.

    Of runs with predictions it is the comparison over fresh cells alone.
    """
    paired = is_paired(check.pairing, context.evidence)
    told = found.test == NAME
    return [
        test
        for test in tests
        if test in context.setting.better
        and (is_of_fresh_cells(test) or not told)
        # Better than its unpaired fellow only where the runs of both arms share something.
        and (paired or not needs_pairs(test))
        and found.smallest_p.get(test, 0.0) < context.setting.alpha
    ]


def is_of_fresh_cells(test: str) -> bool:
    """Say whether a test, or its p after Holm's correction, asks for fresh cells too."""
    return test.removeprefix("tost_").removesuffix("_holm") == NAME


def _closeness(tests: Tests, alpha: float) -> float:
    """Measure how far Student's p (or the one in its place) lies from the level."""
    value = tests.get("student") or tests.get("one_sample")
    return math.inf if value is None else abs(math.log10(max(value.most, 1e-300) / alpha))


Decision = tuple[Verdict, str, tuple[str, ...], tuple[str, ...]]


def _below(context: Context, check: Check, found: ArmComparison, tests: Tests) -> Decision:
    """Mean of a below mean of b; a better test must find it significant."""
    if found.estimate >= 0:
        return Verdict.FAILS, f"the difference is {found.estimate:+.4f}", (), ()
    return _significant(context, check, found, tests)


def _order(context: Context, check: Check, found: ArmComparison, tests: Tests) -> Decision:
    """Mean of a not above mean of b, whatever a test says."""
    verdict = Verdict.FAILS if found.estimate > 0 else Verdict.HOLDS
    return verdict, f"the difference is {found.estimate:+.4f}", (), ()


def _significantly_below(
    context: Context, check: Check, found: ArmComparison, tests: Tests
) -> Decision:
    """Mean of a below mean of b, and significant under Student's test."""
    if found.estimate >= 0:
        return Verdict.FAILS, f"the difference is {found.estimate:+.4f}", (), ()
    student = tests.get("student")
    if student is None:
        return Verdict.NOT_RUN, "Student's test needs at least two runs of each arm", (), ()
    if student.least >= context.setting.alpha:
        return Verdict.FAILS, f"not significant: Student p {student}", ("student",), ()
    return _significant(context, check, found, tests)


def _significant(context: Context, check: Check, found: ArmComparison, tests: Tests) -> Decision:
    alpha = context.setting.alpha
    better = _better(context, check, found, tests)
    asked = [test for test in better if not test.startswith("tost")]
    open_ones = tuple(test for test in asked if tests[test].least < alpha <= tests[test].most)
    undecided = tuple(test for test in open_ones if not is_of_fresh_cells(test))
    # Better or worse over fresh cells only if no choice of cells could undo it.
    depends = tuple(test for test in open_ones if is_of_fresh_cells(test))
    failing = tuple(test for test in asked if tests[test].least >= alpha)
    if failing or depends:
        said = [f"not significant under {test} (p {tests[test]})" for test in failing]
        why = UNTOLD if any(flag.id == "cells_unknown" for flag in found.flags) else DEPENDS
        said += [f"{why} (p {tests[test]}, {test})" for test in depends[:1]]
        return Verdict.FRAGILE, "; ".join(said), (*failing, *depends), undecided
    return Verdict.HOLDS, f"difference {found.estimate:+.4f}", (), undecided


def _not_significant(
    context: Context, check: Check, found: ArmComparison, tests: Tests
) -> Decision:
    """Student's test does not find a difference; better ones neither."""
    student = tests.get("student")
    if student is None:
        return Verdict.NOT_RUN, "Student's test needs at least two runs of each arm", (), ()
    if student.most < context.setting.alpha:
        return Verdict.FAILS, f"significant: Student p {student}", ("student",), ()
    return _no_difference(context, check, found, tests)


def _gap_within(context: Context, check: Check, found: ArmComparison, tests: Tests) -> Decision:
    """Ask for means that differ by less than a limit, and for no test that finds a difference."""
    limit = float(check.limits[found.a.cell.metric])
    if abs(found.estimate) > limit:
        return Verdict.FAILS, f"the difference {found.estimate:+.4f} exceeds {limit:g}", (), ()
    return _no_difference(context, check, found, tests, also=("student",))


def _no_difference(
    context: Context,
    check: Check,
    found: ArmComparison,
    tests: Tests,
    also: tuple[str, ...] = (),
) -> Decision:
    alpha, margin = context.setting.alpha, context.setting.margin
    # Corrections make a difference harder to find: they would make this claim easier, not better.
    better = [t for t in _better(context, check, found, tests) if not t.endswith("_holm")]
    failing, undecided, reasons = [], [], []
    for test in (*(test for test in also if test in tests), *better):
        shown_equal = test.startswith("tost")
        if shown_equal and not check.equivalence:
            continue
        fails = tests[test].least >= alpha if shown_equal else tests[test].most < alpha
        if fails:
            failing.append(test)
            what = f"not shown equal within {margin:g} by" if shown_equal else "significant under"
            reasons.append(f"{what} {test} (p {tests[test]})")
        elif tests[test].least < alpha <= tests[test].most:
            undecided.append(test)
    if failing:
        return Verdict.FRAGILE, "; ".join(reasons), tuple(failing), tuple(undecided)
    return Verdict.HOLDS, f"difference {found.estimate:+.4f}", (), tuple(undecided)


DECISIONS: Mapping[str, Callable[[Context, Check, ArmComparison, Tests], Decision]] = {
    "below": _below,
    "order": _order,
    "significantly_below": _significantly_below,
    "not_significant": _not_significant,
    "gap_within": _gap_within,
}
