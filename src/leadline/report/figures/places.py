"""Where findings hold: the same differences with other labels, on other data, by other metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from leadline.report.figures.drawing import Drawing, blank, fix_layout, require
from leadline.report.figures.estimation import BAND, SAID, verdict_key
from leadline.report.figures.marks import legend
from leadline.report.figures.style import MUTED, NARROW, VERDICTS, WIDE, lines, most_lines, styled

# Millimetres of a row, of axes and title, and of the key.
ROW, FRAME, KEY = 4.6, 17.0, 6.0
# Panels side by side on a wide page and on a phone, and in all.
ACROSS, ACROSS_NARROW, MOST_PANELS = 4, 2, 12
LABEL, LABEL_NARROW, TITLE, LINE = 26, 16, 22, 3.4


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedDifference:
    """A difference of two arms in one panel: data set, labels and metric."""

    panel: str
    label: str
    estimate: float
    low: float | None
    high: float | None
    verdict: str
    primary: bool


def where_it_holds(
    found: Sequence[PlacedDifference],
    *,
    margin: float = 0.0,
    name: str = "where",
    title: str = "The same differences elsewhere",
    width: float = WIDE,
) -> Drawing:
    """Draw a small panel for each place, arms as rows; all panels have one axis."""
    require(found, "small multiples need comparisons", "declare which arms are compared")
    panels = list(dict.fromkeys(each.panel for each in found))
    shown, left_out = panels[:MOST_PANELS], panels[MOST_PANELS:]
    rows = list(dict.fromkeys(each.label for each in found if each.panel in shown))
    across = min(len(shown), ACROSS_NARROW if width <= NARROW else ACROSS)
    down = -(-len(shown) // across)
    label = LABEL_NARROW if width <= NARROW else LABEL
    with styled():
        key = KEY * (3 if width <= NARROW else 1)
        deep = most_lines(lines(row, label) for row in rows)
        figure = blank(width, key + down * (FRAME + max(ROW, LINE * deep) * len(rows)))
        every = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
        for axes in every[len(shown) :]:
            axes.set_axis_off()
        for number, (axes, panel) in enumerate(zip(every, shown, strict=False)):
            mine = [each for each in found if each.panel == panel]
            _panel(axes, mine, rows, margin, label)
            axes.set_title(
                "\n".join(lines(part, TITLE) for part in panel.split("\n")),
                fontweight="bold" if mine[0].primary else "normal",
                fontsize=7.5,
            )
            axes.tick_params(labelbottom=number + across >= len(shown))
        figure.supxlabel("difference of means", fontsize=7.5)
        legend(figure, verdict_key([each.verdict for each in found], margin), width, most=4)
        fix_layout(figure)
    more = f" {len(left_out)} more places stand in the table of verdicts." if left_out else ""
    return Drawing(
        name=name,
        title=title,
        caption="A panel for each data set, share of the labels and metric; lines are 95 % "
        "intervals. Verdicts are corrected for the other comparisons of their metric, intervals "
        f"are not. Bold: the metric that decides; the others are secondary.{more}",
        description=" ".join(_sentence(each) for each in found if each.panel in shown),
        figure=figure,
    )


def _panel(
    axes: Axes, mine: Sequence[PlacedDifference], rows: Sequence[str], margin: float, label: int
) -> None:
    if margin:
        axes.axvspan(-margin, margin, color=BAND, linewidth=0, zorder=0)
    axes.axvline(0, color=MUTED, linewidth=0.6, zorder=1)
    for each in mine:
        seen, at = VERDICTS[each.verdict], rows.index(each.label)
        if each.low is not None and each.high is not None:
            axes.hlines(at, each.low, each.high, color=seen.colour, linewidth=1.0)
        axes.plot(
            each.estimate, at, marker=seen.marker, color=seen.colour, markersize=4,
            markeredgecolor="white", markeredgewidth=0.3, label=f"{each.panel}, {each.label}",
        )  # fmt: skip
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [lines(row, label) for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def _sentence(each: PlacedDifference) -> str:
    ends = "" if each.low is None else f", interval {each.low:+.3f} to {each.high:+.3f}"
    place = each.panel.replace("\n", ", ")
    return f"{place}, {each.label}: {each.estimate:+.3f}{ends}, {SAID[each.verdict]}."
