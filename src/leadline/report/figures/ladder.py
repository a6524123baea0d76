"""The ladder of embeddings: each score of each arm with its interval, chance as a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from leadline.report.figures.drawing import Drawing, opened, require
from leadline.report.figures.marks import DOT
from leadline.report.figures.style import MUTED, NARROW, WIDE, lines, look

# Millimetres of a row, and of a panel's title and axis.
ROW, FRAME, HEAD = 4.2, 16.0, 4.0
# Letters of an arm's name before it is set in lines.
NAME = 22
CAPTION = (
    "Every dot is a run, the upright bar the mean of an arm, the line its 95 % interval over fresh "
    "cells and, where there are several runs, fresh random weights or projections. The dashed line "
    "is what noise scores: chance."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderRow:
    """One arm under one score; `chance` marks the arm that gives what chance gives."""

    panel: str
    arm: str
    label: str
    place: str
    value: float
    low: float | None
    high: float | None
    runs: tuple[float, ...]
    chance: bool = False


def ladder(
    rows: Sequence[LadderRow],
    *,
    name: str = "ladder",
    title: str = "The ladder of embeddings",
    caption: str = CAPTION,
    width: float = WIDE,
) -> Drawing:
    """Draw a panel for each score and data set: arms from top to bottom, every run a dot."""
    require(rows, "a ladder needs embeddings with scores", "run some with task=zero_shot")
    panels = list(dict.fromkeys((row.panel, row.place) for row in rows))
    several = len({place for _, place in panels}) > 1
    most = max(sum((row.panel, row.place) == key for row in rows) for key in panels)
    columns = 1 if width <= NARROW else min(2, len(panels))
    with opened(len(panels), columns, width, FRAME + ROW * most, HEAD) as (figure, every, _):
        for axes, key in zip(every, panels, strict=True):
            mine = [row for row in rows if (row.panel, row.place) == key]
            _panel(axes, mine)
            axes.set_title(f"{key[0]}, {key[1]}" if several else key[0])
    return Drawing(
        name=name,
        title=title,
        caption=caption,
        description=" ".join(map(_sentence, rows)),
        figure=figure,
    )


def _panel(axes: Axes, rows: Sequence[LadderRow]) -> None:
    for row in rows:
        if row.chance:
            axes.axvline(row.value, color=MUTED, linestyle="--", linewidth=0.8, zorder=1)
    for at, row in enumerate(rows):
        seen = look(row.arm)
        axes.scatter(
            row.runs, [at] * len(row.runs), s=DOT, marker=seen.marker, color=seen.colour,
            alpha=0.6, linewidths=0, zorder=3,
        )  # fmt: skip
        if row.low is not None and row.high is not None:
            axes.hlines(at, row.low, row.high, color=seen.colour, linewidth=1.0, zorder=2)
        axes.plot(row.value, at, marker="|", markersize=8, color=seen.colour, markeredgewidth=1.4)
    axes.set_yticks(range(len(rows)), [lines(row.label, NAME) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def _sentence(row: LadderRow) -> str:
    ends = "" if row.low is None else f" ({row.low:.3f} to {row.high:.3f})"
    return f"{row.panel}, {row.place}, {row.label}: {row.value:.3f}{ends}, {len(row.runs)} runs."
