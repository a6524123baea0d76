"""Scores against the share of the training labels: every run, the mean, its interval, the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from leadline.report.compare.arms import Condition
from leadline.report.compare.evidence import Evidence
from leadline.report.figures.drawing import Drawing, blank, fix_layout
from leadline.report.figures.groups import Group
from leadline.report.figures.marks import apart, dots, grid, heading, key, mean
from leadline.report.figures.plan import FigurePlan, plan
from leadline.report.figures.pvalues import Tests
from leadline.report.figures.style import INK, MUTED, SMALL, TEXT, WIDE, look, percent, styled, word
from leadline.stats.metrics import HEADLINE

if TYPE_CHECKING:
    import pandas as pd

# Of each step between shares, the part that the arms divide among them.
STEP, SLOT = 0.76, 0.06
PANEL, HEAD = 62.0, 14.0
# More arms than these have their tests in the table beside the figure.
MOST_TESTS = 3


def few_shot(
    source: pd.DataFrame | Evidence,
    *,
    name: str = "few_shot",
    title: str = "Scores by share of the training labels",
    metrics: Sequence[str] = HEADLINE,
    width: float = WIDE,
    **asked: Any,
) -> Drawing:
    """Draw every run at every share of the labels, with the mean and its 95 % Student interval.

    Over the axes stands the test of each arm against the one it is compared with, by name. What
    may be asked for beside stands with `plan`: data sets, arms, families of tests, published runs.
    """
    planned = plan(source, name, title, metrics=metrics, **asked)
    return planned.drawing(name, title, _figure(planned, width))


def _figure(planned: FigurePlan, width: float) -> Figure:
    panels, metrics = planned.panels, planned.metrics
    with styled():
        columns = len(planned.datasets) if len(planned.datasets) > 1 else len(metrics)
        rows, columns = grid(len(panels), columns, width)
        figure = blank(width, HEAD + PANEL * rows)
        every = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in every[len(panels) :]:
            axes.set_axis_off()
        for number, (axes, place) in enumerate(zip(every, panels, strict=False)):
            inside = panels[place]
            _panel(axes, inside, planned.arms, planned.shares)
            heading(axes, place, columns)
            _marks(axes, planned.tests, list(inside), planned.shares)
            if number % columns == 0 or columns == len(metrics):
                axes.set_ylabel(f"{word(place[1])} on the reported cells")
        figure.supxlabel("share of the training labels (not to scale)", fontsize=TEXT)
        key(figure, planned.arms, planned.groups, width)
        fix_layout(figure)
    return figure


def _panel(
    axes: Axes, groups: Mapping[Condition, Group], arms: Sequence[str], shares: Sequence[float]
) -> None:
    ends = [end for group in groups.values() for end in group.ends]
    span = max(ends) - min(ends) or 1.0
    for position, arm in enumerate(arms):
        line = {
            shares.index(cell.fraction): group
            for cell, group in groups.items()
            if group.arm == arm and cell.fraction in shares
        }
        _arm(axes, line, position, len(arms), span)
    axes.set_xticks(range(len(shares)), [percent(share) for share in shares])
    axes.set_xlim(-0.5, len(shares) - 0.5)
    axes.grid(axis="y")


def _arm(axes: Axes, line: Mapping[int, Group], position: int, arms: int, span: float) -> None:
    """Draw one arm: means nearer to the middle of the step, dots on the far side of them."""
    room = STEP / arms
    centre = (position + 0.5) * room - STEP / 2
    outwards = room / 4 if centre > 0 else -room / 4
    means = {step: group.mean for step, group in line.items() if group.mean is not None}
    for step, group in line.items():
        aside = apart(group.values.tolist(), span, SLOT, room / 4)
        at = [step + centre + outwards + shift for shift in aside]
        dots(axes, at, group.values.tolist(), group)
        mean(axes, step + centre - outwards, group, upright=True)
    if len(means) > 1:
        colour = look(next(iter(line.values())).arm).colour
        steps = sorted(means)
        xs = [step + centre - outwards for step in steps]
        axes.plot(xs, [means[step] for step in steps], color=colour, linewidth=0.7, alpha=0.5)


def _marks(axes: Axes, tests: Tests, cells: Sequence[Condition], shares: Sequence[float]) -> None:
    """Write the tests of every share over it, by name; nothing where nothing is tested."""
    texts: dict[int, list[tuple[str, bool]]] = {}
    for cell in cells:
        for other in tests.partners(cell):
            if cell.fraction in shares:
                found = tests.of(cell, other)
                texts.setdefault(shares.index(cell.fraction), []).append(
                    (found.text, found.significant)
                )
    if not texts or max(map(len, texts.values())) > MOST_TESTS:
        return
    above = axes.secondary_xaxis("top")
    said = {step: "\n".join(text for text, _ in found) for step, found in texts.items()}
    above.set_xticks(sorted(texts), [said[step] for step in sorted(texts)])
    above.tick_params(length=0, pad=1, labelsize=SMALL)
    above.spines["top"].set_visible(False)
    for label, step in zip(above.get_xticklabels(), sorted(texts), strict=True):
        significant = all(each for _, each in texts[step])
        label.set_color(INK if significant else MUTED)
        label.set_fontweight("bold" if significant else "normal")
    above.set_xlabel(tests.name, fontsize=SMALL, color=MUTED, labelpad=2, loc="left")
