"""How many points a discrepancy is worth, from the runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leadline import stats
from leadline.errors import UserError
from leadline.papers.claims.schema import Discrepancy, Quantity, Worth
from leadline.report.compare.arms import ArmRuns, Condition, Floats
from leadline.report.compare.caveats import SEED, collapsed, reused
from leadline.report.compare.evidence import Evidence
from leadline.report.compare.setting import ClaimSettings


@dataclass(frozen=True, slots=True)
class Points:
    """What two numbers differ by, in points of a hundred; None where a number is missing."""

    what: str
    points: float | None


def worth_of(
    evidence: Evidence, discrepancy: Discrepancy, setting: ClaimSettings
) -> Sequence[Points]:
    """Measure every worth of a discrepancy; empty where it has a reason for having none."""
    return [Points(each.what, _points(evidence, each, setting)) for each in discrepancy.worth]


def _points(evidence: Evidence, worth: Worth, setting: ClaimSettings) -> float | None:
    a = _number(evidence, worth.a, setting)
    b = worth.constant if worth.b is None else _number(evidence, worth.b, setting)
    return None if a is None or b is None else 100 * (a - b)


def _number(evidence: Evidence, wanted: Quantity, setting: ClaimSettings) -> float | None:
    names = (wanted.dataset, wanted.model, wanted.arm, wanted.fraction)
    side = evidence.side(Condition(*names, wanted.metric, wanted.artefact))
    if wanted.of == "printed":
        return side.mean if side.known else None
    try:
        values = _chosen(evidence, side, wanted, setting)
        if values is None or values.size == 0:
            return None
        if wanted.of == "paper_half_width":
            return stats.paper_interval(values).half_width
        if wanted.of == "student_half_width":
            return stats.student_interval(values).half_width
    except UserError:
        # Too few runs for the part or the interval that is asked for: there is no number.
        return None
    return float(values.mean())


def _chosen(
    evidence: Evidence, side: ArmRuns, wanted: Quantity, setting: ClaimSettings
) -> Floats | None:
    """Pick the runs that are wanted; None where what tells them is not known."""
    values, again = side.values, np.array(reused(side), dtype=bool)
    if wanted.runs in ("reused", "dedicated"):
        return values[again == (wanted.runs == "reused")] if again.any() else None
    if wanted.runs == "high_mode":
        modes = stats.find_modes(values, np.random.default_rng(SEED))
        return np.delete(values, modes.low)
    if wanted.runs == "all_but_lowest":
        return np.delete(values, values.argmin()) if values.size else None
    if wanted.runs == "trained":
        marks = collapsed(evidence, side, setting)
        return None if marks is None else values[marks == 0]
    return values[:3] if wanted.runs == "first_three" else values
