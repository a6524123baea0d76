"""Differences in lines: estimate, interval, verdict; those that belong together under a heading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from leadline.report.figures.drawing import Drawing, blank, fix_layout, require
from leadline.report.figures.marks import legend, printed_width
from leadline.report.figures.style import MUTED, NARROW, SMALL, VERDICTS, WIDE, Look, styled

# Millimetres; the gap between label and axes in points.
ROW, FRAME, HEAD, PAD = 3.35, 16.0, 14.0, 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One difference: what it is called and of what group, its numbers, its looks, a note."""

    group: str
    label: str
    estimate: float
    low: float | None
    high: float | None
    look: Look
    note: str
    tag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnDifference:
    """One difference before it is drawn: where, of what, its numbers and its verdict."""

    group: str
    label: str
    estimate: float
    low: float | None
    high: float | None
    verdict: str

    def row(self, *, note: str, tag: str) -> Row:
        """Give it the looks of its verdict."""
        return Row(
            group=self.group,
            label=self.label,
            estimate=self.estimate,
            low=self.low,
            high=self.high,
            look=VERDICTS[self.verdict],
            note=note,
            tag=tag,
        )

    def told(self) -> str:
        """Say where, of what and how large."""
        ends = "" if self.low is None else f", interval {self.low:+.3f} to {self.high:+.3f}"
        return f"{self.group}, {self.label}: {self.estimate:+.3f}{ends}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Rows over one axis, and what their differences are."""

    rows: Sequence[Row]
    axis: str


def draw(columns: Sequence[Column], width: float) -> Figure:
    """Draw columns of rows side by side, on a narrow figure one under the other."""
    lines = [len(column.rows) + len({row.group for row in column.rows}) for column in columns]
    stacked = width <= NARROW or len(columns) == 1
    with styled():
        height = ROW * (sum(lines) if stacked else max(lines))
        figure = blank(width, HEAD + FRAME * (len(columns) if stacked else 1) + height)
        rows, ratios = (len(columns), lines) if stacked else (1, [1])
        every = figure.subplots(
            rows, len(columns) // rows, squeeze=False, height_ratios=ratios
        ).ravel()
        for axes, column in zip(every, columns, strict=True):
            # Rows are as high in the shorter column as in the longer one.
            _column(axes, column, 0 if stacked else max(lines))
        _key(figure, [row for column in columns for row in column.rows], width)
        fix_layout(figure)
    return figure


def _column(axes: Axes, column: Column, least: int) -> None:
    ticks: list[tuple[int, str, str]] = []
    at, group = 0, ""
    indent = max(printed_width(row.label) for row in column.rows) + PAD
    for row in column.rows:
        if row.group != group:
            group = row.group
            _heading(axes, at, group, indent)
            at += 1
        _row(axes, at, row)
        ticks.append((at, row.label, row.note))
        at += 1
    axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
    axes.set_ylim(max(at, least) - 0.4, -0.6)
    axes.set_yticks([place for place, _, _ in ticks], [label for _, label, _ in ticks])
    axes.tick_params(axis="y", length=0)
    for place, _, note in ticks:
        axes.annotate(
            note,
            (1, place),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            color=MUTED,
            annotation_clip=False,
        )
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xlabel(column.axis)


def _row(axes: Axes, at: int, row: Row) -> None:
    if row.low is not None and row.high is not None:
        axes.hlines(at, row.low, row.high, color=row.look.colour, linewidth=1.0)
    axes.plot(
        row.estimate,
        at,
        marker=row.look.marker,
        color=row.look.colour,
        markersize=4,
        markeredgecolor="white",
        markeredgewidth=0.4,
        label=row.tag,
    )


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


def _key(figure: Figure, rows: Sequence[Row], width: float) -> None:
    looks = list(dict.fromkeys(row.look for row in rows))
    entries = [
        (
            Line2D([], [], marker=seen.marker, color=seen.colour, markersize=5, linewidth=1.0),
            f"{seen.word} ({sum(row.look == seen for row in rows)})",
        )
        for seen in sorted(looks, key=list(VERDICTS.values()).index)
    ]
    legend(figure, entries, width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared(DrawnDifference):
    """One comparison, with p as it is to be written."""

    p: str


def contrasts(
    found: Sequence[Compared],
    *,
    family: str,
    name: str = "forest",
    title: str = "Every comparison of the study",
    width: float = WIDE,
) -> Drawing:
    """Draw each comparison as a line; on the right its corrected p."""
    require(found, "a forest plot needs comparisons", "declare which arms are compared")
    rows = [each.row(note=each.p, tag=f"{each.group}, {each.label}") for each in found]
    return Drawing(
        name=name,
        title=title,
        caption=f"Mean of the arm less mean of what it is compared with, with the 95 % interval "
        "of the test that decides, as a rule over fresh runs and fresh cells; on the right p after "
        f"Holm’s correction over {family}. Colour and sign give the verdict.",
        description=" ".join(map(_sentence, found)),
        figure=draw([Column(rows=rows, axis="difference of means")], width),
    )


def _sentence(each: Compared) -> str:
    p = f", p {each.p}" if each.p else ""
    return f"{each.told()}{p}, {each.verdict}."
