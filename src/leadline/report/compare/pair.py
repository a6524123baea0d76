"""Two arms in one place → their difference, from the most to the least that may be known of them.

Runs with predictions are compared over fresh runs and fresh cells. Of runs with scores alone, and
of printed means and intervals, p is bounded. Tests over runs alone stand beside either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from leadline.errors import UserError
from leadline.report.compare.arms import ArmRuns
from leadline.report.compare.bounded_cells import bound
from leadline.report.compare.caveats import collapsed, marker_flags, printed_flags
from leadline.report.compare.comparison import ArmComparison
from leadline.report.compare.evidence import Evidence
from leadline.report.compare.fresh_cells import over_fresh_cells
from leadline.report.compare.printed import from_printed_p, from_summaries
from leadline.report.compare.resplits import are_resplits, over_splits
from leadline.report.compare.same_cells import (
    Marks,
    against_fixed,
    compare_runs,
    without_collapsed,
)
from leadline.report.compare.setting import ClaimSettings


def compare_records(
    a: ArmRuns,
    b: ArmRuns,
    runs_dir: Path,
    setting: ClaimSettings,
    *,
    asked: Sequence[str] = (),
    fixed_cells: bool = False,
) -> ArmComparison:
    """Compare two arms whose records are there.

    Raises
    ------
    UserError
        When the question is about these very cells, and no test over runs can be done.
    """
    try:
        same = compare_runs(a, b, setting, asked=asked)
    except UserError as error:
        if fixed_cells:
            raise
        same = ArmComparison(a=a, b=b, why=error.rule)
    if fixed_cells:
        return same
    found = over_fresh_cells(same, runs_dir, setting.margin)
    if not found.test and are_resplits(a, b, runs_dir):
        return over_splits(same, runs_dir, setting.margin)
    return found


def compare_pair(
    evidence: Evidence, a: ArmRuns, b: ArmRuns, setting: ClaimSettings
) -> ArmComparison | None:
    """Compare two arms; None where a mean is missing. Computed once for each pair of conditions.

    Raises
    ------
    UserError
        When nothing can be tested.
    """
    key = (a.cell, b.cell)
    if key not in evidence.compared:
        evidence.compared[key] = _compare(evidence, a, b, setting)
    found: ArmComparison | None = evidence.compared[key]
    return found


def _compare(
    evidence: Evidence, a: ArmRuns, b: ArmRuns, setting: ClaimSettings
) -> ArmComparison | None:
    if not (a.known and b.known):
        return None
    if a.records and b.records and evidence.runs_dir is not None:
        return compare_records(a, b, evidence.runs_dir, setting)
    marks = collapsed(evidence, a, setting), collapsed(evidence, b, setting)
    row = evidence.printed_test(a.cell, b.cell)
    printed_p = float(row["p_value"]) if row and row["p_value"] == row["p_value"] else None
    if a.has_runs and b.has_runs and not untestable(a, b):
        found = compare_runs(a, b, setting, marks=marks)
    else:
        found = _of_printed(a, b, setting, printed_p, marks)
    found = replace(found, printed_p=printed_p)
    found = replace(found, flags=(*found.flags, *printed_flags(found, row)))
    return bound(found, setting)


def untestable(a: ArmRuns, b: ArmRuns) -> bool:
    """Say whether an arm is one run of a model with luck, or both arms are one run."""
    singles = [side for side in (a, b) if side.values.size == 1]
    return len(singles) == 2 or any(not side.without_luck for side in singles)


def _of_printed(
    a: ArmRuns, b: ArmRuns, setting: ClaimSettings, printed_p: float | None, marks: Marks
) -> ArmComparison:
    """Compare arms of which one at least is known by what was printed of it."""
    if 1 in (a.n, b.n):
        found = ArmComparison(a=a, b=b, basis="one number")
    elif a.summary() is not None and b.summary() is not None:
        found = from_summaries(a, b, setting.margin)
    elif printed_p is not None and a.n == b.n:
        found = from_printed_p(a, b, printed_p, setting.margin)
    else:
        found = ArmComparison(a=a, b=b)
    flags = [*found.flags]
    if found.basis.startswith("printed"):
        for side, mark in zip((a, b), marks, strict=True):
            flags += marker_flags(side, mark)
    tests = {**found.tests, **against_fixed(a, b), **without_collapsed(a, b, marks)}
    return replace(found, tests=tests, flags=tuple(flags))
