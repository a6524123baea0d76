"""Every difference that the claims judge: estimate, interval, verdict."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath

from leadline.claims import Part, Result, Verdict
from leadline.errors import UserError
from leadline.figures.drawing import Drawing, blank, settle
from leadline.figures.marks import legend
from leadline.figures.style import MUTED, NARROW, SMALL, VERDICTS, WIDE, one_line, styled, word

LABEL = re.compile(r"(?P<where>.+?)(?: (?P<share>\d+)%)? (?P<metric>\S+), (?P<a>\S+) - (?P<b>\S+)")
BASELINE = "logreg"
# Millimetres; the gap between label and axes in points.
ROW, FRAME, HEAD, PAD = 3.35, 16.0, 14.0, 4.0
SIDES = {
    True: "foundation model less logistic regression",
    False: "ablation less full model",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One difference under one claim, the baseline or the full model always subtracted."""

    claim: str
    group: str
    share: int
    label: str
    against_baseline: bool
    estimate: float
    low: float | None
    high: float | None
    verdict: str


def forest(results: Sequence[Result], *, name: str = "forest", width: float = WIDE) -> Drawing:
    """Draw every judged difference of two arms with its interval; the sign tells the verdict."""
    rows, missing = rows_of(results)
    if not rows:
        raise UserError(
            "a forest plot needs differences of two arms",
            got=f"none that can be computed, of {missing}",
            remedy="run both arms of at least one claim",
        )
    halves = [
        [row for row in rows if row.against_baseline is side]
        for side in (True, False)
        if any(row.against_baseline is side for row in rows)
    ]
    with styled():
        lines = [len(half) + len({row.group for row in half}) for half in halves]
        stacked = width <= NARROW or len(halves) == 1
        height = sum(lines) if stacked else max(lines)
        figure = blank(width, HEAD + FRAME * (len(halves) if stacked else 1) + ROW * height)
        if stacked:
            every = figure.subplots(len(halves), 1, squeeze=False, height_ratios=lines).ravel()
        else:
            every = figure.subplots(1, len(halves), squeeze=False).ravel()
        for axes, half in zip(every, halves, strict=True):
            # Rows are as high in the shorter column as in the longer one.
            _half(axes, half, max(lines) if not stacked else 0)
        _key(figure, rows, width)
        settle(figure)
    return Drawing(
        name=name,
        title="All differences that the claims judge",
        caption=_caption(missing),
        description=" ".join(_sentence(row) for row in rows),
        figure=figure,
    )


def rows_of(results: Sequence[Result]) -> tuple[list[Row], int]:
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


def _row(result: Result, part: Part, found: re.Match[str]) -> Row:
    a, b = found["a"], found["b"]
    sign = 1.0
    if a == BASELINE:
        a, b, sign = b, a, -1.0
    assert part.estimate is not None
    ends = [] if part.interval is None else [sign * part.interval.low, sign * part.interval.high]
    artefact = result.artefact.partition(";")[0].replace("Supp. Table ", "Table S")
    share = int(found["share"] or 100)
    metric = one_line(word(found["metric"]))
    return Row(
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


def _half(axes: Axes, rows: Sequence[Row], least: int) -> None:
    ticks: list[tuple[int, str, str]] = []
    at, group = 0, ""
    indent = max(printed_width(row.label) for row in rows) + PAD
    for row in rows:
        if row.group != group:
            group = row.group
            _heading(axes, at, group, indent)
            at += 1
        seen = VERDICTS[row.verdict]
        if row.low is not None and row.high is not None:
            axes.hlines(at, row.low, row.high, color=seen.colour, linewidth=1.0)
        axes.plot(
            row.estimate,
            at,
            marker=seen.marker,
            color=seen.colour,
            markersize=4,
            markeredgecolor="white",
            markeredgewidth=0.4,
            label=f"{row.claim} {row.verdict}",
        )
        ticks.append((at, row.label, row.claim))
        at += 1
    axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
    axes.set_ylim(max(at, least) - 0.4, -0.6)
    axes.set_yticks([place for place, _, _ in ticks], [label for _, label, _ in ticks])
    axes.tick_params(axis="y", length=0)
    claims = axes.secondary_yaxis("right")
    claims.set_yticks([place for place, _, _ in ticks], [claim for _, _, claim in ticks])
    claims.tick_params(length=0, labelcolor=MUTED)
    claims.spines["right"].set_visible(False)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xlabel(f"difference of mean scores:\n{SIDES[rows[0].against_baseline]}")


def _heading(axes: Axes, at: int, text: str, indent: float) -> None:
    """Write a heading from where the labels of the rows begin, over the axes."""
    heading = axes.annotate(
        text,
        (0, at),
        xycoords=("axes fraction", "data"),
        xytext=(-indent, 0),
        textcoords="offset points",
        va="center",
        fontsize=SMALL,
        fontweight="bold",
        annotation_clip=False,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
    )
    # The layout would shrink the axes to make room for what may lie over them.
    heading.set_in_layout(False)


def printed_width(text: str) -> float:
    """Measure a line of small type, in points."""
    if not text.strip():
        return 0.0
    return float(TextPath((0, 0), text, size=SMALL).get_extents().width)


def _key(figure: Figure, rows: Sequence[Row], width: float) -> None:
    entries = [
        (
            Line2D([], [], marker=seen.marker, color=seen.colour, markersize=5, linewidth=1.0),
            f"{seen.word} ({sum(row.verdict == verdict for row in rows)})",
        )
        for verdict, seen in VERDICTS.items()
        if any(row.verdict == verdict for row in rows)
    ]
    legend(figure, entries, width)


def _caption(missing: int) -> str:
    said = (
        "Sign and colour give the verdict on this part of the claim that stands on the right, not "
        "significance: a claim of no difference may hold although, or because, its interval spans "
        "zero. Intervals are 95 %, of Welch’s test where the runs are known, else of the test that "
        "the printed numbers allow, uncorrected."
    )
    return said + (f" {missing} differences lack their runs and are not drawn." if missing else "")


def _sentence(row: Row) -> str:
    ends = "" if row.low is None else f", interval {row.low:+.3f} to {row.high:+.3f}"
    return f"{row.claim}, {row.group}, {row.label}: {row.estimate:+.3f}{ends}, {row.verdict}."
