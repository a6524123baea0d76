"""Panels in a grid, one for each arm or metric, and what all such figures share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from leadline.errors import UserError
from leadline.report.figures.drawing import blank, fix_layout
from leadline.report.figures.marks import grid
from leadline.report.figures.style import look, one_line, styled


@contextmanager
def opened(
    count: int, columns: int, width: float, height: float, head: float = 6.0
) -> Iterator[tuple[Figure, Sequence[Axes], int]]:
    """Open a figure of so many panels, each so many millimetres high; settle it at the end."""
    with styled():
        rows, columns = grid(count, columns, width)
        figure = blank(width, head + height * rows)
        every = list(figure.subplots(rows, columns, squeeze=False).ravel())
        for axes in every[count:]:
            axes.set_axis_off()
        yield figure, every[:count], columns
        fix_layout(figure)


def called(arm: str) -> str:
    """Name an arm in one line."""
    return one_line(look(arm).word)


def require(found: Sequence[object], what: str, remedy: str) -> None:
    """Refuse to draw an empty figure."""
    if not found:
        raise UserError(what, got="none", remedy=remedy)
