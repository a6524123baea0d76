"""Estimation plots: every run, and the difference of means with what makes its interval wide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from leadline.report.figures.drawing import Drawing, blank, called, fix_layout, require
from leadline.report.figures.marks import DOT, apart
from leadline.report.figures.style import (
    INK,
    MUTED,
    NARROW,
    SMALL,
    VERDICTS,
    WIDE,
    lines,
    look,
    one_line,
    styled,
)
from leadline.stats import Interval

Floats = npt.NDArray[np.float64]
ROW, HEAD, FRAME = 13.0, 4.0, 15.0
SLOT, ROOM = 0.08, 0.28
# Height of the band that shows the share of the runs, in points.
BAND = 9.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """An arm and what it is compared with; the interval and the words of the test that was done.

    `half_of_runs` is half of the width that luck of the runs alone would give the interval.
    """

    arm: str
    against: str
    a: Floats
    b: Floats
    interval: Interval | None
    told: str
    verdict: str
    half_of_runs: float | None = None


def estimation(
    contrasts: Sequence[Contrast],
    *,
    score: str,
    name: str = "estimation",
    title: str = "Differences, with what runs and cells leave open",
    width: float = WIDE,
) -> Drawing:
    """Draw each arm's runs on the left, and on the right its difference from the reference."""
    require(contrasts, "estimation plots need two arms to compare", "declare pairs of arms")
    others = list(dict.fromkeys(each.against for each in contrasts))
    rows: list[tuple[str, Floats, Contrast | None]] = []
    for other in others:
        mine = [each for each in contrasts if each.against == other]
        rows.append((other, mine[0].b, None))
        rows += [(each.arm, each.a, each) for each in mine]
    narrow = width <= NARROW
    with styled():
        height = HEAD + (FRAME + ROW * len(rows)) * (2 if narrow else 1)
        figure = blank(width, height)
        shape = (2, 1) if narrow else (1, 2)
        left, right = figure.subplots(*shape, squeeze=False).ravel()
        _runs(left, rows)
        _differences(right, rows, named=narrow)
        left.set_xlabel(f"{score} of every run")
        right.set_xlabel(f"difference of mean {score}")
        fix_layout(figure)
    return Drawing(
        name=name,
        title=title,
        caption="Left: every dot is a run, a bar the mean. Right: the difference from the arm "
        "above, and its 95 % interval under the named test (crossed: over fresh runs and fresh "
        "cells). The band is what would be left of that interval if the same cells were held out "
        "again: luck of the runs alone. Where it is much shorter than the line, more cells would "
        "tell more than more seeds.",
        description=" ".join(_sentence(each) for each in contrasts),
        figure=figure,
    )


def _runs(axes: Axes, rows: Sequence[tuple[str, Floats, Contrast | None]]) -> None:
    every = np.concatenate([values for _, values, _ in rows])
    span = float(np.ptp(every)) or 1.0
    for at, (arm, values, _) in enumerate(rows):
        seen = look(arm)
        shifts = apart(values.tolist(), span, SLOT, ROOM)
        axes.scatter(
            values,
            [at + shift for shift in shifts],
            s=DOT,
            marker=seen.marker,
            color=seen.colour,
            linewidths=0,
            alpha=0.75,
            zorder=3,
            label=f"runs of {arm}",
        )
        axes.vlines(values.mean(), at - 0.36, at + 0.36, color=seen.colour, linewidth=1.4)
    axes.set_yticks(range(len(rows)), [lines(called(arm), 20) for arm, _, _ in rows])
    _frame(axes, len(rows))


def _differences(
    axes: Axes,
    rows: Sequence[tuple[str, Floats, Contrast | None]],
    *,
    named: bool,
) -> None:
    axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
    for at, (_, _, contrast) in enumerate(rows):
        if contrast is None:
            continue
        seen = look(contrast.arm)
        estimate = float(contrast.a.mean() - contrast.b.mean())
        if contrast.half_of_runs:
            ends = (estimate - contrast.half_of_runs, estimate + contrast.half_of_runs)
            band = axes.hlines(at, *ends, color=seen.colour, linewidth=BAND, alpha=0.3, zorder=2)
            band.set_label(f"runs alone of {contrast.arm}")
        if contrast.interval is not None:
            ends = (contrast.interval.low, contrast.interval.high)
            axes.hlines(at, *ends, color=INK, linewidth=1.2, zorder=4)
        axes.plot(
            estimate,
            at,
            marker=seen.marker,
            color=seen.colour,
            markeredgecolor=INK,
            markeredgewidth=0.6,
            markersize=5,
            zorder=5,
            label=f"difference of {contrast.arm}",
        )
        axes.annotate(
            contrast.told,
            (0, at + 0.4),
            xycoords=("axes fraction", "data"),
            xytext=(2, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            color=VERDICTS[contrast.verdict].colour,
        )
    said = [lines(called(arm), 20) if contrast else "" for arm, _, contrast in rows]
    axes.set_yticks(range(len(rows)), said if named else [])
    _frame(axes, len(rows))


def _frame(axes: Axes, count: int) -> None:
    axes.set_ylim(count - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def _sentence(each: Contrast) -> str:
    estimate = float(each.a.mean() - each.b.mean())
    ends = "" if each.interval is None else (
        f", interval {each.interval.low:+.3f} to {each.interval.high:+.3f}"
    )  # fmt: skip
    if each.half_of_runs:
        ends += f" (±{each.half_of_runs:.3f} by the runs alone)"
    said = f"{called(each.arm)} less {called(each.against)}: {estimate:+.3f}{ends}"
    return f"{said}, {one_line(each.told)}, {each.verdict}."
