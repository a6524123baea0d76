"""Scores against the batch size: every run, the mean, its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes

from leadline.report.compare.evidence import Evidence
from leadline.report.figures.drawing import Drawing, opened
from leadline.report.figures.groups import Group
from leadline.report.figures.marks import apart, dots, key, mean
from leadline.report.figures.plan import plan
from leadline.report.figures.style import PUBLISHED, WIDE, look, word
from leadline.stats.metrics import HEADLINE

if TYPE_CHECKING:
    import pandas as pd

SLOT, ROOM, ASIDE, LEAST = 0.06, 0.16, 0.16, 2
PANEL, HEAD = 62.0, 12.0


def batch_size(
    source: pd.DataFrame | Evidence,
    sizes: Mapping[str, int],
    *,
    name: str = "batch_size",
    title: str = "Scores by batch size",
    metrics: Sequence[str] = HEADLINE,
    fraction: float = 1.0,
    width: float = WIDE,
    **asked: Any,
) -> Drawing:
    """Draw arms, written model/arm, at their batch sizes; steps between sizes are equally wide."""
    arms = sorted(sizes, key=lambda arm: sizes[arm])
    steps = sorted(set(sizes.values()))
    planned = plan(source, name, title, metrics=metrics, fractions=[fraction], arms=arms, **asked)
    with opened(len(planned.panels), 2, width, PANEL, HEAD) as (figure, every, _):
        for axes, ((dataset, metric), groups) in zip(every, planned.panels.items(), strict=True):
            drawn = [group.arm for group in groups.values()]
            places = {arm: steps.index(sizes[arm.removesuffix(PUBLISHED)]) for arm in drawn}
            _panel(axes, list(groups.values()), places)
            axes.set_xticks(range(len(steps)), [f"{size:,}" for size in steps])
            axes.set_xlim(-0.6, len(steps) - 0.4)
            axes.set_xlabel("cells in a batch")
            axes.set_ylabel(f"{word(metric)} on the reported cells")
            axes.set_title(word(dataset))
        key(figure, [], planned.groups, width)
    told = "The scale of the batch size is not linear."
    return planned.drawing(name, title, figure, told)


def _panel(axes: Axes, groups: Sequence[Group], places: Mapping[str, int]) -> None:
    ends = [end for group in groups for end in group.ends]
    span = max(ends) - min(ends) or 1.0
    for group in groups:
        at = places[group.arm]
        shifts = apart(group.values.tolist(), span, SLOT, ROOM)
        dots(axes, [at + ASIDE + shift for shift in shifts], group.values.tolist(), group)
        mean(axes, at - ASIDE, group, upright=True)
    line = sorted((places[g.arm], g.mean) for g in groups if g.mean is not None)
    if len(line) >= LEAST:
        xs, ys = [at - ASIDE for at, _ in line], [value for _, value in line]
        axes.plot(xs, ys, color=look(groups[0].arm).colour, linewidth=0.7, alpha=0.5)
    axes.grid(axis="y")
