"""What a score costs: hours of a processor against accuracy, every run a dot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import NullLocator

from leadline.report.figures.classes import sign
from leadline.report.figures.drawing import Drawing, called, opened, require
from leadline.report.figures.marks import legend, run_dots
from leadline.report.figures.style import WIDE, look

PANEL, HEAD = 70.0, 12.0
# Times that people think in, in seconds, up to a thousand hours.
ROUND = (0.01, 0.03, 0.1, 0.3, 1, 2, 5, 10, 20, 60, 120, 300, 600, 1200, 3600, 7200, 18000, 36000,
         72000, 180000, 360000, 720000, 1800000, 3600000)  # fmt: skip
MOST_TICKS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """One run: the hours that it took, and its score."""

    arm: str
    hours: float
    value: float


def cost(
    runs: Sequence[Spent],
    *,
    score: str,
    processor: str,
    name: str = "cost",
    title: str = "What the score costs",
    width: float = WIDE,
) -> Drawing:
    """Draw score against hours on a logarithmic axis; a ring marks the mean of each arm."""
    known = [each for each in runs if each.hours > 0]
    require(known, "cost against score needs runs whose time is known", "run one")
    arms = list(dict.fromkeys(each.arm for each in known))
    with opened(1, 1, width, PANEL, HEAD) as (figure, (axes,), _):
        for arm in arms:
            mine = [each for each in known if each.arm == arm]
            seen = look(arm)
            hours, values = [each.hours for each in mine], [each.value for each in mine]
            run_dots(axes, np.array(hours), np.array(values), arm)
            middle = float(np.exp(np.mean(np.log(hours)))), float(np.mean(values))
            axes.plot(
                *[[each] for each in middle],
                marker=seen.marker,
                markersize=9,
                markerfacecolor="none",
                markeredgecolor=seen.colour,
                markeredgewidth=1.2,
            )
        axes.set_xscale("log")
        least, most = min(each.hours for each in known), max(each.hours for each in known)
        times = ticks(least, most)
        axes.set_xlim(min(least, times[0]) / 1.15, max(most, times[-1]) * 1.15)
        axes.set_xticks(times, [spelled(time) for time in times])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(f"{processor} time of a run, logarithmic")
        axes.set_ylabel(f"{score} on the reported cells")
        axes.grid()
        legend(figure, [(sign(arm), called(arm)) for arm in arms], width)
    return Drawing(
        name=name,
        title=title,
        caption="Every dot is a run, an open sign the mean of an arm (of the time: the geometric "
        "mean). Runs of different machines are not told apart.",
        description=" ".join(_sentence(arm, known) for arm in arms),
        figure=figure,
    )


def ticks(least: float, most: float) -> list[float]:
    """Choose round times, in hours, from below the least to above the most."""
    low = max([at for at, time in enumerate(ROUND) if time <= least * 3600], default=0)
    high = min([at for at, time in enumerate(ROUND) if time >= most * 3600], default=len(ROUND) - 1)
    step = max(1, (high - low) // MOST_TICKS)
    return [time / 3600 for time in ROUND[low : high + 1 : step]]


def spelled(hours: float) -> str:
    """Write a time as people do: seconds, minutes, hours."""
    seconds = hours * 3600
    if seconds < 59.5:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 3570 else f"{hours:,.3g} h"


def _sentence(arm: str, runs: Sequence[Spent]) -> str:
    mine = [each for each in runs if each.arm == arm]
    hours = float(np.exp(np.mean([np.log(each.hours) for each in mine])))
    value = float(np.mean([each.value for each in mine]))
    return f"{called(arm)}: {spelled(hours)}, mean {value:.3f} of {len(mine)} runs."
