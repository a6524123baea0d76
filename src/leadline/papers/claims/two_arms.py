"""Criteria on the difference of two arms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from leadline.errors import UserError
from leadline.papers.claims.result import Context, Part, Verdict, not_run
from leadline.papers.claims.schema import Check
from leadline.report.compare.difference import difference
from leadline.report.compare.evidence import ArmScores, Condition, Difference, PValue
from leadline.report.compare.families import adjusted, cells_of, is_paired
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
            found = difference(context.evidence, *sides, context.setting)
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
    found: Difference | None,
    sides: tuple[ArmScores, ArmScores],
) -> Part:
    numbers = _numbers(sides, found, label)
    if found is None:
        missing = "; ".join(side.missing for side in sides if side.mean is None)
        return not_run(label, missing, numbers=numbers)
    untested = found.basis == "one number" and "one_sample" not in found.p
    if untested and check.criterion != "order":
        return not_run(label, "an arm has one run only: nothing can be tested", numbers=numbers)
    tests = _tests(context, check, found)
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
        p=_reported(tests),
        fails_under=failing,
        undecided=undecided,
        numbers=numbers,
        flags=tuple(flags),
        margin=_closeness(tests, context.setting.alpha),
    )


def _numbers(
    sides: tuple[ArmScores, ArmScores], found: Difference | None, label: str
) -> dict[str, float]:
    known = {side.cell.label: side.recomputed for side in sides}
    if found is not None and found.basis != "printed means and p":
        known[f"{label}, p"] = found.p.get("student")
    return {name: value for name, value in known.items() if value is not None}


def _tests(context: Context, check: Check, found: Difference) -> dict[str, PValue]:
    """Give every test of the pair, and those corrected over its family."""
    tests = found.tests
    if check.family:
        family = context.families[check.family]
        corrected = adjusted(context.evidence, check.family, family, context.setting)
        tests |= corrected.get((found.a.cell, found.b.cell), {})
    return tests


def _reported(tests: Tests) -> dict[str, float]:
    """Give p by test; where only a range is known, its ends."""
    p: dict[str, float] = {}
    for test, value in tests.items():
        if value.p is not None:
            p[test] = value.p
        else:
            p[f"{test}_at_least"], p[f"{test}_at_most"] = value.least, value.most
    return p


def _better(context: Context, check: Check, found: Difference, tests: Tests) -> list[str]:
    """Name the tests that may overrule the paper's: declared as better, possible, able to speak."""
    paired = is_paired(check.pairing, context.evidence)
    return [
        test
        for test in tests
        if test in context.setting.better
        # Better than its unpaired fellow only where the runs of both arms share something.
        and (paired or not needs_pairs(test))
        and found.smallest_p.get(test, 0.0) < context.setting.alpha
    ]


def _closeness(tests: Tests, alpha: float) -> float:
    """Measure how far Student's p (or the one in its place) lies from the level."""
    value = tests.get("student") or tests.get("one_sample")
    return math.inf if value is None else abs(math.log10(max(value.most, 1e-300) / alpha))


Decision = tuple[Verdict, str, tuple[str, ...], tuple[str, ...]]


def _below(context: Context, check: Check, found: Difference, tests: Tests) -> Decision:
    """Mean of a below mean of b; a better test must find it significant."""
    if found.estimate >= 0:
        return Verdict.FAILS, f"the difference is {found.estimate:+.4f}", (), ()
    return _significant(context, check, found, tests)


def _order(context: Context, check: Check, found: Difference, tests: Tests) -> Decision:
    """Mean of a not above mean of b, whatever a test says."""
    verdict = Verdict.FAILS if found.estimate > 0 else Verdict.HOLDS
    return verdict, f"the difference is {found.estimate:+.4f}", (), ()


def _significantly_below(
    context: Context, check: Check, found: Difference, tests: Tests
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


def _significant(context: Context, check: Check, found: Difference, tests: Tests) -> Decision:
    alpha = context.setting.alpha
    better = _better(context, check, found, tests)
    asked = [test for test in better if not test.startswith("tost")]
    failing = tuple(test for test in asked if tests[test].least >= alpha)
    undecided = tuple(test for test in asked if tests[test].least < alpha <= tests[test].most)
    if failing:
        named = ", ".join(f"{test} p {tests[test]}" for test in failing)
        return Verdict.FRAGILE, f"not significant under {named}", failing, undecided
    return Verdict.HOLDS, f"difference {found.estimate:+.4f}", (), undecided


def _not_significant(context: Context, check: Check, found: Difference, tests: Tests) -> Decision:
    """Student's test does not find a difference; better ones neither."""
    student = tests.get("student")
    if student is None:
        return Verdict.NOT_RUN, "Student's test needs at least two runs of each arm", (), ()
    if student.most < context.setting.alpha:
        return Verdict.FAILS, f"significant: Student p {student}", ("student",), ()
    return _no_difference(context, check, found, tests)


def _gap_within(context: Context, check: Check, found: Difference, tests: Tests) -> Decision:
    """Ask for means that differ by less than a limit, and for no test that finds a difference."""
    limit = float(check.limits[found.a.cell.metric])
    if abs(found.estimate) > limit:
        return Verdict.FAILS, f"the difference {found.estimate:+.4f} exceeds {limit:g}", (), ()
    return _no_difference(context, check, found, tests, also=("student",))


def _no_difference(
    context: Context,
    check: Check,
    found: Difference,
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


DECISIONS: Mapping[str, Callable[[Context, Check, Difference, Tests], Decision]] = {
    "below": _below,
    "order": _order,
    "significantly_below": _significantly_below,
    "not_significant": _not_significant,
    "gap_within": _gap_within,
}
