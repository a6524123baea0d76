"""What would settle an open comparison: seeds, held-out cells or donors, and how many.

docs/statistics.md gives the formula; `stats.seeds_and_cells` computes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from leadline.report.compare.comparison import ArmComparison
from leadline.report.study import StudyResults
from leadline.report.tables import Table, Value
from leadline.stats import metrics
from leadline.stats.seeds_and_cells import WouldBuy, what_would_buy

DIFFERENCE, EQUIVALENCE, NOT_ABOVE = "a difference", "equivalence", "not above the margin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """The open question that is nearest to an answer, and what would answer it with chance .8.

    It is `nearly` answered where so much is there already: it is open by the correction for other
    comparisons and looks, or by its luck.
    """

    question: str
    needs: WouldBuy
    nearly: bool


def settling(each: ArmComparison, margin: float, *, baseline: bool = False) -> Settling | None:
    """Say what would settle a comparison; None where its variances are not known.

    The question is that of a verdict: whichever of difference and equivalence needs less. For a
    `baseline` it is whether the arm is above it by the margin, where it seems not to be, else
    whether it is above it at all.
    """
    if each.parts is None or each.p is None:
        return None
    estimate = each.parts.estimate
    if baseline:
        question = NOT_ABOVE if estimate < margin else DIFFERENCE
        distances = {question: margin - estimate if estimate < margin else estimate}
    else:
        distances = {DIFFERENCE: abs(estimate)}
        if abs(estimate) < margin:
            distances[EQUIVALENCE] = margin - abs(estimate)
    needs = {
        question: what_would_buy(
            each.parts,
            distance=distance,
            one_sided=question != DIFFERENCE,
            floor=None if question == DIFFERENCE else margin,
        )
        for question, distance in distances.items()
    }
    question = min(needs, key=lambda name: _price(needs[name]))
    seeds, most = needs[question].seeds, max(each.parts.rows_a, each.parts.rows_b)
    return Settling(
        question=question, needs=needs[question], nearly=seeds is not None and seeds <= max(most, 2)
    )


def _price(needs: WouldBuy) -> tuple[float, float]:
    return needs.seeds or math.inf, needs.cells or math.inf


def what_would_tell(each: ArmComparison, margin: float, *, baseline: bool = False) -> str:
    """Say in a sentence what would settle a comparison: seeds if luck is in the way, else cells."""
    if each.p is None:
        return "One run says nothing of the next: run more seeds."
    if each.cannot_tell and each.parts is not None:
        return "No number of seeds or cells would tell: hold out at least 6 donors."
    found = settling(each, margin, baseline=baseline)
    if found is None:
        return ""
    seeds, cells, donors = found.needs.seeds, found.needs.cells, found.needs.donors
    if found.nearly:
        luck = not (each.a.fixed and each.b.fixed)
        return f"It is nearly told: a few more {'seeds' if luck else 'cells'} may do."
    if seeds is not None:
        if each.looks and each.waits_for is None:
            return f"About {seeds} seeds would tell, in a new study: this one made its last look."
        return (
            f"About {seeds} seeds would tell if further runs are like these: "
            f"add 'seed=range(1,{seeds + 1})'."
        )
    if cells is not None:
        of_donors = f" of {donors:,} donors" if donors is not None else ""
        return f"No number of seeds would tell; about {cells:,} held-out cells{of_donors} would."
    return "It is so close that neither more seeds nor more cells would soon tell."


def settling_table(study: StudyResults, found: Sequence[ArmComparison]) -> Table:
    """Say for each open comparison how wide its interval is and could be, and what would do."""
    rows: list[list[Value]] = []
    for each in found:
        settled = settling(each, study.margin) if each.verdict == "open" else None
        if settled is None:
            continue
        needs = settled.needs
        rows.append(
            [
                each.a.arm,
                each.b.arm,
                each.a.dataset,
                f"{each.a.fraction:.0%}",
                metrics.title(each.a.metric),
                each.estimate,
                needs.half_now,
                needs.half_many_seeds,
                needs.half_many_cells,
                settled.question,
                None if settled.nearly else needs.seeds,
                needs.cells,
                needs.donors,
                what_would_tell(each, study.margin),
                shares_in_words(each),
            ]
        )
    return Table(
        name="settling",
        title="What would settle what is open",
        columns=[
            "arm",
            "against",
            "data set",
            "labels",
            "metric",
            "difference",
            "± now",
            "± any seeds",
            "± any cells",
            "nearest to",
            "seeds",
            "cells",
            "donors",
            "in words",
            "variance",
        ],
        rows=rows,
        notes=[
            "±: half of the 95 % interval, of one look and one comparison: now, with any number of "
            "seeds on these cells, and with any number of cells and these seeds. seeds: the "
            "smallest number an arm, at most 100, that would show what the row is nearest to, with "
            "chance .8 and if the true difference is the one seen; where none would, cells (and "
            "donors): about how many held-out ones would. variance: where that of the difference "
            "comes from, the runs of either arm first."
        ],
        printed=("arm", "against", "data set", "labels", "metric", "± now", "± any seeds",
                 "± any cells", "seeds", "cells"),
    )  # fmt: skip


def shares_in_words(each: ArmComparison) -> str:
    """Say how much of the variance comes from either arm, from cells or donors, and their noise."""
    names = {"runs_a": each.a.arm, "runs_b": each.b.arm, "runs": "pairs of runs"}
    names |= {"cells": "cells", "donors": "donors", "noise": "noise of runs by cells"}
    return ", ".join(f"{names[key]} {share:.0%}" for key, share in each.shares.items())
