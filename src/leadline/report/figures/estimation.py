"""The picture of an answer: every run, and each difference with its interval and the margin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from leadline.report.figures.drawing import Drawing, blank, fix_layout, require
from leadline.report.figures.marks import apart, legend, run_dots
from leadline.report.figures.style import (
    INK,
    MUTED,
    NARROW,
    VERDICTS,
    WIDE,
    lines,
    most_lines,
    styled,
)
from leadline.stats import Interval

Floats = npt.NDArray[np.float64]
# Millimetres of a row, and of axes, key and title.
ROW, HEAD, FRAME, KEY = 5.6, 3.0, 13.0, 5.0
# Of a name in several lines, each.
LINE = 3.4
SLOT, ROOM = 0.08, 0.26
LABEL = 28
# The colour of the margin's band; light enough for what lies over it.
BAND = "#cfe3f1"
# What a verdict is called in a picture, without tests and p.
SAID = {
    "better": "shown: ahead",
    "worse": "shown: behind",
    "equivalent": "shown: equal within the margin",
    "open": "cannot be told yet",
    "untested": "not tested",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """An arm and what it is compared with, as model/arm for their looks, and what they are called.

    `verdict` says what is shown of the difference, `interval` where it lies.
    """

    arm: str
    against: str
    title: str
    title_against: str
    a: Floats
    b: Floats
    interval: Interval | None
    verdict: str

    @property
    def estimate(self) -> float:
        """Give the difference of means."""
        return float(self.a.mean() - self.b.mean())


@dataclass(frozen=True, slots=True)
class _Line:
    """A row of the picture: an arm's runs, and what it is compared with."""

    arm: str
    title: str
    values: Floats
    contrast: Contrast | None


def estimation(
    contrasts: Sequence[Contrast],
    *,
    score: str,
    margin: float = 0.0,
    name: str = "estimation",
    title: str = "Every run, and what is shown of the differences",
    width: float = WIDE,
) -> Drawing:
    """Draw each arm's runs on the left, and on the right its difference from the reference."""
    require(contrasts, "estimation plots need two arms to compare", "declare pairs of arms")
    rows = _rows(contrasts)
    narrow = width <= NARROW
    with styled():
        deep = most_lines(lines(row.title, LABEL) for row in rows)
        body = FRAME + max(ROW, LINE * deep) * len(rows)
        figure = blank(width, HEAD + KEY * (3 if narrow else 1) + body * (2 if narrow else 1))
        shape = (2, 1) if narrow else (1, 2)
        left, right = figure.subplots(*shape, squeeze=False).ravel()
        _runs(left, rows)
        _differences(right, rows, margin, named=narrow)
        left.set_xlabel(f"{score} of every run")
        right.set_xlabel(f"difference of mean {score}")
        _key(figure, contrasts, margin, width)
        fix_layout(figure)
    return Drawing(
        name=name,
        title=title,
        caption="Left: every dot is a run, a bar the mean. Right: the mean less that of the arm "
        f"in bold above it, with its 95 % interval{_band(margin)}",
        description=" ".join(_sentence(each) for each in contrasts),
        figure=figure,
    )


def _band(margin: float) -> str:
    if not margin:
        return "."
    return f"; in the band, ±{margin:g}, a difference would not matter."


def _rows(contrasts: Sequence[Contrast]) -> list[_Line]:
    """Put below each reference the arms that are compared with it."""
    rows: list[_Line] = []
    for other in dict.fromkeys(each.against for each in contrasts):
        mine = [each for each in contrasts if each.against == other]
        rows.append(_Line(other, mine[0].title_against, mine[0].b, None))
        rows += [_Line(each.arm, each.title, each.a, each) for each in mine]
    return rows


def _runs(axes: Axes, rows: Sequence[_Line]) -> None:
    every = np.concatenate([row.values for row in rows])
    span = float(np.ptp(every)) or 1.0
    for at, row in enumerate(rows):
        shifts = apart(row.values.tolist(), span, SLOT, ROOM)
        run_dots(axes, row.values, at + np.array(shifts), row.arm)
        axes.vlines(row.values.mean(), at - 0.36, at + 0.36, color=INK, linewidth=1.2, zorder=4)
    axes.set_yticks(range(len(rows)), [lines(row.title, LABEL) for row in rows])
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row.contrast is None else "normal")
    _frame(axes, len(rows))


def _differences(axes: Axes, rows: Sequence[_Line], margin: float, *, named: bool) -> None:
    if margin:
        axes.axvspan(-margin, margin, color=BAND, linewidth=0, zorder=0)
    axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
    for at, row in enumerate(rows):
        if row.contrast is None:
            continue
        seen, interval = VERDICTS[row.contrast.verdict], row.contrast.interval
        if interval is not None:
            axes.hlines(at, interval.low, interval.high, color=seen.colour, linewidth=1.5)
        axes.plot(
            row.contrast.estimate,
            at,
            marker=seen.marker,
            color=seen.colour,
            markersize=5.5,
            markeredgecolor="white",
            markeredgewidth=0.4,
            zorder=5,
            label=f"difference of {row.arm}",
        )
    said = [lines(row.title, LABEL) if row.contrast else "" for row in rows]
    axes.set_yticks(range(len(rows)), said if named else [])
    _frame(axes, len(rows))


def _frame(axes: Axes, count: int) -> None:
    axes.set_ylim(count - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def verdict_key(verdicts: Sequence[str], margin: float) -> list[tuple[Artist, str]]:
    """Give the sign of each verdict that is drawn, and the band of the margin, with their words."""
    entries: list[tuple[Artist, str]] = [
        (
            Line2D(
                [], [], marker=seen.marker, color=seen.colour, markersize=5.5, linewidth=1.5,
                markeredgecolor="white", markeredgewidth=0.4,
            ),
            SAID[name],
        )
        for name, seen in VERDICTS.items()
        if name in verdicts
    ]  # fmt: skip
    if margin:
        entries.append((Patch(color=BAND, linewidth=0), f"margin, ±{margin:g}"))
    return entries


def _key(figure: Figure, contrasts: Sequence[Contrast], margin: float, width: float) -> None:
    legend(figure, verdict_key([each.verdict for each in contrasts], margin), width, most=4)


def _sentence(each: Contrast) -> str:
    ends = "" if each.interval is None else (
        f", interval {each.interval.low:+.3f} to {each.interval.high:+.3f}"
    )  # fmt: skip
    said = f"{each.title} less {each.title_against}: {each.estimate:+.3f}{ends}"
    runs = f"{each.a.size} and {each.b.size} runs"
    return f"{said}, {runs}, {SAID[each.verdict]}."
