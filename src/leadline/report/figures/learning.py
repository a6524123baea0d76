"""Learning curves: one line a run, coloured by the mode that its run ended in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from leadline.report.figures.drawing import Drawing, called, opened, require
from leadline.report.figures.marks import MANY, legend, strokes
from leadline.report.figures.style import INK, WIDE, look, word

# Dark brown beside every arm's colour: the lower of two modes, in every figure of curves.
LOW = "#5C2E00"
HIGH_WORD, LOW_WORD = "runs of the higher mode", "runs of the lower mode"
CRASHED_WORD, BEST_WORD = "predicts one class only", "epoch that was chosen"
PANEL, HEAD, ABREAST = 52.0, 16.0, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One run: its scores by epoch, the epoch that was chosen, the mode that it belongs to.

    `mode` is high, low, collapsed, or empty where an arm has one mode.
    """

    arm: str
    seed: int
    scores: Mapping[str, Sequence[float]]
    epochs: Sequence[int]
    best: int | None = None
    mode: str = ""
    dataset: str = field(default="")


def learning_curves(
    curves: Sequence[Curve],
    *,
    metrics: Sequence[str] = ("selection_accuracy", "train_loss"),
    name: str = "learning_curves",
    title: str = "Learning curves of every run",
    width: float = WIDE,
) -> Drawing:
    """Draw a panel for each arm and metric; a dot marks the epoch that was chosen."""
    places = [
        (arm, metric)
        for metric in metrics
        for arm in dict.fromkeys(curve.arm for curve in curves)
        if any(curve.arm == arm and metric in curve.scores for curve in curves)
    ]
    require(places, "learning curves need runs with scores by epoch", "run a model that has epochs")
    arms = len({arm for arm, _ in places})
    if arms > ABREAST:
        # An arm in a row, with its metrics side by side.
        places.sort(key=lambda place: [curve.arm for curve in curves].index(place[0]))
    columns = arms if 1 < arms <= ABREAST else len(metrics)
    with opened(len(places), columns, width, PANEL, HEAD) as (figure, axes, _):
        for each, (arm, metric) in zip(axes, places, strict=True):
            inside = [c for c in curves if c.arm == arm and metric in c.scores]
            _panel(each, inside, metric)
            each.set_title(look(arm).word)
        legend(figure, _key(curves), width)
    return Drawing(
        name=name,
        title=title,
        caption=_caption(curves),
        description=" ".join(_sentences(curves, metrics)),
        figure=figure,
    )


def _panel(axes: Axes, curves: Sequence[Curve], metric: str) -> None:
    for mode in dict.fromkeys(curve.mode for curve in curves):
        alike = [curve for curve in curves if curve.mode == mode]
        colour, dashes = _line(alike[0])
        lines = [np.column_stack([c.epochs, c.scores[metric]]) for c in alike]
        # Missing scores end a line; a collection would draw nothing of it.
        lines = [line[np.isfinite(line).all(axis=1)] for line in lines]
        if len(lines) > MANY:
            strokes(axes, lines, colour, dashes, f"{mode} runs")
            continue
        drawn = LineCollection(
            lines, colors=colour, linestyles=dashes, linewidths=0.8, alpha=0.8, label=f"{mode} runs"
        )
        axes.add_collection(drawn)
        chosen = [
            (curve.best, curve.scores[metric][list(curve.epochs).index(curve.best)])
            for curve in alike
            if curve.best is not None and curve.best in curve.epochs
        ]
        if chosen:
            at, scores = zip(*chosen, strict=True)
            axes.scatter(at, scores, s=7, color=colour)
    axes.autoscale_view()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel(word_of(metric))
    axes.grid(axis="y")


def _line(curve: Curve) -> tuple[str, str]:
    return {
        "low": (LOW, "--"),
        "collapsed": (INK, ":"),
    }.get(curve.mode, (look(curve.arm).colour, "-"))


def word_of(metric: str) -> str:
    """Name a score of an epoch."""
    part, _, score = metric.partition("_")
    sets = {"selection": "selection set", "train": "training set", "test": "reported cells"}
    return f"{word(score)}, {sets[part]}" if part in sets else word(metric.replace("_", " "))


def _key(curves: Sequence[Curve]) -> list[tuple[Line2D, str]]:
    modes = {curve.mode for curve in curves}
    arms = list(dict.fromkeys(curve.arm for curve in curves))
    high = "{}" if "low" not in modes else "{}, " + HIGH_WORD.removeprefix("runs of the ")
    entries = [
        (Line2D([], [], color=look(arm).colour, linewidth=1.2), high.format(called(arm)))
        for arm in arms
    ]
    if "low" in modes:
        entries.append((Line2D([], [], color=LOW, linestyle="--", linewidth=1.2), LOW_WORD))
    if "collapsed" in modes:
        entries.append((Line2D([], [], color=INK, linestyle=":", linewidth=1.2), CRASHED_WORD))
    if any(curve.best is not None for curve in curves):
        dot = Line2D([], [], marker="o", markersize=3, color=INK, linestyle="none")
        entries.append((dot, BEST_WORD))
    return entries


def _caption(curves: Sequence[Curve]) -> str:
    said = "Every line is a run."
    low = sum(curve.mode == "low" for curve in curves)
    if low:
        said += (
            f" {low} of {len(curves)} runs end in the lower of two modes (best cut of the reported "
            "scores, p < .05), drawn dashed."
        )
    crashed = sum(curve.mode == "collapsed" for curve in curves)
    if crashed:
        said += f" {crashed} runs predict one class for every cell, drawn dotted."
    return said


def _sentences(curves: Sequence[Curve], metrics: Sequence[str]) -> list[str]:
    """Tell of each run; of arms with many, of the first."""
    by_arm: dict[str, list[Curve]] = {}
    for curve in curves:
        by_arm.setdefault(curve.arm, []).append(curve)
    return [
        _sentence(curve, metrics)
        for mine in by_arm.values()
        for curve in (mine if len(mine) <= MANY else mine[:1])
    ]


def _sentence(curve: Curve, metrics: Sequence[str]) -> str:
    said = [
        f"{word_of(metric)} from {curve.scores[metric][0]:.3f} to {curve.scores[metric][-1]:.3f}"
        for metric in metrics
        if curve.scores.get(metric)
    ]
    mode = f", {curve.mode}" if curve.mode else ""
    return f"{called(curve.arm)}, seed {curve.seed}{mode}: {'; '.join(said)}."
