"""Every difference that the claims judge: estimate, interval, verdict."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from leadline.errors import UserError
from leadline.papers.claims import Part, Result, Verdict
from leadline.report.figures.drawing import Drawing
from leadline.report.figures.forest import Column, DrawnDifference, draw
from leadline.report.figures.style import WIDE, one_line, word

LABEL = re.compile(r"(?P<where>.+?)(?: (?P<share>\d+)%)? (?P<metric>\S+), (?P<a>\S+) - (?P<b>\S+)")
BASELINE = "logreg"
SIDES = {
    True: "foundation model less logistic regression",
    False: "ablation less full model",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedDifference(DrawnDifference):
    """One difference under one claim, the baseline or the full model always subtracted."""

    claim: str
    share: int
    against_baseline: bool


def forest(results: Sequence[Result], *, name: str = "forest", width: float = WIDE) -> Drawing:
    """Draw every judged difference of two arms with its interval; the sign tells the verdict."""
    rows, missing = rows_of(results)
    if not rows:
        raise UserError(
            "a forest plot needs differences of two arms",
            got=f"none that can be computed, of {missing}",
            remedy="run both arms of at least one claim",
        )
    columns = [
        Column(
            rows=[
                row.row(note=row.claim, tag=f"{row.claim} {row.verdict}")
                for row in rows
                if row.against_baseline is side
            ],
            axis=f"difference of mean scores:\n{SIDES[side]}",
        )
        for side in (True, False)
        if any(row.against_baseline is side for row in rows)
    ]
    return Drawing(
        name=name,
        title="All differences that the claims judge",
        caption=_caption(missing),
        description=" ".join(f"{row.claim}, {row.told()}, {row.verdict}." for row in rows),
        figure=draw(columns, width),
    )


def rows_of(results: Sequence[Result]) -> tuple[list[JudgedDifference], int]:
    """Give the differences of two arms that claims judge, and how many lack their runs."""
    rows, missing = [], 0
    for result in results:
        for part in result.parts:
            found = LABEL.fullmatch(part.label)
            if found is None:
                continue
            if part.estimate is None or part.verdict is Verdict.NOT_RUN:
                missing += 1
                continue
            rows.append(_row(result, part, found))
    groups = list(dict.fromkeys(row.group for row in rows))
    return sorted(rows, key=lambda row: (groups.index(row.group), row.share)), missing


def _row(result: Result, part: Part, found: re.Match[str]) -> JudgedDifference:
    a, b = found["a"], found["b"]
    sign = 1.0
    if a == BASELINE:
        a, b, sign = b, a, -1.0
    assert part.estimate is not None
    ends = [] if part.interval is None else [sign * part.interval.low, sign * part.interval.high]
    artefact = result.artefact.partition(";")[0].replace("Supp. Table ", "Table S")
    share = int(found["share"] or 100)
    metric = one_line(word(found["metric"]))
    return JudgedDifference(
        claim=result.id,
        group=f"{artefact}: {one_line(word(found['where']))}, {one_line(word(a))}",
        share=share,
        # Tables are about all labels and need not say so.
        label=f"{share} %, {metric}" if artefact.startswith("Figure") else metric,
        against_baseline=b == BASELINE,
        estimate=sign * part.estimate,
        low=min(ends, default=None),
        high=max(ends, default=None),
        verdict=str(part.verdict),
    )


def _caption(missing: int) -> str:
    said = (
        "Sign and colour give the verdict on this part of the claim that stands on the right, not "
        "significance: a claim of no difference may hold although, or because, its interval spans "
        "zero. Intervals are 95 %, uncorrected: over fresh runs and fresh cells where there are "
        "predictions; of published numbers over the runs alone, that is of the same cells only."
    )
    return said + (f" {missing} differences lack their runs and are not drawn." if missing else "")
