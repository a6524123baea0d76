"""Calibration: of the cells that a model was so sure of, how many it called right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from leadline.report.figures.drawing import Drawing, called, opened, require
from leadline.report.figures.marks import MANY, strokes
from leadline.report.figures.style import MUTED, SMALL, WIDE, look

PANEL, HEAD, BINS = 52.0, 4.0, 10
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """One run, by bins of its confidence: mean confidence, share right, share of the cells.

    Bins without cells hold NaN; `error` is the expected calibration error of the run.
    """

    confidence: Floats
    right: Floats
    share: Floats
    error: float


def reliability(confidence_C: Floats, right_C: npt.NDArray[np.bool_], error: float) -> Reliability:
    """Sort the cells of a run into ten equal bins of the confidence in what was called."""
    bins_C = np.clip((confidence_C * BINS).astype(int), 0, BINS - 1)
    cells = np.bincount(bins_C, minlength=BINS)
    known = np.where(cells > 0, cells, np.nan)
    return Reliability(
        confidence=np.bincount(bins_C, weights=confidence_C, minlength=BINS) / known,
        right=np.bincount(bins_C, weights=right_C.astype(float), minlength=BINS) / known,
        share=cells / max(1, cells.sum()),
        error=error,
    )


def calibration(
    runs: Mapping[str, Sequence[Reliability]],
    *,
    name: str = "calibration",
    title: str = "How far confidence can be trusted",
    width: float = WIDE,
) -> Drawing:
    """Draw a panel for each arm: a line a run, the diagonal is perfect; below, the confidences."""
    require(list(runs), "calibration needs predicted probabilities", "run a model that gives them")
    columns = 2 if len(runs) in (2, 4) else 3
    with opened(len(runs), columns, width, PANEL, HEAD) as (figure, every, across):
        for number, (axes, (arm, found)) in enumerate(zip(every, runs.items(), strict=True)):
            _panel(axes, arm, found)
            if number % across == 0:
                axes.set_ylabel("share called right")
    return Drawing(
        name=name,
        title=title,
        caption="Every line is a run, in ten bins of its confidence in the class it calls; on the "
        "diagonal confidence is what it says, below it the model is too sure. Bars show which "
        "share of the cells has that confidence (highest bar: the share that stands beside it). "
        "ECE is the mean expected calibration error of the runs, in 15 bins.",
        description=" ".join(_sentence(arm, found) for arm, found in runs.items()),
        figure=figure,
    )


def _panel(axes: Axes, arm: str, found: Sequence[Reliability]) -> None:
    seen = look(arm)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":")
    share = np.mean([each.share for each in found], axis=0)
    middle = (np.arange(BINS) + 0.5) / BINS
    top = float(share.max())
    axes.bar(middle, 0.22 * share / top, width=0.9 / BINS, color=seen.colour, alpha=0.25)
    tallest = int(share.argmax())
    axes.annotate(
        f"{top:.0%}",
        (middle[tallest], 0.22),
        ha="right" if tallest > BINS / 2 else "left",
        va="bottom",
        fontsize=SMALL,
        color=MUTED,
    )
    curves = [
        np.column_stack([each.confidence, each.right])[~np.isnan(each.right)] for each in found
    ]
    if len(curves) > MANY:
        strokes(axes, curves, seen.colour, "-", f"runs of {arm}")
    for each in found if len(curves) <= MANY else ():
        known = ~np.isnan(each.right)
        axes.plot(
            each.confidence[known],
            each.right[known],
            color=seen.colour,
            marker=seen.marker,
            markersize=2.5,
            linewidth=0.8,
            alpha=0.75,
        )
    error = float(np.mean([each.error for each in found]))
    axes.set_title(look(arm).word)
    axes.text(0.03, 0.97, f"ECE {error:.3f}", transform=axes.transAxes, va="top", fontsize=SMALL)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.04)
    axes.set_aspect("equal")
    axes.set_xlabel("confidence")
    axes.grid()


def _sentence(arm: str, found: Sequence[Reliability]) -> str:
    error = float(np.mean([each.error for each in found]))
    return f"{called(arm)}: mean expected calibration error {error:.3f} over {len(found)} runs."
