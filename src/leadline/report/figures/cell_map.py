"""The reported cells of two arms in two dimensions: their classes, and who calls which cell right.

Shapes: C cells, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.lines import Line2D

from leadline.report.figures.drawing import Drawing, opened
from leadline.report.figures.embedding_maps import COLOURS, has_umap, reduced
from leadline.report.figures.marks import legend, spots
from leadline.report.figures.style import MIDDLE, lines

PANEL, HEAD, KEY = 52.0, 6.0, 4.5
# Both right, only the first, only the second, neither.
WHO_COLOURS = ("#c9ced3", "#0072B2", "#D55E00", "#1a1a1a")


@dataclass(frozen=True, slots=True, kw_only=True)
class CellMap:
    """Cells in few dimensions, the code of the class of each, and who is right about it, 0 to 3.

    `first` and `second` name the arms; `of` says how many cells there are in all.
    """

    at_CD: npt.NDArray[np.float64]
    class_C: npt.NDArray[np.integer[Any]]
    classes: tuple[str, ...]
    who_C: npt.NDArray[np.integer[Any]]
    first: str
    second: str
    of: int


def cell_map(
    found: CellMap,
    *,
    name: str = "cells",
    title: str = "Which cells either arm gets right",
    width: float = MIDDLE,
) -> Drawing:
    """Draw the cells twice: coloured by class, and by who is right."""
    at = reduced(found.at_CD)
    who = ("both right", f"only {found.first}", f"only {found.second}", "neither")
    counts = np.bincount(found.who_C, minlength=4)
    entries = [
        (_dot(COLOURS[k % len(COLOURS)]), lines(name_)) for k, name_ in enumerate(found.classes)
    ] + [
        (_dot(colour), f"{said} ({count:,})")
        for colour, said, count in zip(WHO_COLOURS, who, counts, strict=True)
    ]  # fmt: skip
    head = HEAD + KEY * int(np.ceil(len(entries) / 2))
    with opened(2, 2, width, PANEL, head) as (figure, (left, right), _):
        for k in range(len(found.classes)):
            mine = at[found.class_C == k]
            if len(mine):
                spots(left, mine[:, 0], mine[:, 1], COLOURS[k % len(COLOURS)], found.classes[k])
        for k, said in enumerate(who):
            mine = at[found.who_C == k]
            if len(mine):
                spots(right, mine[:, 0], mine[:, 1], WHO_COLOURS[k], said)
        for axes, heading in ((left, "class"), (right, "who is right")):
            axes.set_title(heading)
            axes.set_xticks([])
            axes.set_yticks([])
        legend(figure, entries, width)
    way = "UMAP" if has_umap() else "The first two principal components"
    few = f", {len(at):,} of {found.of:,} cells" if len(at) < found.of else ""
    return Drawing(
        name=name,
        title=title,
        caption=f"{way} of what both arms think of each reported cell, the logarithms of their "
        f"mean probabilities{few}. An arm is right where most of its runs are. A map illustrates: "
        "neither distances nor sizes of groups are to be read from it.",
        description=" ".join(
            f"{said}: {count} cells." for said, count in zip(who, counts, strict=True)
        ),
        figure=figure,
    )


def _dot(colour: str) -> Line2D:
    return Line2D([], [], linestyle="none", marker="o", color=colour, markersize=4)
