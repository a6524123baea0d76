"""Figures of any frame of results: every run a dot, the mean with its interval, tests by name.

Each builder gives a `Drawing`: a matplotlib figure with its title, caption and text alternative.
Builders of runs take a frame with the columns of `frame` (or the `Evidence` made of one). A builder
whose runs are missing raises `UserError`; `draw_all` gathers those as reasons instead.
"""

from leadline.report.figures.batch import batch_size
from leadline.report.figures.calibration import Reliability, calibration, reliability
from leadline.report.figures.cell_map import CellMap, cell_map
from leadline.report.figures.classes import per_class
from leadline.report.figures.confusion import confusion
from leadline.report.figures.cost import Spent, cost
from leadline.report.figures.drawing import Drawing, save, to_pdf, to_svg
from leadline.report.figures.embedding_maps import EmbeddingMap, embedding_maps, has_umap
from leadline.report.figures.estimation import Contrast, estimation
from leadline.report.figures.fewshot import few_shot
from leadline.report.figures.forest import Compared, contrasts
from leadline.report.figures.groups import Group, gather
from leadline.report.figures.ladder import LadderRow, ladder
from leadline.report.figures.learning import Curve, learning_curves
from leadline.report.figures.places import PlacedDifference, where_it_holds
from leadline.report.figures.pvalues import Tests
from leadline.report.figures.runs import every_run
from leadline.report.figures.style import MIDDLE, NARROW, WIDE, Look, look

__all__ = [
    "MIDDLE",
    "NARROW",
    "WIDE",
    "CellMap",
    "Compared",
    "Contrast",
    "Curve",
    "Drawing",
    "EmbeddingMap",
    "Group",
    "LadderRow",
    "Look",
    "PlacedDifference",
    "Reliability",
    "Spent",
    "Tests",
    "batch_size",
    "calibration",
    "cell_map",
    "confusion",
    "contrasts",
    "cost",
    "embedding_maps",
    "estimation",
    "every_run",
    "few_shot",
    "gather",
    "has_umap",
    "ladder",
    "learning_curves",
    "look",
    "per_class",
    "reliability",
    "save",
    "to_pdf",
    "to_svg",
    "where_it_holds",
]
