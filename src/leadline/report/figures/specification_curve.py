"""The specification curve: the estimate of every universe, sorted, over the choices that made it.

Above stand estimates with intervals and the band that sorted estimates have without any effect,
below a dot for the value of each switch, grouped by what is known of the switch. Above a thousand
universes a strip of quantiles for each value stands in the place of the dots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from leadline.report.figures.drawing import Drawing, blank, fix_layout
from leadline.report.figures.marks import legend
from leadline.report.figures.style import FAINT, INK, MUTED, NARROW, SMALL, WIDE, one_line, styled
from leadline.stats.inputs import Array, Floats
from leadline.stats.specification_curve import SpecificationCurve

# Millimetres; from so many universes on dots would be a smear.
TOP, ROW, HEAD, FRAME = 52.0, 3.3, 12.0, 12.0
MOST_DOTS = 1000
SHOWN, FAMILY, OTHER = "#0072B2", "#00785A", "#5c5c5c"
MARKERS = ("v", "s", "D", "^", "P")
GROUPS = {
    "E": "equivalent choices",
    "N": "one value is better",
    "U": "unknown which is better",
    "A": "analysis alone",
}
LETTERS = 34


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceRow:
    """A value of a switch: its group, its words, and the universes that have it, by rank."""

    group: str
    label: str
    has: Array


def choice_rows(
    curve: SpecificationCurve, order: Array, tags: Mapping[str, str]
) -> list[ChoiceRow]:
    """List the values of all switches that vary, grouped by tag."""
    values: dict[str, dict[str, None]] = {}
    for each in curve.universes:
        for switch, value in each.choices.items():
            values.setdefault(switch, {})[value] = None
    analysis = {name for each in curve.universes for name in each.analysis}
    rows = [
        ChoiceRow(
            group="A" if switch in analysis else tags.get(switch, "U"),
            label=f"{switch}: {value}",
            has=np.array([curve.universes[at].choices.get(switch) == value for at in order]),
        )
        for switch, known in values.items()
        if len(known) > 1
        for value in known
    ]
    return sorted(rows, key=lambda row: list(GROUPS).index(row.group))


def specification_curve_figure(
    curve: SpecificationCurve,
    tags: Mapping[str, str],
    *,
    axis: str,
    presets: Mapping[str, int] | None = None,
    name: str = "specification_curve",
    title: str = "Every universe",
    width: float = WIDE,
) -> Drawing:
    """Draw the curve; `presets` are universes by name that are marked on it."""
    order = np.argsort(curve.estimates, kind="stable")
    rows = choice_rows(curve, order, tags)
    lines = len(rows) + len({row.group for row in rows})
    with styled():
        figure = blank(width, TOP + HEAD + FRAME + ROW * lines)
        if rows:
            upper, lower = figure.subplots(2, 1, height_ratios=[TOP, ROW * lines])
        else:
            upper, lower = figure.subplots(), None
        _estimates(upper, curve, order, presets or {})
        upper.set_ylabel(axis)
        if lower is None:
            upper.set_xlabel("universes, sorted by estimate")
        elif order.size > MOST_DOTS:
            _strips(lower, rows, curve.estimates[order], width)
            lower.set_xlabel(f"{axis}: 5, 25, 50, 75 and 95 % of the universes with this value")
        else:
            lower.sharex(upper)
            _grid(lower, rows, width)
            lower.set_xlabel("universes, sorted by estimate")
        _key(figure, curve, presets or {}, width)
        fix_layout(figure)
    return Drawing(
        name=name,
        title=title,
        caption=caption_of(curve),
        description=description_of(curve, presets or {}),
        figure=figure,
    )


def caption_of(curve: SpecificationCurve) -> str:
    """Tell how to read the figure."""
    how = "signs of seeds" if curve.paired else "labels of arms"
    return (
        "Each dot is one universe: the effect, its 95 % interval over seeds, and below it the "
        f"choices that made it. The grey band holds 95 % of the sorted estimates when {how} are "
        "exchanged in all universes at once: where no universe has an effect, the curve lies in it."
    )


def description_of(curve: SpecificationCurve, presets: Mapping[str, int]) -> str:
    """Say the numbers of the figure in sentences; the table beside it has every universe."""
    estimates = curve.estimates
    said = [
        f"{estimates.size} universes from {estimates.min():+.4f} to {estimates.max():+.4f}, "
        f"median {curve.tests['median'].value:+.4f}.",
        f"The claim stands in {curve.stands} with family-wise control.",
    ]
    said += [f"{name}: {estimates[at]:+.4f}." for name, at in presets.items()]
    return " ".join(said)


def _estimates(
    axes: Axes, curve: SpecificationCurve, order: Array, presets: Mapping[str, int]
) -> None:
    x = np.arange(order.size)
    estimate, low, high = (each[order] for each in (curve.estimates, curve.low, curve.high))
    axes.fill_between(
        x, curve.band[0], curve.band[1], color=FAINT, linewidth=0, zorder=1, step="mid"
    )
    axes.axhline(0, color=MUTED, linewidth=0.8, zorder=2)
    family, alone = curve.p_family[order] < curve.alpha, curve.p[order] < curve.alpha
    if order.size > MOST_DOTS:
        axes.fill_between(x, low, high, color=SHOWN, alpha=0.25, linewidth=0, zorder=2)
        axes.plot(x, estimate, color=SHOWN, linewidth=1.0, zorder=3)
    else:
        size = float(np.clip(320 / order.size, 2.5, 14))
        for chosen, colour, marker in (
            (~alone & ~family, OTHER, "o"),
            (alone & ~family, SHOWN, "o"),
            (family, FAMILY, "D"),
        ):
            axes.vlines(
                x[chosen], low[chosen], high[chosen], color=colour, linewidth=0.6, alpha=0.6
            )
            axes.scatter(
                x[chosen],
                estimate[chosen],
                s=size,
                color=colour,
                marker=marker,
                zorder=3,
                linewidths=0,
            )
    for (_, at), marker in zip(presets.items(), MARKERS, strict=False):
        rank = int(np.flatnonzero(order == at)[0])
        axes.plot(
            rank, estimate[rank], marker=marker, markersize=6, color="none", markeredgecolor=INK,
            markeredgewidth=1.0, zorder=5,
        )  # fmt: skip
    axes.set_xlim(-1, order.size)
    axes.grid(axis="y")
    axes.tick_params(axis="x", labelbottom=False, length=0)


def _places(rows: Sequence[ChoiceRow]) -> tuple[list[int], dict[int, str], int]:
    """Give each row its line, and each group the line of its heading."""
    places, headings, at, group = [], {}, 0, ""
    for row in rows:
        if row.group != group:
            group = row.group
            headings[at] = GROUPS[group]
            at += 1
        places.append(at)
        at += 1
    return places, headings, at


def _rows(axes: Axes, rows: Sequence[ChoiceRow], width: float) -> list[int]:
    places, headings, lines = _places(rows)
    letters = LETTERS if width > NARROW else 20
    labels = [one_line(row.label)[:letters] for row in rows]
    axes.set_ylim(lines - 0.4, -0.6)
    axes.set_yticks([*places, *headings], [*labels, *headings.values()])
    for tick, line in zip(axes.get_yticklabels(), [*places, *headings], strict=True):
        if line in headings:
            tick.set_fontweight("bold")
    axes.tick_params(axis="y", length=0, labelsize=SMALL)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    return places


def _grid(axes: Axes, rows: Sequence[ChoiceRow], width: float) -> None:
    places = _rows(axes, rows, width)
    size = float(np.clip(260 / max(len(rows[0].has), 1), 1.5, 10))
    for place, row in zip(places, rows, strict=True):
        x = np.arange(row.has.size)
        axes.hlines(place, -0.5, row.has.size - 0.5, color=FAINT, linewidth=0.5, zorder=1)
        chosen = row.has.astype(bool)
        axes.scatter(
            x[chosen], np.full(chosen.sum(), place), s=size, color=INK, linewidths=0, zorder=2
        )
    axes.tick_params(axis="x", labelbottom=False, length=0)


def _strips(axes: Axes, rows: Sequence[ChoiceRow], estimates: Floats, width: float) -> None:
    for place, row in zip(_rows(axes, rows, width), rows, strict=True):
        ends = np.quantile(estimates[row.has.astype(bool)], [0.05, 0.25, 0.5, 0.75, 0.95])
        axes.hlines(place, ends[0], ends[4], color=SHOWN, linewidth=1.0, alpha=0.5)
        axes.hlines(place, ends[1], ends[3], color=SHOWN, linewidth=4.0, alpha=0.5)
        axes.plot(ends[2], place, marker="|", markersize=6, color=INK)
    axes.axvline(0, color=MUTED, linewidth=0.8)


def _key(
    figure: Figure, curve: SpecificationCurve, presets: Mapping[str, int], width: float
) -> None:
    def sign(colour: str, marker: str) -> Line2D:
        return Line2D([], [], color=colour, marker=marker, markersize=4, linewidth=0.8)

    entries: list[tuple[Line2D | Patch, str]] = [
        (sign(FAMILY, "D"), "p < .05 with family-wise control"),
        (sign(SHOWN, "o"), "p < .05 alone"),
        (sign(OTHER, "o"), "neither"),
    ]
    if curve.estimates.size > MOST_DOTS:
        entries = [(sign(SHOWN, ""), "estimate, 95 % interval")]
    entries.append((Patch(color=FAINT), "no effect anywhere, 95 %"))
    entries += [
        (Line2D([], [], marker=m, color="none", markeredgecolor=INK, markersize=5), name)
        for name, m in zip(presets, MARKERS, strict=False)
    ]
    legend(figure, entries, width)
