"""Maps of cells: each embedding in two dimensions, a colour for each label.

Principal components; where umap-learn is installed, UMAP instead. Shapes: C cells, D = 2.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.lines import Line2D

from leadline.report.figures.drawing import Drawing, opened, require
from leadline.report.figures.marks import legend
from leadline.report.figures.style import WIDE, lines

PANEL, HEAD, KEY = 46.0, 6.0, 4.5
# Told apart by colour-blind readers as far as so many can be; more labels share them.
COLOURS = (
    *("#0072B2", "#D55E00", "#00785A", "#A8358F", "#7A6A00", "#332288", "#882255", "#117733"),
    *("#A0522D", "#455A64", "#C2185B", "#2F6F8F"),
)
MARKERS = ("o", "^", "s", "D")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingMap:
    """One embedding's cells: vectors of few dimensions or of two, and the label of each."""

    title: str
    at_CD: npt.NDArray[np.float64]
    label_C: npt.NDArray[np.integer[Any]]
    classes: tuple[str, ...]


def embedding_maps(
    maps: Sequence[EmbeddingMap],
    *,
    name: str = "maps",
    title: str = "Maps of the cells",
    width: float = WIDE,
) -> Drawing:
    """Draw a panel for each embedding."""
    require(maps, "a map needs an embedding that varies", "run task=zero_shot")
    shown = [(map_, reduced(map_.at_CD)) for map_ in maps]
    classes = maps[0].classes
    head = HEAD + KEY * int(np.ceil(len(classes) / 3))
    with opened(len(maps), 3, width, PANEL, head) as (figure, every, _):
        for axes, (map_, at) in zip(every, shown, strict=True):
            for k in range(len(classes)):
                mine = map_.label_C == k
                axes.scatter(
                    at[mine, 0], at[mine, 1], s=3.0, marker=MARKERS[k // len(COLOURS) % 4],
                    color=COLOURS[k % len(COLOURS)], linewidths=0, alpha=0.7, rasterized=True,
                )  # fmt: skip
            axes.set_title(lines(map_.title))
            axes.set_xticks([])
            axes.set_yticks([])
        legend(
            figure,
            [
                (
                    Line2D(
                        [], [], linestyle="none", marker=MARKERS[k // len(COLOURS) % 4],
                        color=COLOURS[k % len(COLOURS)], markersize=4,
                    ),
                    lines(classes[k]),
                )
                for k in range(len(classes))
            ],
            width,
        )  # fmt: skip
    way = "UMAP" if has_umap() else "the first two principal components"
    return Drawing(
        name=name,
        title=title,
        caption=f"Cells of one run of each arm by {way}; at most {len(maps[0].label_C):,} cells. A "
        "map illustrates: neither distances nor sizes of groups are to be read from it.",
        description=f"{way} of {', '.join(map_.title for map_ in maps)}; labels "
        f"{', '.join(classes)}.",
        figure=figure,
    )


def has_umap() -> bool:
    """Say whether umap-learn is installed."""
    return importlib.util.find_spec("umap") is not None


def reduced(vectors_CD: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Give two dimensions: UMAP's where it is installed, else the first two given ones."""
    if not has_umap() or vectors_CD.shape[1] <= 2:
        return vectors_CD[:, :2]
    umap: Any = importlib.import_module("umap")
    found: npt.NDArray[np.float64] = umap.UMAP(random_state=0).fit_transform(vectors_CD)
    return found
