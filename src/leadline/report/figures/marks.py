"""The marks that figures share: dots of runs, means with intervals, the key, the notes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from leadline.report.figures.groups import Group
from leadline.report.figures.style import INCH, INK, MUTED, NARROW, SMALL, TEXT, look, word

Floats = npt.NDArray[np.float64]
GOLDEN = 0.6180339887498949
# From so many dots in one place on, each is a plain round spot.
MANY = 40
# Area of a dot in square points; a fixed white edge would hide small ones.
DOT, EDGE = 13.0, 0.7
# A bar across the interval; unlike the marker "_" it can be hollow.
CORNERS = [(-1.0, -0.18), (1.0, -0.18), (1.0, 0.18), (-1.0, 0.18), (-1.0, -0.18)]
BAR, UPRIGHT = Path(CORNERS), Path([(y, x) for x, y in CORNERS])
RUNS, INTERVAL, AVERAGE, CRASHED = "runs of", "interval of", "mean of", "collapsed runs of"
HOLLOW = "read off the paper’s figure"
MODES = "two modes (best cut, p < .05)"
COLLAPSED = "predicts one class only"
PRINTED = "mean as printed, not all runs legible"
# Points that a sign and the gaps of a key take beside its word.
SIGN = 38.0
# Marks that touch are set apart by this part of the axis.
TOUCH = 0.022


def dots(axes: Axes, x: Sequence[float], y: Sequence[float], group: Group) -> None:
    """Draw every run; hollow where it was read off an image, a cross where it collapsed."""
    seen = look(group.arm)
    at = np.column_stack([x, y]).reshape(-1, 2)
    sound, crashed = at[~group.collapsed], at[group.collapsed]
    hollow = group.digitised[~group.collapsed] | seen.published
    if len(sound) > MANY and not hollow.any():
        run_dots(axes, sound[:, 0], sound[:, 1], group.arm)
        sound, hollow = sound[:0], hollow[:0]
    axes.scatter(
        sound[:, 0],
        sound[:, 1],
        s=DOT,
        marker=seen.marker,
        facecolors=["white" if each else seen.colour for each in hollow] or "none",
        edgecolors=seen.colour,
        linewidths=EDGE,
        alpha=0.75,
        zorder=3,
        label=f"{RUNS} {group.arm}",
    )
    if len(crashed):
        label = f"{CRASHED} {group.arm}"
        axes.scatter(
            crashed[:, 0],
            crashed[:, 1],
            s=DOT,
            marker="x",
            color=INK,
            linewidths=0.7,
            zorder=3,
            label=label,
        )


def run_dots(axes: Axes, x: Floats, y: Floats, arm: str, many: int = MANY) -> None:
    """Draw runs in the look of their arm; of many, as one path of round spots, which is small."""
    seen = look(arm)
    if len(x) <= many:
        axes.scatter(
            x, y, s=DOT, marker=seen.marker, color=seen.colour, linewidths=0, alpha=0.75, zorder=3,
            label=f"{RUNS} {arm}",
        )  # fmt: skip
        return
    spots(axes, x, y, seen.colour, f"{RUNS} {arm}")


def spots(axes: Axes, x: Floats, y: Floats, colour: str, label: str, size: float = 2.2) -> None:
    """Draw points as strokes of no length with round ends: one element, a few letters a point."""
    at = np.repeat(np.column_stack([x, y]), 2, axis=0)
    codes = np.tile(np.array([Path.MOVETO, Path.LINETO], dtype=Path.code_type), len(x))
    path = Path(at, codes)
    path.should_simplify = False
    patch = PathPatch(
        path, edgecolor=colour, facecolor="none", linewidth=size, capstyle="round", alpha=0.6,
        zorder=3, label=label,
    )  # fmt: skip
    _add(axes, patch, at)


def _add(axes: Axes, patch: PathPatch, at: Floats) -> None:
    """Add a path of thousands of points, whose ends alone bound it: no curves are looked at."""
    patch.set_in_layout(False)
    axes.add_artist(patch)
    axes.update_datalim(at)
    axes.autoscale_view()


def strokes(axes: Axes, lines: Sequence[Floats], colour: str, dashes: str, label: str) -> None:
    """Draw lines as one path: of many, a figure of one element each would be large and slow."""
    known = [line for line in lines if len(line) > 1]
    if not known:
        return
    path = Path.make_compound_path(*(Path(line) for line in known))
    path.should_simplify = False
    drawn = PathPatch(
        path, edgecolor=colour, facecolor="none", linewidth=0.5, linestyle=dashes, alpha=0.5,
        label=label,
    )  # fmt: skip
    _add(axes, drawn, np.asarray(path.vertices))


def mean(axes: Axes, at: float, group: Group, *, upright: bool) -> None:
    """Draw mean and interval of a group at a place of the other axis."""
    if group.mean is None:
        return
    colour = look(group.arm).colour
    if group.interval is not None:
        ends = (group.interval.low, group.interval.high)
        line = axes.vlines if upright else axes.hlines
        dashes: Literal["dashed", "solid"] = "dashed" if look(group.arm).published else "solid"
        label = f"{INTERVAL} {group.arm}"
        line(at, *ends, color=colour, linewidth=1.2, linestyles=dashes, zorder=4, label=label)
    place = (at, group.mean) if upright else (group.mean, at)
    axes.plot(
        *[[each] for each in place],
        marker=BAR if upright else UPRIGHT,
        markersize=7.5,
        markeredgewidth=EDGE,
        markeredgecolor=colour,
        markerfacecolor="white" if group.printed or look(group.arm).published else colour,
        zorder=5,
        label=f"{AVERAGE} {group.arm}",
    )


def apart(values: Sequence[float], span: float, step: float, room: float) -> list[float]:
    """Set dots aside that would lie on one another: by steps to either side, within the room."""
    if len(values) > MANY:
        # Of many, neighbours in the order of scores lie far apart: steps of the golden section.
        ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
        return list(room * (2 * ((ranks * GOLDEN) % 1) - 1))
    shifts: list[float] = [0.0] * len(values)
    placed: list[tuple[float, int]] = []
    for index in sorted(range(len(values)), key=lambda k: values[k]):
        near = {slot for value, slot in placed if abs(values[index] - value) < TOUCH * span}
        slot = next(s for k in range(len(values)) for s in (k, -k) if s not in near)
        placed.append((values[index], slot))
        shifts[index] = slot * step
    most = max(map(abs, shifts), default=0.0)
    return [shift * min(1.0, room / most) if most else 0.0 for shift in shifts]


def key(figure: Figure, arms: Sequence[str], groups: Iterable[Group], width: float) -> None:
    """Explain over the panels every sign that is used, and no other."""
    drawn = list(groups)
    entries = [(_sign(arm), look(arm).word) for arm in arms]
    if any(group.interval is not None for group in drawn):
        entries.append((_line(UPRIGHT, MUTED, through=True), "mean, 95 % Student interval"))
    if any(group.digitised.any() and not look(group.arm).published for group in drawn):
        entries.append((_line("o", MUTED, face="white"), HOLLOW))
    if any(group.printed for group in drawn):
        entries.append((_line(BAR, MUTED, face="white"), PRINTED))
    if any(group.collapsed.any() for group in drawn):
        entries.append((_line("x", INK), COLLAPSED))
    if any(group.modes is not None for group in drawn):
        entries.append((Line2D([], [], color=INK, linewidth=0.8), MODES))
    legend(figure, entries, width)


def legend(
    figure: Figure, entries: Sequence[tuple[Artist, str]], width: float, most: int = 3
) -> None:
    """Put signs with their words over the figure, in as many columns as there is room for."""
    handles, words = [handle for handle, _ in entries], [text for _, text in entries]
    room = width / INCH * 72
    widest = max((max(map(printed_width, text.splitlines())) for text in words), default=0.0)
    most = 1 if width <= NARROW else min(most, len(entries))
    columns = max(1, min(most, int(room // (widest * TEXT / SMALL + SIGN))))
    figure.legend(handles, words, loc="outside upper left", ncols=columns, borderaxespad=0.2)


@lru_cache(maxsize=4096)
def printed_width(text: str) -> float:
    """Measure a line of small type, in points."""
    if not text.strip():
        return 0.0
    return float(TextPath((0, 0), text, size=SMALL).get_extents().width)


def _sign(arm: str) -> Line2D:
    seen = look(arm)
    return _line(seen.marker, seen.colour, face="white" if seen.published else None)


def _line(
    marker: str | Path, colour: str, through: bool = False, face: str | None = None
) -> Line2D:
    return Line2D(
        [],
        [],
        marker=marker,
        color=colour,
        linestyle="-" if through else "none",
        linewidth=1.2,
        markersize=7.5 if isinstance(marker, Path) else 5,
        markeredgewidth=EDGE,
        markerfacecolor=face or colour,
    )


def grid(panels: int, columns: int, width: float) -> tuple[int, int]:
    """Give rows and columns: one column on a narrow figure, three at most on a wide one."""
    columns = 1 if width <= NARROW else max(1, min(columns, 3, panels))
    return -(-panels // columns), columns


def heading(axes: Axes, place: tuple[str, str], columns: int) -> None:
    """Write data set and metric over a panel, in two lines where panels are small."""
    dataset, metric = place
    between = ": " if columns < 3 else "\n"
    axes.set_title(f"{word(dataset)}{between}{word(metric)}")
