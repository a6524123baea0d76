"""The F1 of every class, common ones first: every run a dot, the mean a bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from leadline.report.figures.drawing import Drawing, blank, called, fix_layout, require
from leadline.report.figures.marks import EDGE, MANY, UPRIGHT, legend, run_dots
from leadline.report.figures.style import NARROW, TEXT, WIDE, lines, look, one_line, styled

ROW, STEP, HEAD, FRAME = 3.2, 2.6, 10.0, 12.0


def per_class(
    scores: Mapping[str, Mapping[str, Sequence[float]]],
    cells: Mapping[str, int],
    *,
    name: str = "per_class",
    title: str = "F1 of each class",
    width: float = WIDE,
) -> Drawing:
    """Draw {arm: {class: F1 of each run}}; `cells` counts the reported cells of each class."""
    require(list(scores), "the F1 of classes needs runs that name classes", "run one")
    order = sorted(cells, key=lambda each: (-cells[each], each))
    arms = list(scores)
    height = HEAD + FRAME + len(order) * (ROW + STEP * len(arms))
    with styled():
        figure = blank(width, height)
        axes = figure.subplots()
        for at, arm in enumerate(arms):
            _arm(axes, arm, scores[arm], order, at, len(arms))
        wide = 18 if width <= NARROW else 32
        names = [f"{lines(one_line(lines(each)), wide)} ({cells[each]:,})" for each in order]
        axes.set_yticks(range(len(order)), names)
        axes.set_ylim(len(order) - 0.5, -0.5)
        axes.set_xlim(-0.02, 1.02)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        for line in range(1, len(order)):
            axes.axhline(line - 0.5, color="#e4e4e4", linewidth=0.6, zorder=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("F1 on the reported cells", fontsize=TEXT)
        legend(figure, [(sign(arm), called(arm)) for arm in arms], width)
        fix_layout(figure)
    return Drawing(
        name=name,
        title=title,
        caption="Every dot is a run, a bar the mean of an arm; classes stand in the order of their "
        "reported cells, whose number is in brackets.",
        description=" ".join(_sentence(each, scores) for each in order),
        figure=figure,
    )


def _arm(
    axes: Axes,
    arm: str,
    scores: Mapping[str, Sequence[float]],
    order: Sequence[str],
    at: int,
    arms: int,
) -> None:
    seen = look(arm)
    shift = 0.8 * ((at + 0.5) / arms - 0.5)
    found = [
        (row + shift, value) for row, each in enumerate(order) for value in scores.get(each, ())
    ]
    runs = np.array(found, dtype=np.float64).reshape(-1, 2)
    run_dots(axes, runs[:, 1], runs[:, 0], arm, many=MANY * len(order))
    means = [(row, np.mean(scores[each])) for row, each in enumerate(order) if scores.get(each)]
    axes.plot(
        [value for _, value in means],
        [row + shift for row, _ in means],
        marker=UPRIGHT,
        markersize=6.0,
        markeredgewidth=EDGE,
        color=seen.colour,
        linestyle="none",
        zorder=4,
    )


def sign(arm: str) -> Line2D:
    """Give the sign of an arm for a key."""
    seen = look(arm)
    return Line2D([], [], marker=seen.marker, color=seen.colour, linestyle="none", markersize=5)


def _sentence(name: str, scores: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    said = "; ".join(
        f"{called(arm)} {np.mean(found[name]):.2f}"
        for arm, found in scores.items()
        if name in found
    )
    return f"{name}: mean F1 {said}."
