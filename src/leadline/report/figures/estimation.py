"""Estimation plots: every run beside the difference of means and its bootstrap distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.stats
from matplotlib.axes import Axes

from leadline.report.figures.drawing import Drawing, blank, fix_layout
from leadline.report.figures.marks import DOT, apart
from leadline.report.figures.panels import called, require
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
RESAMPLES, GRID = 4_000, 160
# Few runs give few distinct resamples: a wider kernel than usual keeps the shape without spikes.
SMOOTH = 0.3
ROW, HEAD, FRAME = 13.0, 4.0, 15.0
SLOT, ROOM, HEIGHT = 0.08, 0.28, 0.42


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """An arm and what it is compared with; the interval and the words of the test that was done."""

    arm: str
    against: str
    a: Floats
    b: Floats
    interval: Interval | None
    told: str
    verdict: str


def estimation(
    contrasts: Sequence[Contrast],
    rng: np.random.Generator,
    *,
    score: str,
    name: str = "estimation",
    title: str = "Differences, with what the runs leave open",
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
        _differences(right, rows, rng, named=narrow)
        left.set_xlabel(f"{score} of every run")
        right.set_xlabel(f"difference of mean {score}")
        fix_layout(figure)
    return Drawing(
        name=name,
        title=title,
        caption="Left: every dot is a run, a bar the mean. Right: the difference from the arm "
        "above, its 95 % interval under the named test, and the distribution of that difference "
        f"over {RESAMPLES:,} bootstrap resamples of the runs of each arm (narrow with few runs).",
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
    rng: np.random.Generator,
    *,
    named: bool,
) -> None:
    axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
    for at, (_, _, contrast) in enumerate(rows):
        if contrast is None:
            continue
        seen = look(contrast.arm)
        _cloud(axes, at, contrast, rng)
        estimate = float(contrast.a.mean() - contrast.b.mean())
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


def _cloud(axes: Axes, at: int, contrast: Contrast, rng: np.random.Generator) -> None:
    """Draw the bootstrap distribution over the line of a difference, each as high as the next."""
    draws = resampled(contrast.a, contrast.b, rng)
    if float(np.ptp(draws)) == 0:
        return
    reach = 0.5 * SMOOTH * float(draws.std())
    grid = np.linspace(draws.min() - reach, draws.max() + reach, GRID)
    density = scipy.stats.gaussian_kde(draws, SMOOTH)(grid)
    top = at - HEIGHT * density / density.max()
    colour = look(contrast.arm).colour
    axes.fill_between(grid, at, top, color=colour, alpha=0.3, linewidth=0, zorder=2)


def resampled(a: Floats, b: Floats, rng: np.random.Generator) -> Floats:
    """Draw differences of means, the runs of each arm resampled on their own."""
    means = [
        values[rng.integers(0, values.size, size=(RESAMPLES, values.size))].mean(axis=1)
        for values in (a, b)
    ]
    return np.asarray(means[0] - means[1])


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
    said = f"{called(each.arm)} less {called(each.against)}: {estimate:+.3f}{ends}"
    return f"{said}, {one_line(each.told)}, {each.verdict}."
