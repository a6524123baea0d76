"""Confusion matrices: of the cells of each class, the share that was called each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from leadline.report.figures.drawing import Drawing, called, opened, require
from leadline.report.figures.style import INK, NARROW, WIDE, lines, look, one_line

# From paper to a blue that no one mistakes for black; equal steps look equal.
SCALE = LinearSegmentedColormap.from_list("share", ["#ffffff", "#9ecae1", "#2b7bba", "#08306b"])
# Orange for what the second arm calls more often, blue for the first; paper where they agree.
DIFFERENCE = LinearSegmentedColormap.from_list(
    "difference", ["#8c2d04", "#f4a261", "#ffffff", "#9ecae1", "#08306b"]
)
# Numbers stand in the cells of matrices of so many classes at most.
NUMBERED, LABEL, SMALLEST = 12, 26, 5.0
HEAD, CELL, LABELS = 6.0, 4.6, 40.0


def confusion(
    counts: Mapping[str, npt.NDArray[np.int64]],
    classes: Sequence[str],
    *,
    less: tuple[str, str] | None = None,
    name: str = "confusion",
    title: str = "What cells of each class were called",
    width: float = WIDE,
) -> Drawing:
    """Draw a panel for each arm, its runs added up: rows are true classes, columns called ones.

    `less` names two arms whose difference, the first less the second, has a panel of its own.
    """
    require(list(counts), "confusion matrices need predictions", "run a model that names classes")
    shares = {arm: _shares(matrix) for arm, matrix in counts.items()}
    size = LABELS + CELL * len(classes)
    panels = [(look(arm).word, share, SCALE) for arm, share in shares.items()]
    if less is not None:
        difference = shares[less[0]] - shares[less[1]]
        panels.append((f"{called(less[0])} −\n{called(less[1])}", difference, DIFFERENCE))
    columns = 1 if len(panels) == 1 else 2
    with opened(len(panels), columns, width, max(size, 55.0), HEAD) as (figure, every, across):
        for number, (axes, (title_, share, scale)) in enumerate(zip(every, panels, strict=True)):
            _panel(axes, share, classes, width, scale, named=number % across == 0)
            axes.set_title(title_)
    return Drawing(
        name=name,
        title=title,
        caption="Rows are the true classes, columns what cells were called, in percent of the row; "
        f"the runs of an arm are added up. A row without cells is left white.{_told(less)}",
        description=" ".join(_sentence(arm, share, classes) for arm, share in shares.items()),
        figure=figure,
    )


def _told(less: tuple[str, str] | None) -> str:
    if less is None:
        return ""
    return (
        f" The last panel is the difference in points: blue where {called(less[0])} calls more, "
        f"orange where {called(less[1])} does."
    )


def _shares(matrix: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.asarray(matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1))


def _panel(
    axes: Axes,
    share: npt.NDArray[np.float64],
    classes: Sequence[str],
    width: float,
    scale: LinearSegmentedColormap,
    *,
    named: bool,
) -> None:
    count = len(classes)
    axes.pcolormesh(
        np.arange(count + 1) - 0.5,
        np.arange(count + 1) - 0.5,
        share,
        cmap=scale,
        vmin=-1 if scale is DIFFERENCE else 0,
        vmax=1,
        edgecolors="#e4e4e4",
        linewidth=0.3,
    )
    if count <= NUMBERED:
        for row, column in zip(*np.nonzero(np.abs(share) >= 0.005), strict=True):
            value = share[row, column]
            axes.text(
                column,
                row,
                f"{100 * value:.0f}".replace("-", "−"),
                ha="center",
                va="center",
                fontsize=5.5 if width > NARROW else SMALLEST,
                color="white" if abs(value) > 0.45 else INK,
            )
    names = [_short(name) for name in classes]
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_xticks(range(count), names, rotation=90, fontsize=SMALLEST + 0.5)
    axes.set_yticks(range(count), names if named else [], fontsize=SMALLEST + 0.5)
    axes.tick_params(length=0)
    axes.set_aspect("equal")
    for side in axes.spines.values():
        side.set_visible(False)


def _short(name: str) -> str:
    text = one_line(lines(name))
    return text if len(text) <= LABEL else f"{text[: LABEL - 1]}…"


def _sentence(arm: str, share: npt.NDArray[np.float64], classes: Sequence[str]) -> str:
    said = []
    for row, name in enumerate(classes):
        if share[row].sum() == 0:
            continue
        off = share[row].copy()
        off[row] = 0
        most = int(off.argmax())
        other = f", most often confused with {classes[most]} ({off[most]:.0%})" if off.any() else ""
        said.append(f"{name} {share[row, row]:.0%} right{other}")
    return f"{called(arm)}: {'; '.join(said)}."
