"""A figure with its words, and how it becomes PDF and SVG: equal input, equal bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from leadline import files
from leadline.errors import UserError
from leadline.report.figures.marks import grid
from leadline.report.figures.style import INCH, look, one_line, styled


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A figure, what it shows in a line, how to read it, and all its numbers in words."""

    name: str
    title: str
    caption: str
    description: str
    figure: Figure


def blank(width: float, height: float) -> Figure:
    """Open a figure of so many millimetres; call inside `styled`, then `fix_layout`."""
    engine = ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.03, wspace=0.04, hspace=0.05)
    return Figure(figsize=(width / INCH, height / INCH), layout=engine)


def fix_layout(figure: Figure) -> None:
    """Find the layout once: each drawing would move it a little from where the last one left it."""
    engine = figure.get_layout_engine()
    assert engine is not None, "opened by `blank`"
    engine.execute(figure)
    figure.set_layout_engine("none")


def to_svg(figure: Figure, title: str = "") -> bytes:
    """Draw as SVG, letters as outlines, without a date."""
    buffer = io.BytesIO()
    with styled():
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Title": title})
    return buffer.getvalue()


def to_pdf(figure: Figure, title: str = "") -> bytes:
    """Draw as PDF, letters as text, without a date."""
    buffer = io.BytesIO()
    with styled():
        FigureCanvasPdf(figure).print_pdf(buffer, metadata={"CreationDate": None, "Title": title})
    return buffer.getvalue()


def save(figure: Figure, folder: Path, name: str, title: str = "") -> list[Path]:
    """Write name.pdf and name.svg, each whole or not at all; give their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for end, content in (("pdf", to_pdf(figure, title)), ("svg", to_svg(figure, title))):
        path = folder / f"{name}.{end}"
        files.write_bytes(path, content)
        written.append(path)
    return written


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
