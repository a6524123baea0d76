"""Figures of any frame of results: every run a dot, the mean with its interval, tests by name.

Each builder gives a `Drawing`: a matplotlib figure with its title, caption and text alternative.
Builders of runs take a frame with the columns of `tidy` (or the `Evidence` made of one). A builder
whose runs are missing raises `UserError`; `draw_all` gathers those as reasons instead.
"""

from leadline.figures.batch import batch_size
from leadline.figures.calibration import Reliability, calibration, reliability
from leadline.figures.classes import per_class
from leadline.figures.confusion import confusion
from leadline.figures.contrasts import Compared, contrasts
from leadline.figures.cost import Spent, cost
from leadline.figures.drawing import Drawing, save, to_pdf, to_svg
from leadline.figures.estimation import Contrast, estimation
from leadline.figures.fewshot import few_shot
from leadline.figures.groups import Group, gather
from leadline.figures.judged import forest
from leadline.figures.learning import Curve, learning_curves
from leadline.figures.paper import draw_all
from leadline.figures.pvalues import Tests
from leadline.figures.runs import every_run
from leadline.figures.style import NARROW, WIDE, Look, look

__all__ = [
    "NARROW",
    "WIDE",
    "Compared",
    "Contrast",
    "Curve",
    "Drawing",
    "Group",
    "Look",
    "Reliability",
    "Spent",
    "Tests",
    "batch_size",
    "calibration",
    "confusion",
    "contrasts",
    "cost",
    "draw_all",
    "estimation",
    "every_run",
    "few_shot",
    "forest",
    "gather",
    "learning_curves",
    "look",
    "per_class",
    "reliability",
    "save",
    "to_pdf",
    "to_svg",
]
