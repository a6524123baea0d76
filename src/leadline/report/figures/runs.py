"""Arms side by side: every run of each, the mean, its interval, two modes, collapsed runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from leadline.report.compare.arms import Condition
from leadline.report.compare.evidence import Evidence
from leadline.report.figures.drawing import Drawing, blank, fix_layout
from leadline.report.figures.groups import Group
from leadline.report.figures.marks import apart, dots, grid, heading, key, mean
from leadline.report.figures.plan import FigurePlan, plan
from leadline.report.figures.pvalues import Tests
from leadline.report.figures.style import (
    INK,
    MUTED,
    SMALL,
    TEXT,
    WIDE,
    lines,
    look,
    one_line,
    styled,
)
from leadline.stats.metrics import HEADLINE

if TYPE_CHECKING:
    import pandas as pd

# Of the height of a row, counted from its middle: dots above, the mean below.
DOTS, BELOW, SLOT, ROOM, OVER = -0.1, 0.24, 0.085, 0.22, -0.37
UNDER = "score on the reported cells (panels have axes of their own)"
ROW, FRAME, HEAD = 11.5, 14.0, 16.0


def every_run(
    source: pd.DataFrame | Evidence,
    *,
    name: str = "runs",
    title: str = "Every run of every arm",
    metrics: Sequence[str] = HEADLINE,
    fraction: float = 1.0,
    width: float = WIDE,
    **asked: Any,
) -> Drawing:
    """Draw the arms as rows, a panel for each data set and metric, each with its own axis.

    On the right stands the test of each arm against the one it is compared with. What may be
    asked for beside stands with `plan`: data sets, arms, families of tests, published runs.
    """
    planned = plan(source, name, title, metrics=metrics, fractions=[fraction], **asked)
    return planned.drawing(name, title, _figure(planned, width))


def _figure(planned: FigurePlan, width: float) -> Figure:
    panels, arms = planned.panels, planned.arms
    with styled():
        columns = len(planned.datasets) if len(planned.datasets) > 1 else 2
        rows, columns = grid(len(panels), columns, width)
        figure = blank(width, HEAD + rows * (FRAME + ROW * len(arms)))
        every = figure.subplots(rows, columns, squeeze=False)
        for axes in every.ravel()[len(panels) :]:
            axes.set_axis_off()
        for number, (axes, place) in enumerate(zip(every.ravel(), panels, strict=False)):
            _panel(axes, panels[place], arms, named=number % columns == 0)
            heading(axes, place, columns)
            last = number % columns == columns - 1 or number == len(panels) - 1
            _marks(axes, planned.tests, list(panels[place]), arms, named=last)
        figure.supxlabel(UNDER, fontsize=TEXT)
        key(figure, [], planned.groups, width)
        fix_layout(figure)
    return figure


def _panel(
    axes: Axes, groups: Mapping[Condition, Group], arms: Sequence[str], *, named: bool
) -> None:
    ends = [end for group in groups.values() for end in group.ends]
    span = max(ends) - min(ends) or 1.0
    for group in groups.values():
        row = arms.index(group.arm)
        aside = apart(group.values.tolist(), span, SLOT, ROOM)
        dots(axes, group.values.tolist(), [row + DOTS + shift for shift in aside], group)
        mean(axes, row + BELOW, group, upright=False)
        if group.modes is not None:
            _modes(axes, row, group)
        if group.collapsed.any():
            crashed = group.values[group.collapsed]
            _count(axes, float(crashed.min()), row, crashed.size, "left")
    axes.set_ylim(len(arms) - 0.42, -0.58)
    axes.set_yticks(range(len(arms)), [label(arm) for arm in arms] if named else [])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def _modes(axes: Axes, row: int, group: Group) -> None:
    """Bracket each of two modes and say how many runs are in it."""
    assert group.modes is not None
    numbers = group.modes.numbers
    ordered = sorted(group.values.tolist())
    cut = int(numbers["n_low"])
    for part, centre in ((ordered[:cut], "mean_low"), (ordered[cut:], "mean_high")):
        axes.hlines(row + OVER, min(part), max(part), color=INK, linewidth=0.8)
        _count(axes, numbers[centre], row, len(part), "center")


def _count(axes: Axes, x: float, row: int, count: int, side: Literal["left", "center"]) -> None:
    """Say over a part of the runs how many there are."""
    axes.annotate(
        f"{count} run{'s' if count > 1 else ''}",
        (x, row + OVER),
        xytext=(-2 if side == "left" else 0, 1),
        textcoords="offset points",
        ha=side,
        va="bottom",
        fontsize=SMALL,
    )


def label(arm: str) -> str:
    """Name a row, in short lines."""
    return lines(one_line(look(arm).word), 18)


def _marks(
    axes: Axes, tests: Tests, cells: Sequence[Condition], arms: Sequence[str], *, named: bool
) -> None:
    texts: dict[int, tuple[str, bool]] = {}
    for cell in cells:
        for other in tests.partners(cell)[:1]:
            found = tests.of(cell, other)
            texts[arms.index(f"{cell.model}/{cell.arm}")] = (found.text, found.significant)
    if not texts:
        return
    beside = axes.secondary_yaxis("right")
    rows = sorted(texts)
    beside.set_yticks(rows, [texts[row][0] for row in rows])
    beside.tick_params(length=0, pad=2, labelsize=SMALL)
    beside.spines["right"].set_visible(False)
    for label, row in zip(beside.get_yticklabels(), rows, strict=True):
        label.set_color(INK if texts[row][1] else MUTED)
        label.set_fontweight("bold" if texts[row][1] else "normal")
    if named:
        beside.set_ylabel(lines(tests.name, 36), fontsize=SMALL, color=MUTED, labelpad=3)
